package mask

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// Shipped is what MASK_FILE is set to for the shipped rules alone.
const Shipped = "default"

// MinKey is how long a key for HMAC must be.
const MinKey = 16

// Fault is something wrong in a rule file.
type Fault struct {
	Line int // 0 where it is the file
	Text string
}

// FileError is everything that is wrong with a rule file.
type FileError struct {
	Path   string
	Faults []Fault
}

// Each has a line for each fault.
func (e *FileError) Each() (lines []string) {
	for _, f := range e.Faults {
		if f.Line > 0 {
			lines = append(lines, fmt.Sprintf("%s, line %d: %s", e.Path, f.Line, f.Text))
		} else {
			lines = append(lines, fmt.Sprintf("%s: %s", e.Path, f.Text))
		}
	}
	return lines
}

func (e *FileError) Error() string { return strings.Join(e.Each(), "\n") }

// Load reads a rule file, or takes the shipped rules alone. Its error is a FileError,
// which names every fault of the file.
func Load(path string, shipped []Rule) (*Rules, error) {
	if path == Shipped {
		return New(nil, shipped, nil)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, &FileError{path, []Fault{{Text: "cannot read it: " + cause(err) + `; expected a file of rules, or "default"`}}}
	}
	r := reading{}
	r.read(text)
	if len(r.faults) == 0 && len(r.rules) == 0 && !r.defaults {
		r.fault(nil, "there are no rules; expected rules, or defaults: true")
	}
	key := r.key()
	if len(r.faults) > 0 {
		slices.SortStableFunc(r.faults, func(a, b Fault) int { return a.Line - b.Line })
		return nil, &FileError{path, r.faults}
	}
	if !r.defaults {
		shipped = nil
	}
	rules, err := New(r.rules, shipped, key)
	if err != nil {
		return nil, &FileError{path, []Fault{{Text: err.Error()}}}
	}
	rules.keyFile = r.keyFile
	return rules, nil
}

func cause(err error) string {
	var p *os.PathError
	if errors.As(err, &p) {
		return p.Err.Error()
	}
	return err.Error()
}

// reading is a rule file that is being read. Nothing stops it before the end, so that
// all faults are named at once.
type reading struct {
	rules    []Rule
	defaults bool
	keyFile  string
	keyNode  ast.Node
	hmac     ast.Node // the first rule that needs a key
	faults   []Fault
}

func (r *reading) fault(at ast.Node, format string, args ...any) {
	f := Fault{Text: fmt.Sprintf(format, args...)}
	if at != nil {
		f.Line = at.GetToken().Position.Line
	}
	r.faults = append(r.faults, f)
}

func (r *reading) read(text []byte) {
	file, err := parser.ParseBytes(text, 0)
	if err != nil {
		f := Fault{Text: err.Error()}
		var syntax yaml.Error
		if errors.As(err, &syntax) {
			f = Fault{lineOf(syntax.GetToken()), "is not YAML: " + syntax.GetMessage()}
		}
		r.faults = append(r.faults, f)
		return
	}
	var body ast.Node
	for _, doc := range file.Docs {
		if doc.Body == nil {
			continue
		}
		if body != nil {
			r.fault(doc.Body, "a second document; expected one")
			return
		}
		body = doc.Body
	}
	if body == nil {
		return
	}
	r.mapping(body, "keyFile, defaults and rules", map[string]func(ast.Node){
		"keyFile": func(n ast.Node) {
			r.keyNode = n
			r.keyFile = r.text(n, "the path of a file that holds the key")
		},
		"defaults": func(n ast.Node) {
			if b, ok := n.(*ast.BoolNode); ok {
				r.defaults = b.Value
				return
			}
			r.fault(n, "defaults is not true or false")
		},
		"rules": func(n ast.Node) {
			for _, rule := range r.list(n, "a list of rules") {
				r.rule(rule)
			}
		},
	})
}

func lineOf(t *token.Token) int {
	if t == nil || t.Position == nil {
		return 0
	}
	return t.Position.Line
}

// mapping reads a mapping whose keys are all known.
func (r *reading) mapping(n ast.Node, expected string, keys map[string]func(ast.Node)) {
	var values []*ast.MappingValueNode
	switch m := n.(type) {
	case *ast.MappingNode:
		values = m.Values
	case *ast.MappingValueNode:
		values = []*ast.MappingValueNode{m}
	default:
		r.fault(n, "%s where a mapping belongs; expected %s", kindOf(n), expected)
		return
	}
	for _, v := range values {
		key := v.Key.GetToken().Value
		read := keys[key]
		if read == nil {
			r.fault(v.Key, "unknown key %q; expected %s", key, expected)
			continue
		}
		read(v.Value)
	}
}

func kindOf(n ast.Node) string { return strings.ToLower(n.Type().String()) }

func (r *reading) list(n ast.Node, expected string) []ast.Node {
	if s, ok := n.(*ast.SequenceNode); ok {
		return s.Values
	}
	r.fault(n, "%s where a list belongs; expected %s", kindOf(n), expected)
	return nil
}

func (r *reading) text(n ast.Node, expected string) string {
	if s, ok := n.(*ast.StringNode); ok && s.Value != "" {
		return s.Value
	}
	r.fault(n, "%s where a text belongs; expected %s", kindOf(n), expected)
	return ""
}

func (r *reading) texts(n ast.Node, expected string) (list []string) {
	for _, e := range r.list(n, expected) {
		list = append(list, r.text(e, expected))
	}
	if list == nil {
		r.fault(n, "an empty list; expected %s, or leave it out", expected)
	}
	return list
}

// rule reads one rule.
func (r *reading) rule(n ast.Node) {
	var rule Rule
	before := len(r.faults)
	r.mapping(n, "entityTypes, paths, fields and action", map[string]func(ast.Node){
		"entityTypes": func(n ast.Node) { rule.EntityTypes = r.texts(n, "names of entity types") },
		"paths": func(n ast.Node) {
			rule.Paths = r.texts(n, "configuration keys")
			for i, e := range r.sequence(n) {
				if _, err := parsePattern(rule.Paths[i]); err != nil && rule.Paths[i] != "" {
					r.fault(e, "%v", err)
				}
			}
		},
		"fields": func(n ast.Node) {
			rule.Fields = r.texts(n, "fields of the change record")
			for i, e := range r.sequence(n) {
				if err := new(compiled).name(rule.Fields[i]); err != nil && rule.Fields[i] != "" {
					r.fault(e, "%v", err)
				}
			}
		},
		"action": func(n ast.Node) {
			word := r.text(n, "drop, mask, hmac or keep")
			if rule.Action = actions[word]; rule.Action == Unnamed && word != "" {
				r.fault(n, "%q is no action; expected drop, mask, hmac or keep", word)
			}
			if rule.Action == HMAC && r.hmac == nil {
				r.hmac = n
			}
		},
	})
	if rule.Action == Unnamed && len(r.faults) == before {
		r.fault(n, "a rule without an action; expected action: drop, mask, hmac or keep")
	}
	r.rules = append(r.rules, rule)
}

// sequence are the elements of a list, of which texts has named what is wrong.
func (r *reading) sequence(n ast.Node) []ast.Node {
	if s, ok := n.(*ast.SequenceNode); ok {
		return s.Values
	}
	return nil
}

// key reads the file with the key.
func (r *reading) key() []byte {
	switch {
	case r.hmac != nil && r.keyNode == nil:
		r.fault(r.hmac, "hmac needs a key; expected keyFile: and the path of a file that holds it")
		return nil
	case r.keyFile == "":
		return nil
	}
	key, err := os.ReadFile(r.keyFile)
	if err != nil {
		r.fault(r.keyNode, "keyFile: cannot read %s: %s", r.keyFile, cause(err))
		return nil
	}
	key = []byte(strings.TrimRight(string(key), "\r\n"))
	if len(key) < MinKey {
		r.fault(r.keyNode, "keyFile: the key in %s has %d bytes; expected %d at least, for example of: openssl rand -hex 32", r.keyFile, len(key), MinKey)
		return nil
	}
	return key
}
