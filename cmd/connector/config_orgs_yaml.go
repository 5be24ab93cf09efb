package main

import (
	"bytes"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// Bounds of ORGS_FILE. What one organisation may have is far more than all variables take.
const (
	maxOrgsBytes     = 16 << 20
	maxOrgs          = 100_000
	maxOrgBytes      = 64 << 10
	maxHeadBytes     = 1 << 20 // of what is no item of a list in block style
	maxYAMLNesting   = 200
	maxOrgProblems   = 1000
	defaultsLabel    = "defaults"
	keyName          = "name"
	keyDefaults      = "defaults"
	keyOrganisations = "organisations"
)

// orgSetting is one variable as the file has it.
type orgSetting struct {
	key  string // NAME, or NAME_FILE for a secret
	text string // as the environment would have it
	line int
}

// orgSettings are what the file says of one organisation, or of all by default.
type orgSettings struct {
	name  string // "" where it has none that is right
	label string // for messages
	line  int
	set   []orgSetting
	wrong []Problem // with variables of which something stands there that is not taken
	noMap bool      // it has no settings to look at
}

// find returns where a variable, or the file of one, is set.
func (s *orgSettings) find(name string) (orgSetting, bool) {
	for _, o := range s.set {
		if base, file := strings.CutSuffix(o.key, "_FILE"); o.key == name || file && base == name || name == o.key+"_FILE" {
			return o, true
		}
	}
	return orgSetting{}, false
}

// orgsText is what stands in ORGS_FILE, as far as YAML and names go: no value is looked at.
type orgsText struct {
	defaults orgSettings
	orgs     []orgSettings
	listed   bool // there is a list of organisations

	problems []orgProblem
	told     map[orgProblem]bool
	lines    map[string]int // where each name stands
	last     int            // the number of the last line
}

// orgProblem is one thing that is wrong in ORGS_FILE.
type orgProblem struct {
	line  int
	label string // whose settings; "" for those of none
	text  string
}

// add notes a problem, each once: one of the defaults shows with every organisation.
func (t *orgsText) add(line int, label, format string, args ...any) {
	if len(t.problems) > maxOrgProblems {
		return // nobody reads so many
	}
	p := orgProblem{max(1, min(line, t.last)), label, fmt.Sprintf(format, args...)}
	if !t.told[p] {
		if t.told == nil {
			t.told = map[orgProblem]bool{}
		}
		t.told[p] = true
		t.problems = append(t.problems, p)
	}
}

func newOrgsText(content []byte) *orgsText {
	last := bytes.Count(content, []byte("\n"))
	if !bytes.HasSuffix(content, []byte("\n")) {
		last++
	}
	return &orgsText{last: last, defaults: orgSettings{label: defaultsLabel, line: 1}}
}

// parseOrgs reads the text. Each organisation of a list in block style is parsed on its own:
// a fault in one hides none in another, and memory is needed for one at a time.
func parseOrgs(content []byte) *orgsText {
	content = bytes.TrimPrefix(content, []byte("\ufeff"))
	t := newOrgsText(content)
	head, items := splitOrgs(content)
	if node := t.parse(head, 1, maxHeadBytes, ""); node != nil {
		t.readHead(node, items != nil)
	} else if len(t.problems) == 0 {
		t.add(1, "", "there is nothing in it; expected %s, a list with the %s of each", keyOrganisations, keyName)
	}
	if len(items) > maxOrgs {
		t.add(items[maxOrgs].line, keyOrganisations, "there are %d; expected at most %d", len(items), maxOrgs)
		items = nil
	}
	for _, piece := range parsePieces(items, t.last) {
		t.orgs = append(t.orgs, piece.orgs...)
		for _, p := range piece.problems {
			t.add(p.line, p.label, "%s", p.text)
		}
	}
	t.checkNames()
	return t
}

// parsePieces parses each item of the list, several at a time.
func parsePieces(items []orgsPiece, last int) []*orgsText {
	pieces := make([]*orgsText, len(items))
	var next atomic.Int64
	var workers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for i := int(next.Add(1)) - 1; i < len(items); i = int(next.Add(1)) - 1 {
				pieces[i] = &orgsText{last: last}
				pieces[i].readItem(items[i], i)
			}
		})
	}
	workers.Wait()
	return pieces
}

// readItem takes in one item of the list.
func (t *orgsText) readItem(item orgsPiece, index int) {
	label := fmt.Sprintf("organisation %d", index+1)
	switch list := t.parse(item.text, item.line, maxOrgBytes, label).(type) {
	case nil:
	case *ast.SequenceNode:
		t.readList(list, index, item.line-1)
	default:
		t.add(item.line, label, "is not an item of the list; expected - %s: and its settings", keyName)
	}
}

// checkNames notes names that are there already, and where each stands.
func (t *orgsText) checkNames() {
	t.lines = make(map[string]int, len(t.orgs))
	for _, o := range t.orgs {
		switch first := t.lines[o.name]; {
		case o.name == "":
		case first > 0:
			t.add(o.line, o.label, "%s: line %d has the same; expected a name of its own", keyName, first)
		default:
			t.lines[o.name] = o.line
		}
	}
}

// parse returns the root of a piece of the file that begins at a line; nil where there is
// none, or it is wrong.
func (t *orgsText) parse(text []byte, line, limit int, label string) (root ast.Node) {
	if len(text) > limit {
		t.add(line, label, "is %d bytes long; expected at most %d", len(text), limit)
		return nil
	}
	if nesting(text) > maxYAMLNesting {
		t.add(line, label, "is nested too deeply; expected variables and their values")
		return nil
	}
	// The parser is made for well-meant text: what it cannot cope with is wrong, and ends nothing.
	defer func() {
		if recover() != nil {
			root = nil
			t.add(line, label, "is not YAML")
		}
	}()
	file, err := parser.ParseBytes(text, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		at, message := line, err.Error()
		if wrong := yaml.Error(nil); errors.As(err, &wrong) {
			message = wrong.GetMessage()
			at = lineOf(wrong.GetToken(), line-1, line)
		}
		t.add(at, label, "is not YAML: %s", message)
		return nil
	}
	for i, doc := range file.Docs {
		if doc.Body == nil {
			continue
		}
		if root != nil || i > 0 && label != "" {
			t.add(lineOf(doc.GetToken(), line-1, line), label, "a second document begins; expected one")
			return nil
		}
		root = doc.Body
	}
	return root
}

// lineOf is the line of a token whose text begins offset lines into the file.
func lineOf(at *token.Token, offset, otherwise int) int {
	if at == nil || at.Position == nil {
		return otherwise
	}
	return at.Position.Line + offset
}

// readHead takes in the top of the file, and the list where it was not split.
func (t *orgsText) readHead(node ast.Node, split bool) {
	top, ok := node.(ast.MapNode)
	if !ok {
		t.add(lineOf(node.GetToken(), 0, 1), "", "is not a map; expected %s and %s", keyDefaults, keyOrganisations)
		return
	}
	seen := map[string]int{}
	unknown := false
	for it := top.MapRange(); it.Next(); {
		key, line := keyOf(it.Key()), lineOf(it.Key().GetToken(), 0, 1)
		if first := seen[key]; first > 0 {
			t.add(line, "", "%s stands there twice, first in line %d; expected it once", key, first)
			continue
		}
		seen[key] = line
		switch value := it.Value(); key {
		case keyDefaults:
			t.defaults.line = line
			if value.Type() != ast.NullType {
				t.readSettings(&t.defaults, value, 0, line)
			}
		case keyOrganisations:
			t.listed = true
			list, ok := value.(*ast.SequenceNode)
			switch {
			case split && value.Type() == ast.NullType:
			case split: // what is left of it stands behind the list with too little indentation
				t.add(lineOf(value.GetToken(), 0, line), "", "%s has the indentation neither of the list nor of the top; expected that of its organisation", keyOrganisations)
			case ok:
				t.readList(list, 0, 0)
			case value.Type() == ast.NullType:
				t.add(line, "", "%s is empty; expected a list, [] for none", keyOrganisations)
			default:
				t.add(line, "", "%s is not a list; expected - %s: and its settings for each", keyOrganisations, keyName)
			}
		default:
			unknown = true
			t.add(line, "", "%s is unknown%s; expected %s or %s", quoted(key), suggest(key, []string{keyDefaults, keyOrganisations}), keyDefaults, keyOrganisations)
		}
	}
	if !t.listed && !unknown {
		t.add(1, "", "there is no %s; expected a list with the %s of each, [] for none", keyOrganisations, keyName)
	}
}

// readList takes in a list whose first item is the one of an index, offset lines into the file.
func (t *orgsText) readList(list *ast.SequenceNode, index, offset int) {
	for i, item := range list.Values {
		if len(t.orgs) == maxOrgs {
			t.add(lineOf(item.GetToken(), offset, 1), keyOrganisations, "there are %d; expected at most %d", len(list.Values), maxOrgs)
			return
		}
		o := orgSettings{label: fmt.Sprintf("organisation %d", index+i+1), line: lineOf(item.GetToken(), offset, 1)}
		if before := len(t.problems); t.readSettings(&o, item, offset, o.line) && o.name == "" && len(t.problems) == before {
			t.add(o.line, o.label, "has no %s; expected one, %s", keyName, orgNames)
		}
		t.orgs = append(t.orgs, o)
	}
}

// readSettings takes in what is set for one organisation, or for all; it reports whether
// that is a map.
func (t *orgsText) readSettings(o *orgSettings, node ast.Node, offset, line int) bool {
	settings, ok := node.(ast.MapNode)
	if !ok {
		t.add(line, o.label, "%s; expected variables and their values", kindOf(node))
		o.noMap = true
		return false
	}
	for it := settings.MapRange(); it.Next(); { // its name belongs to every message
		if keyOf(it.Key()) == keyName && o != &t.defaults && o.name == "" {
			o.line = lineOf(it.Key().GetToken(), offset, line)
			t.readName(o, it.Value(), o.line)
		}
	}
	named := 0
	for it := settings.MapRange(); it.Next(); {
		key, at := keyOf(it.Key()), lineOf(it.Key().GetToken(), offset, line)
		if key == keyName && o != &t.defaults {
			if named > 0 {
				t.add(at, o.label, "%s stands there twice, first in line %d; expected it once", key, named)
			}
			named = at
			continue
		}
		if fault := refuseKey(key, o == &t.defaults); fault != "" {
			t.add(at, o.label, "%s", fault)
			o.wrong = append(o.wrong, Problem{Variable: nearest(key, knownNames(), misspellings(key))})
			continue
		}
		if first, ok := o.find(key); ok {
			t.add(at, o.label, "%s: is set twice, as %s in line %d too; expected it once", key, first.key, first.line)
			continue
		}
		text, fault := textOf(variableOf(key), it.Value())
		switch {
		case fault != "":
			t.add(at, o.label, "%s: %s", key, fault)
			o.wrong = append(o.wrong, Problem{Variable: key})
		case strings.TrimSpace(text) != "":
			o.set = append(o.set, orgSetting{key, text, at})
		}
	}
	return true
}

const orgNames = `1 to 63 of a-z, 0-9 and "-"`

func (t *orgsText) readName(o *orgSettings, node ast.Node, line int) {
	scalar, ok := scalarOf(node)
	if !ok || scalar == "" {
		t.add(line, o.label, "%s: %s; expected %s", keyName, kindOf(node), orgNames)
		return
	}
	o.label = "organisation " + quoted(scalar)
	if _, err := formats["org"](scalar); err != nil {
		t.add(line, o.label, "%s: %s", keyName, err)
		return
	}
	o.name = scalar
}

// keyOf is a key's text, "" for one that is no text.
func keyOf(key ast.MapKeyNode) string {
	if node, ok := key.(ast.Node); ok {
		text, _ := scalarOf(node)
		return text
	}
	return ""
}

// scalarOf is the text of a scalar, numbers and truth values as they are spelled.
func scalarOf(node ast.Node) (text string, ok bool) {
	switch n := node.(type) {
	case *ast.StringNode:
		return n.Value, true
	case *ast.LiteralNode:
		return n.Value.Value, true
	case *ast.NullNode:
		return "", true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		return node.GetToken().Value, true
	}
	return "", false
}

// textOf is a value as the environment would have it.
func textOf(v Variable, node ast.Node) (text, fault string) {
	if text, ok := scalarOf(node); ok {
		return text, ""
	}
	list, ok := node.(*ast.SequenceNode)
	switch {
	case !ok:
		return "", kindOf(node) + "; expected a value"
	case !v.list():
		return "", "is a list; expected one value"
	case len(list.Values) == 0:
		return "", "is an empty list; expected " + v.emptyList()
	}
	elements := make([]string, len(list.Values))
	for i, node := range list.Values {
		if elements[i], ok = scalarOf(node); !ok {
			return "", fmt.Sprintf("element %d %s; expected a value", i+1, kindOf(node))
		}
	}
	return strings.Join(elements, ","), ""
}

// kindOf says what a node is that should be something else.
func kindOf(node ast.Node) string {
	switch node.(type) {
	case ast.MapNode:
		return "is a map"
	case *ast.SequenceNode:
		return "is a list"
	case *ast.NullNode:
		return "is empty"
	case *ast.AnchorNode, *ast.AliasNode:
		return "is an anchor or an alias, which are not read here (what organisations share stands under " + keyDefaults + ")"
	case *ast.TagNode:
		return "has a tag, which is not read here"
	}
	return "is a single value"
}
