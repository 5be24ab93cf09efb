// Package mask says which values of a change record are hidden, and how: rules by
// entity type, path and field, and what each of them makes of a text.
//
// It promises that the same text is hidden in the same way wherever it occurs in the
// records of an event. It refuses to know how a record is encoded, and never sees a raw
// event.
package mask

import (
	"fmt"
	"strings"
)

// Action is what is done to a value.
type Action uint8

// The actions. A value that no rule names stays, as one of Keep does.
const (
	Unnamed Action = iota
	Keep
	Drop // the value becomes null
	Mask // it becomes Stars
	HMAC // it becomes the hexadecimal HMAC-SHA-256 of it
)

// Stars stand in the place of a masked value.
const Stars = "***"

var actions = map[string]Action{"keep": Keep, "drop": Drop, "mask": Mask, "hmac": HMAC}

func (a Action) String() string {
	return [...]string{"unnamed", "keep", "drop", "mask", "hmac"}[a]
}

// Hides reports whether the action leaves something else than the value.
func (a Action) Hides() bool { return a >= Drop }

// Field is a field of the change record whose value may be hidden.
type Field uint8

// The fields, in the order of the schema.
const (
	UserID Field = iota
	UserName
	EntityName
	ConfigurationKey // never named by a rule: what else is hidden may occur in it
	PreviousValue
	NewValue
	ClientID
	Application
	RemoteIP
	Context
	Message
	MemberID
	MemberName
	DivisionName
	Fields // how many there are
)

func (f Field) String() string {
	return [...]string{
		"userId", "userName", "entityName", "configurationKey", "previousValue", "newValue", "clientId", "application",
		"remoteIp", "context", "message", "memberId", "memberName", "divisionName",
	}[f]
}

// contextPrefix stands before the key of a context that a rule names alone.
const contextPrefix = "context."

// Rule is one rule of a file. The first one that names a field of a record decides.
type Rule struct {
	EntityTypes []string // in any case; none: all
	Paths       []string // configurationKeys, see pattern; none: all
	Fields      []string // none: previousValue and newValue
	Action      Action
}

// String is the rule for people.
func (r Rule) String() string {
	all := func(list []string, none string) string {
		if len(list) == 0 {
			return none
		}
		return strings.Join(list, ", ")
	}
	return fmt.Sprintf("%s %s of %s in %s", r.Action, all(r.Fields, "previousValue, newValue"), all(r.Paths, "any path"), all(r.EntityTypes, "any entity type"))
}

// Rules are rules that can be followed. Many goroutines may share them, each with a
// Matcher of its own.
type Rules struct {
	own      []Rule
	defaults int // how many shipped rules follow
	keyFile  string
	key      []byte
	byType   map[string]*set // by entity type in lower case
	others   *set            // of all other types
}

// Describe says which rules are in force.
func (r *Rules) Describe() string {
	var parts []string
	for _, rule := range r.own {
		parts = append(parts, rule.String())
	}
	if r.defaults > 0 {
		parts = append(parts, fmt.Sprintf("%d shipped rules", r.defaults))
	}
	if r.key != nil {
		parts = append(parts, "HMAC key of "+r.keyFile)
	}
	return strings.Join(parts, "; ")
}

// set are the rules that concern one entity type, in order.
type set []*compiled

// compiled is a rule ready to be followed.
type compiled struct {
	action   Action
	all      bool // it has no paths
	patterns []pattern
	anywhere map[string]bool // names that count wherever they stand in a path, in lower case
	fields   [Fields]bool
	keys     map[string]bool // of the context, in lower case, where it does not name all
}

func compile(r Rule) (*compiled, error) {
	c := &compiled{action: r.Action, all: len(r.Paths) == 0}
	fields := r.Fields
	if len(fields) == 0 {
		fields = []string{PreviousValue.String(), NewValue.String()}
	}
	for _, name := range fields {
		if err := c.name(name); err != nil {
			return nil, err
		}
	}
	for _, text := range r.Paths {
		p, err := parsePattern(text)
		switch {
		case err != nil:
			return nil, err
		case len(p) == 2 && p[0].any && p[1].literal():
			if c.anywhere == nil {
				c.anywhere = map[string]bool{}
			}
			c.anywhere[strings.ToLower(p[1].parts[0])] = true
		default:
			c.patterns = append(c.patterns, p)
		}
	}
	return c, nil
}

// name takes note of a field that the rule names.
func (c *compiled) name(field string) error {
	if key, ok := strings.CutPrefix(field, contextPrefix); ok && key != "" {
		if c.keys == nil {
			c.keys = map[string]bool{}
		}
		c.keys[strings.ToLower(key)] = true
		return nil
	}
	for f := range Fields {
		if f.String() == field && f != ConfigurationKey {
			c.fields[f] = true
			return nil
		}
	}
	return fmt.Errorf("%q is no field that can be masked; expected one of %s", field, fieldNames())
}

func fieldNames() string {
	var names []string
	for f := range Fields {
		if f != ConfigurationKey {
			names = append(names, f.String())
		}
	}
	return strings.Join(names, ", ") + ", context.KEY"
}

// New makes Rules of a file's own rules and of the shipped ones, which come after them.
func New(own, shipped []Rule, key []byte) (*Rules, error) {
	r := &Rules{own: own, defaults: len(shipped), key: key, byType: map[string]*set{}, others: &set{}}
	all := append(own[:len(own):len(own)], shipped...)
	for _, rule := range all {
		for _, name := range rule.EntityTypes {
			r.byType[strings.ToLower(name)] = &set{}
		}
	}
	for _, rule := range all {
		c, err := compile(rule)
		if err != nil {
			return nil, err
		}
		if len(rule.EntityTypes) == 0 {
			*r.others = append(*r.others, c)
			for _, s := range r.byType {
				*s = append(*s, c)
			}
		}
		for _, name := range rule.EntityTypes {
			s := r.byType[strings.ToLower(name)]
			*s = append(*s, c)
		}
	}
	return r, nil
}

// of are the rules of an entity type.
func (r *Rules) of(entityType []byte) set {
	var lower [64]byte
	if len(entityType) <= len(lower) {
		n := copy(lower[:], entityType)
		if s := r.byType[string(lowerASCII(lower[:n]))]; s != nil {
			return *s
		}
	}
	return *r.others
}

func lowerASCII(text []byte) []byte {
	for i, c := range text {
		if 'A' <= c && c <= 'Z' {
			text[i] = c | 0x20
		}
	}
	return text
}
