package main

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sethvargo/go-envconfig"

	"genesys-audit-connector/internal/poller"
)

// OrgsError is everything that is wrong in ORGS_FILE, by line.
type OrgsError struct {
	Path     string
	problems []orgProblem
}

// Error has one line a problem, as compilers write them: "PATH:LINE: whose: what is wrong".
func (e *OrgsError) Error() string {
	var b strings.Builder
	for i, p := range e.problems {
		if i == maxOrgProblems {
			fmt.Fprintf(&b, "\n%s: and more", e.Path)
			break
		}
		if i > 0 {
			b.WriteByte('\n')
		}
		fmt.Fprintf(&b, "%s:%d: ", e.Path, p.line)
		if p.label != "" {
			b.WriteString(p.label + ": ")
		}
		b.WriteString(p.text)
	}
	return b.String()
}

// LoadFleet reads the configuration and, with ORGS_FILE, that of each organisation. Its
// error names all that is wrong with both.
func LoadFleet(env envconfig.Lookuper) (Config, []Config, error) {
	cfg, err := Load(env)
	if err == nil && cfg.OrgsFile == "" {
		return cfg, []Config{cfg}, nil
	}
	if err != nil {
		r := &reader{env: env}
		var wrong Config
		r.read(&wrong)
		if r.bug != nil || wrong.OrgsFile == "" {
			return Config{}, nil, err
		}
		_, orgsErr := loadOrgs(wrong, env, r.problems)
		return Config{}, nil, joinLines(err, orgsErr)
	}
	orgs, err := LoadOrganisations(cfg, env)
	return cfg, orgs, err
}

// joinLines is errors.Join without an error that is nil among them.
func joinLines(errs ...error) error {
	errs = slices.DeleteFunc(errs, func(err error) bool { return err == nil })
	if len(errs) == 1 {
		return errs[0]
	}
	var b strings.Builder
	for i, err := range errs {
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(err.Error())
	}
	return fmt.Errorf("%s", b.String())
}

// LoadOrganisations reads ORGS_FILE. cfg is the process' own configuration; what comes back
// is a copy for each organisation, in the file's order, with its name, its settings and its
// warnings. The error is an *OrgsError where the file could be read.
func LoadOrganisations(cfg Config, env envconfig.Lookuper) ([]Config, error) {
	file, err := loadOrgs(cfg, env, nil)
	if err != nil {
		return nil, err
	}
	return file.orgs, nil
}

// orgsFile is what ORGS_FILE came to.
type orgsFile struct {
	content [sha256.Size]byte
	orgs    []Config
	lines   map[string]int // of each name
}

// loadOrgs is LoadOrganisations where variables of the environment may be wrong; they are
// named already.
func loadOrgs(cfg Config, env envconfig.Lookuper, wrong []Problem) (*orgsFile, error) {
	content, err := readOrgs(cfg.OrgsFile)
	if err != nil {
		return nil, err
	}
	text := parseOrgs(content)
	l := orgsLoader{folder: filepath.Dir(cfg.OrgsFile), env: env, process: cfg, text: text, decoded: map[[2]string]decodedSetting{}}
	cfg.Warnings = nil
	l.base, l.wrong = cfg, slices.Concat(wrong, text.defaults.wrong)
	l.apply(&l.base, &text.defaults, func(p Problem) { l.wrong = append(l.wrong, p) })
	file := &orgsFile{content: sha256.Sum256(content), orgs: make([]Config, 0, len(text.orgs)), lines: text.lines}
	for i := range text.orgs {
		if !text.orgs[i].noMap {
			file.orgs = append(file.orgs, l.load(&text.orgs[i]))
		}
	}
	if len(text.problems) > 0 {
		slices.SortStableFunc(text.problems, func(a, b orgProblem) int { return a.line - b.line })
		return nil, &OrgsError{Path: cfg.OrgsFile, problems: text.problems}
	}
	return file, nil
}

// signingKey is EVIDENCE_KEY as it holds for an organisation of ORGS_FILE, where it or the
// defaults set one, whatever else is wrong in the file.
func signingKey(cfg Config, env envconfig.Lookuper) (Secret, error) {
	content, err := readOrgs(cfg.OrgsFile)
	if err != nil {
		return Secret{}, err
	}
	text := parseOrgs(content)
	l := orgsLoader{folder: filepath.Dir(cfg.OrgsFile), env: env, process: cfg, text: text, decoded: map[[2]string]decodedSetting{}}
	own := slices.IndexFunc(text.orgs, func(o orgSettings) bool { return o.name == cfg.Org })
	for _, layer := range []*orgSettings{&text.orgs[own], &text.defaults} {
		s, ok := layer.find("EVIDENCE_KEY")
		if !ok {
			continue
		}
		d := l.decode(s.key, s.text)
		if d.fault != nil {
			return Secret{}, &OrgsError{cfg.OrgsFile, []orgProblem{{s.line, layer.label, d.fault.Variable + ": " + d.fault.Text}}}
		}
		return d.value.Interface().(Secret), nil
	}
	return cfg.Evidence.Key, nil
}

// readOrgs returns the file's content.
func readOrgs(path string) ([]byte, error) {
	const expected = "expected a YAML file of organisations"
	f, err := os.Open(path)
	if err != nil {
		return nil, ConfigError{{"ORGS_FILE", fmt.Sprintf("cannot read %s: %s; %s", quoted(path), reason(err), expected)}}
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, maxOrgsBytes+1))
	switch {
	case err != nil:
		return nil, ConfigError{{"ORGS_FILE", fmt.Sprintf("cannot read %s: %s; %s", quoted(path), reason(err), expected)}}
	case len(content) > maxOrgsBytes:
		return nil, ConfigError{{"ORGS_FILE", fmt.Sprintf("%s is longer than %d MiB; %s", quoted(path), maxOrgsBytes>>20, expected)}}
	}
	return content, nil
}

// orgsLoader makes a Config of each organisation's settings.
type orgsLoader struct {
	folder  string // that secrets' paths are relative to
	env     envconfig.Lookuper
	process Config
	text    *orgsText
	base    Config    // the process' with the defaults
	wrong   []Problem // of the environment and of the defaults, which are named once
	decoded map[[2]string]decodedSetting
}

// decodedSetting is what a text comes to, or what is wrong with it.
type decodedSetting struct {
	value reflect.Value
	fault *Problem
}

// load is one organisation's configuration; what is wrong with it goes to the text's problems.
func (l *orgsLoader) load(o *orgSettings) Config {
	cfg := l.base
	cfg.Org = o.name
	r := &reader{env: orgEnv{l, o}, problems: slices.Concat(l.wrong, o.wrong)}
	l.apply(&cfg, o, func(p Problem) { r.problems = append(r.problems, p) })
	known := len(r.problems)
	c := checker{cfg: &cfg, reader: r, secretsByFile: true}
	c.checkOrganisation()
	if cfg.Evidence.Key != l.process.Evidence.Key {
		c.checkEvidence()
	}
	for _, p := range r.problems[known:] {
		l.locate(o, p)
	}
	return cfg
}

// locate adds a problem where its variable is set: by the organisation, by the defaults, by
// the environment. One that is set nowhere is missing from the organisation.
func (l *orgsLoader) locate(o *orgSettings, p Problem) {
	for _, s := range []*orgSettings{o, &l.text.defaults} {
		if at, ok := s.find(p.Variable); ok {
			l.text.add(at.line, s.label, "%s: %s", p.Variable, p.Text)
			return
		}
	}
	if value, _ := l.env.Lookup(p.Variable); value != "" {
		l.text.add(1, "environment", "%s: %s", p.Variable, p.Text)
		return
	}
	l.text.add(o.line, o.label, "%s: %s", p.Variable, p.Text)
}

// apply decodes settings into cfg.
func (l *orgsLoader) apply(cfg *Config, o *orgSettings, wrong func(Problem)) {
	target := reflect.ValueOf(cfg).Elem()
	for _, s := range o.set {
		d := l.decode(s.key, s.text)
		if d.fault != nil {
			l.text.add(s.line, o.label, "%s: %s", d.fault.Variable, d.fault.Text)
			wrong(*d.fault)
			continue
		}
		target.FieldByIndex(variableOf(s.key).path).Set(d.value)
	}
}

// decode reads a variable's text as the environment's is read, each text once.
func (l *orgsLoader) decode(key, text string) decodedSetting {
	if d, ok := l.decoded[[2]string{key, text}]; ok {
		return d
	}
	d := l.decodeOther(variableOf(key), key, text)
	l.decoded[[2]string{key, text}] = d
	return d
}

// decodeOther reads a text that was not read before.
func (l *orgsLoader) decodeOther(v Variable, key, text string) (d decodedSetting) {
	switch {
	case v.Secret && key == v.Name:
		d.value = reflect.ValueOf(NewSecret(cutNewline(text)))
		return d
	case v.Secret:
		if !filepath.IsAbs(text) {
			text = filepath.Join(l.folder, text)
		}
		secret, fault := openSecretOf(v.Name, text)
		return decodedSetting{reflect.ValueOf(secret), fault}
	}
	field := reflect.StructField{Name: "Value", Type: v.kind, Tag: v.tag}
	target := reflect.New(reflect.StructOf([]reflect.StructField{field}))
	r := &reader{env: envconfig.MapLookuper(map[string]string{key: text})}
	r.read(target.Interface())
	d.value = target.Elem().Field(0)
	switch {
	case r.bug != nil:
		d.fault = &Problem{key, r.bug.Error()}
	case len(r.problems) > 0:
		d.fault = &r.problems[0]
	}
	return d
}

// orgEnv is the environment of one organisation: what it sets itself, what the defaults set,
// what the process' environment has.
type orgEnv struct {
	*orgsLoader
	own *orgSettings
}

// Lookup returns what a variable is set to. Where a layer sets a secret or its file, the
// layers beneath set neither.
func (e orgEnv) Lookup(name string) (string, bool) {
	for _, s := range []*orgSettings{e.own, &e.text.defaults} {
		if at, ok := s.find(name); ok {
			if at.key == name {
				return at.text, true
			}
			return "", false
		}
	}
	return e.env.Lookup(name)
}

// perOrganisation are the variables that ORGS_FILE takes, by the name that they have there.
var perOrganisation = sync.OnceValue(func() map[string]Variable {
	taken := map[string]Variable{}
	for _, v := range Variables() {
		switch {
		case !v.ofOrganisation():
		case v.Secret:
			taken[v.Name+"_FILE"] = v
		}
		if v.ofOrganisation() && (!v.Secret || v.identifier()) {
			taken[v.Name] = v
		}
	}
	return taken
})

// ofOrganisation reports whether the variable is about one organisation.
func (v Variable) ofOrganisation() bool {
	prefix, _, _ := strings.Cut(v.Name, "_")
	return slices.Contains([]string{"GENESYS", "POLL", "SWEEP", "BACKFILL"}, prefix) || v.Name == "EVIDENCE_KEY"
}

// identifier reports whether the variable is kept like a secret and is none.
func (v Variable) identifier() bool { return v.Name == "GENESYS_CLIENT_ID" }

// list reports whether the variable takes several values, separated by commas.
func (v Variable) list() bool {
	return v.kind.Kind() == reflect.Slice || v.kind == reflect.TypeFor[Hours]()
}

// emptyList says how a list without elements is written.
func (v Variable) emptyList() string {
	switch {
	case v.kind == reflect.TypeFor[[]time.Duration]():
		return "none, or values"
	case v.format == "services" && v.Default == "":
		return "all, or values"
	}
	return "values, or nothing here"
}

// refuseKey says why ORGS_FILE does not take a key, "" where it does.
func refuseKey(key string, inDefaults bool) string {
	const scope = "GENESYS_…, POLL_…, SWEEP_AGES, BACKFILL_… or EVIDENCE_KEY_FILE"
	taken := perOrganisation()
	v, known := variablesByName()[key]
	switch {
	case taken[key].Name != "":
		return ""
	case known && v.ofOrganisation():
		return fmt.Sprintf("%s: a secret does not stand in this file; expected %s_FILE, the path of a file that holds it", key, key)
	case key == keyName && inDefaults:
		return keyName + ": is each organisation's own; expected none here"
	case key == "ORG_NAME":
		return "ORG_NAME: expected " + keyName + " instead"
	case variableOf(key).Name != "":
		return key + ": is a setting of the process, the same for all organisations; set it in the environment (expected here are " + scope + ")"
	}
	candidates := slices.Sorted(maps.Keys(taken))
	if !inDefaults {
		candidates = append(candidates, keyName)
	}
	if near := suggest(key, candidates); near != "" {
		return quoted(key) + " is not a variable of the connector" + near
	}
	if other := instead(key); other != "" {
		return quoted(key) + " is a variable of other tools; set " + other
	}
	return quoted(key) + " is not a variable of the connector; expected " + scope
}

// suggest is what was likely meant, as a part of a sentence; "" where that is not known.
func suggest(word string, candidates []string) string {
	if meant := nearest(word, candidates, misspellings(word)); meant != "" {
		return ", did you mean " + meant + "?"
	}
	return ""
}

// sameSettings reports whether two configurations of an organisation come to the same. A
// secret from the same file is the same, whatever it holds: it is read when it is used.
func sameSettings(a, b Config) bool {
	return a.Genesys.ClientID.Equal(b.Genesys.ClientID) && a.Genesys.ClientSecret.Equal(b.Genesys.ClientSecret) &&
		a.Genesys.RefreshToken.Equal(b.Genesys.RefreshToken) && a.Evidence.Key.Equal(b.Evidence.Key) &&
		reflect.DeepEqual(a.Genesys.withoutSecrets(), b.Genesys.withoutSecrets()) && a.Poll.equal(b.Poll)
}

func (g Genesys) withoutSecrets() Genesys {
	g.ClientID, g.ClientSecret, g.RefreshToken = Secret{}, Secret{}, Secret{}
	return g
}

func (p Poll) equal(other Poll) bool {
	same := func(a, b poller.Window) bool {
		return a.From == b.From && a.To == b.To && cmp.Compare(a.Place.String(), b.Place.String()) == 0
	}
	hours := slices.EqualFunc(p.BackfillHours.Hours, other.BackfillHours.Hours, same)
	p.BackfillHours, other.BackfillHours = Hours{}, Hours{}
	return hours && reflect.DeepEqual(p, other)
}
