package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// LoadRules reads a rule file.
func LoadRules(path string) (*Rules, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("rules: %w", err)
	}
	return ParseRules(path, content)
}

// ParseRules reads rules and refuses what it does not know. Errors name the file
// and the line, as compilers do.
func ParseRules(name string, content []byte) (*Rules, error) {
	f := ruleFile{name: name}
	r := &Rules{}
	var err error
	if f.tree, err = parser.ParseBytes(content, 0); err != nil {
		return nil, f.located(err)
	}
	if err := yaml.NewDecoder(bytes.NewReader(content), yaml.Strict()).Decode(r); err != nil && !errors.Is(err, io.EOF) {
		return nil, f.located(err)
	}
	r.check(&f)
	return r, errors.Join(f.faults...)
}

// ruleFile is the text of rules, with what is wrong with them.
type ruleFile struct {
	name   string
	tree   *ast.File
	faults []error
}

// located is an error of the decoder's with file and line.
func (f *ruleFile) located(err error) error {
	var at yaml.Error
	if errors.As(err, &at) {
		return fmt.Errorf("%s:%d: %s", f.name, at.GetToken().Position.Line, at.GetMessage())
	}
	return fmt.Errorf("%s: %w", f.name, err)
}

// wrong notes a fault of what stands at a YAML path, or of what should.
func (f *ruleFile) wrong(path, format string, args ...any) {
	line := 1
	for at := path; ; at = at[:strings.LastIndexAny(at, ".[")] {
		p, err := yaml.PathString(at)
		if err != nil || at == "$" {
			break
		}
		if node, err := p.FilterFile(f.tree); err == nil && node != nil {
			line = node.GetToken().Position.Line
			break
		}
	}
	f.faults = append(f.faults, fmt.Errorf("%s:%d: %w", f.name, line, fmt.Errorf(format, args...)))
}

// check also sets what has defaults.
func (r *Rules) check(f *ruleFile) {
	var err error
	if r.zone, err = time.LoadLocation(r.TimeZone); err != nil {
		f.wrong("$.timeZone", "timeZone: %w", err)
	}
	if h := r.WorkingHours; h != nil {
		for i, day := range h.Days {
			if !slices.Contains(weekdays, day) {
				f.wrong(fmt.Sprintf("$.workingHours.days[%d]", i), "workingHours: days: %q is none of %v", day, weekdays)
			}
		}
		if len(h.Days) == 0 || h.From == h.To {
			f.wrong("$.workingHours", "workingHours: days, from and to are expected")
		}
	}
	if len(r.Rules) == 0 {
		f.wrong("$.rules", "there are no rules")
	}
	names := map[string]bool{}
	for i := range r.Rules {
		rule := &r.Rules[i]
		if rule.Name == "" || names[rule.Name] {
			f.wrong(fmt.Sprintf("$.rules[%d].name", i), "rule %d: a name of its own is expected", i+1)
		}
		names[rule.Name] = true
		rule.check(func(key, format string, args ...any) {
			f.wrong(fmt.Sprintf("$.rules[%d].%s", i, key), "rule %q: "+format, append([]any{rule.Name}, args...)...)
		})
		if slices.ContainsFunc(rule.When, func(c Condition) bool { return c.OutsideWorkingHours }) && r.WorkingHours == nil {
			f.wrong(fmt.Sprintf("$.rules[%d].when.outsideWorkingHours", i), "rule %q: outsideWorkingHours: there are no workingHours", rule.Name)
		}
		if slices.ContainsFunc(rule.When, func(c Condition) bool { return c.WatchedRole }) && r.WatchedRoles == nil {
			f.wrong(fmt.Sprintf("$.rules[%d].when.watchedRole", i), "rule %q: watchedRole: there are no watchedRoles", rule.Name)
		}
	}
}

// check also sets what has defaults.
func (rule *Rule) check(wrong func(key, format string, args ...any)) {
	if rule.Severity == "" {
		rule.Severity = "warning"
	}
	if !slices.Contains(severities, rule.Severity) {
		wrong("severity", "severity: one of %v is expected", severities)
	}
	everything := func(c Condition) bool { return reflect.ValueOf(c).IsZero() }
	if len(rule.When) == 0 || slices.ContainsFunc(rule.When, everything) {
		wrong("when", "when: it would match every change")
	}
	if rule.Otherwise && rule.Many != nil {
		wrong("otherwise", "otherwise: not for a rule that counts")
	}
	if m := rule.Many; m != nil && (m.Count < 2 || m.Within <= 0 || m.Within > maxWithin || !slices.Contains(groupings, m.By)) {
		wrong("many", "many: count of 2 or more, within up to %s, by one of %v are expected", maxWithin, groupings)
	}
}

// faultOf is an error about a node, for located; the decoder's own are that already.
func faultOf(node ast.Node, err error) error {
	var at yaml.Error
	if err == nil || errors.As(err, &at) {
		return err
	}
	return &yaml.SyntaxError{Message: err.Error(), Token: node.GetToken()}
}

// UnmarshalYAML reads "08:30"; "24:00" is the end of the day.
func (c *Clock) UnmarshalYAML(node ast.Node) error {
	var text string
	if err := yaml.NodeToValue(node, &text); err != nil {
		return err
	}
	if text == "24:00" {
		*c = 24 * 60
		return nil
	}
	at, err := time.Parse("15:04", text)
	if err != nil {
		return faultOf(node, fmt.Errorf("%q is no time of day like 08:30", text))
	}
	*c = Clock(at.Hour()*60 + at.Minute())
	return nil
}

// UnmarshalYAML gives errors that time.ParseDuration has their place.
func (m *Many) UnmarshalYAML(node ast.Node) error {
	type plain Many // without this method
	return faultOf(node, yaml.NodeToValue(node, (*plain)(m), yaml.Strict()))
}

// UnmarshalYAML reads one condition, or a list of them.
func (c *Conditions) UnmarshalYAML(node ast.Node) error {
	conditions := []ast.Node{node}
	if list, ok := node.(*ast.SequenceNode); ok {
		conditions = list.Values
	}
	*c = make(Conditions, len(conditions))
	for i, one := range conditions {
		if err := yaml.NodeToValue(one, &(*c)[i], yaml.Strict()); err != nil {
			return faultOf(one, err)
		}
	}
	return nil
}

// UnmarshalYAML reads one pattern, or a list of them.
func (p *Patterns) UnmarshalYAML(node ast.Node) error {
	patterns := []ast.Node{node}
	if list, ok := node.(*ast.SequenceNode); ok {
		patterns = list.Values
	}
	if len(patterns) == 0 {
		return faultOf(node, errors.New("no patterns match nothing"))
	}
	*p = Patterns{}
	for _, one := range patterns {
		var text string
		if err := yaml.NodeToValue(one, &text); err != nil {
			return err
		}
		pattern, err := parsePattern(text)
		if err != nil {
			return faultOf(one, err)
		}
		*p = append(*p, pattern)
	}
	return nil
}

func parsePattern(text string) (*regexp.Regexp, error) {
	if text == "" {
		return nil, errors.New("an empty pattern matches nothing")
	}
	if inner, ok := strings.CutPrefix(text, "/"); ok && strings.HasSuffix(inner, "/") {
		return regexp.Compile(strings.TrimSuffix(inner, "/"))
	}
	return regexp.Compile(`(?is)^` + strings.ReplaceAll(regexp.QuoteMeta(text), `\*`, `.*`) + `$`)
}
