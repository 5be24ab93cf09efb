package codec

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/goccy/go-yaml"

	"genesys-audit-connector/schemas"
)

// ErrMapping says that an entity mapping is wrong.
var ErrMapping = errors.New("wrong entity mapping")

// Mapping is what is known of the events of one entity type.
type Mapping struct {
	// EntityType is the type as dialects query and realtime spell it. Events
	// match it in any case: dialect auditlogs says queue, the others Queue.
	EntityType string `yaml:"entityType"`
	// Aliases are further names of the type, in any case.
	Aliases []string `yaml:"aliases"`
	// Paths are the configuration keys that its documents are expected to have.
	Paths []string `yaml:"paths"`
	// Sets are those of Paths whose arrays have no order.
	Sets []string `yaml:"sets"`
	// Secrets and Personal are the configuration keys whose values are secrets, or
	// say something of a person: the key itself and what is below it, each with its
	// first part among Paths. "*" is whatever the entity has.
	Secrets  []string `yaml:"secrets"`
	Personal []string `yaml:"personal"`
	// Addresses are those whose values are telephone numbers, or e-mail, postal or IP
	// addresses, or have some in them.
	Addresses []string `yaml:"addresses"`
	// Name tells which ids the entity's name holds, in events of some actions.
	Name *NameReading `yaml:"name"`
}

// NameReading takes ids out of the name of an entity.
type NameReading struct {
	// Actions are those whose events have such a name.
	Actions []string `yaml:"actions"`
	// Pattern is the ids' names in angle brackets with what stands between them:
	// <userId>--<roleId>--<orgId>.
	Pattern string `yaml:"pattern"`

	ids        [][]byte
	separators [][]byte // one fewer
}

// Mappings are the mappings of all types that have one.
type Mappings struct {
	byType map[string]*Mapping // by EntityType and Aliases in lower case
}

// BuiltinMappings are the mappings in schemas/entities. Nobody may change them.
func BuiltinMappings() (*Mappings, error) { return builtinMappings() }

var builtinMappings = sync.OnceValues(func() (*Mappings, error) { return LoadMappings(schemas.Entities) })

// LoadMappings reads every entities/*.yaml. Its errors are ErrMapping or those of fsys.
func LoadMappings(fsys fs.FS) (*Mappings, error) {
	names, err := fs.Glob(fsys, "entities/*.yaml")
	if err != nil {
		return nil, fmt.Errorf("list entity mappings: %w", err)
	}
	all := &Mappings{byType: make(map[string]*Mapping, len(names))}
	for _, name := range names {
		text, err := fs.ReadFile(fsys, name)
		if err != nil {
			return nil, fmt.Errorf("read entity mapping: %w", err)
		}
		if err := all.load(text); err != nil {
			return nil, fmt.Errorf("%s: %w", path.Base(name), err)
		}
	}
	return all, nil
}

func (all *Mappings) load(text []byte) error {
	m := new(Mapping)
	if err := yaml.UnmarshalWithOptions(text, m, yaml.DisallowUnknownField()); err != nil {
		return fmt.Errorf("%w: %w", ErrMapping, err)
	}
	if err := m.check(); err != nil {
		return err
	}
	for _, name := range append([]string{m.EntityType}, m.Aliases...) {
		key := strings.ToLower(name)
		if all.byType[key] != nil {
			return fmt.Errorf("%w: there is another one of entityType %s", ErrMapping, name)
		}
		all.byType[key] = m
	}
	return nil
}

func (m *Mapping) check() error {
	if m.EntityType == "" || slices.Contains(m.Aliases, "") {
		return fmt.Errorf("%w: entityType is missing", ErrMapping)
	}
	for _, set := range m.Sets {
		if !slices.Contains(m.Paths, set) {
			return fmt.Errorf("%w: %s is listed in sets but not in paths", ErrMapping, set)
		}
	}
	for list, keys := range map[string][]string{"secrets": m.Secrets, "personal": m.Personal, "addresses": m.Addresses} {
		for _, key := range keys {
			if first, _, _ := strings.Cut(key, "."); key != "*" && !slices.Contains(m.Paths, first) {
				return fmt.Errorf("%w: %s is listed in %s but not in paths", ErrMapping, key, list)
			}
		}
	}
	if m.Name != nil {
		return m.Name.parse()
	}
	return nil
}

// of finds the mapping of an entity type; nil where there is none.
func (all *Mappings) of(entityType []byte) *Mapping {
	var lower [64]byte
	if len(entityType) > len(lower) {
		return nil
	}
	for i, c := range entityType {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		lower[i] = c
	}
	return all.byType[string(lower[:len(entityType)])]
}

// isSet reports whether the arrays at a configuration key have no order.
func (m *Mapping) isSet(key []byte) bool {
	if m == nil {
		return false
	}
	for _, set := range m.Sets {
		if set == string(key) {
			return true
		}
	}
	return false
}

// parse takes the pattern apart.
func (r *NameReading) parse() error {
	rest := r.Pattern
	for {
		id, after, ok := strings.Cut(strings.TrimPrefix(rest, "<"), ">")
		if !strings.HasPrefix(rest, "<") || !ok || id == "" {
			return fmt.Errorf("%w: name: pattern %q: an id in angle brackets is expected at %q", ErrMapping, r.Pattern, rest)
		}
		r.ids = append(r.ids, []byte(id))
		if after == "" {
			return nil
		}
		separator, _, _ := strings.Cut(after, "<")
		if separator == "" || separator == after {
			return fmt.Errorf("%w: name: pattern %q: text between two ids is expected at %q", ErrMapping, r.Pattern, after)
		}
		r.separators = append(r.separators, []byte(separator))
		rest = after[len(separator):]
	}
}

func (r *NameReading) isOf(action []byte) bool {
	for _, a := range r.Actions {
		if a == string(action) {
			return true
		}
	}
	return false
}

// appendIDs adds the ids that the name of the entity holds to a context, but for
// those that the context has itself. A name that is not of the pattern, exactly,
// holds none.
func (m *Mapping) appendIDs(context []pair, action, name []byte) []pair {
	if m == nil || m.Name == nil || !m.Name.isOf(action) {
		return context
	}
	own := len(context)
	for i, id := range m.Name.ids {
		value := name
		if i < len(m.Name.separators) {
			var ok bool
			if value, name, ok = bytes.Cut(name, m.Name.separators[i]); !ok {
				return context[:own]
			}
		} else if i > 0 && bytes.Contains(value, m.Name.separators[i-1]) {
			return context[:own]
		}
		if len(value) == 0 {
			return context[:own]
		}
		if !slices.ContainsFunc(context[:own], func(p pair) bool { return bytes.Equal(p.key, id) }) {
			context = append(context, pair{id, value})
		}
	}
	return context
}
