package main

import (
	"cmp"
	"reflect"
	"slices"
	"strings"
	"sync"
)

// Variable is one environment variable of the connector, as its field in
// Config describes it.
type Variable struct {
	Name    string
	Group   string
	Default string // "" for none
	Unset   string // what holds when a variable without a default is not set
	Example string
	Doc     string
	OneOf   []string
	Secret  bool // may also be given as the name of a file, by NAME_FILE

	min, max string
	format   string
	kind     reflect.Type
	tag      reflect.StructTag
	path     []int // to its field in Config
	index    int   // in Config's order
}

// Variables are all variables, in Config's order.
var Variables = sync.OnceValue(func() []Variable {
	return appendVariables(nil, reflect.TypeFor[Config](), nil, "")
})

var variablesByName = sync.OnceValue(func() map[string]Variable {
	byName := map[string]Variable{}
	for _, v := range Variables() {
		byName[v.Name] = v
	}
	return byName
})

// variableOf is the variable of this name, or the one whose file it names.
func variableOf(name string) Variable {
	if v, ok := variablesByName()[name]; ok {
		return v
	}
	return variablesByName()[strings.TrimSuffix(name, "_FILE")]
}

func appendVariables(all []Variable, t reflect.Type, path []int, group string) []Variable {
	for f := range t.Fields() {
		path := slices.Concat(path, f.Index)
		name, options, _ := strings.Cut(f.Tag.Get("env"), ",")
		group := cmp.Or(f.Tag.Get("group"), group)
		if name == "" {
			if f.Type.Kind() == reflect.Struct {
				all = appendVariables(all, f.Type, path, group)
			}
			continue
		}
		v := Variable{
			Name: name, Group: group, Doc: variableDocs[name],
			Default: strings.TrimPrefix(options, "default="), Unset: f.Tag.Get("unset"), Example: f.Tag.Get("example"),
			Secret: f.Type == reflect.TypeFor[Secret](),
			min:    f.Tag.Get("min"), max: f.Tag.Get("max"), format: f.Tag.Get("is"),
			kind: f.Type, tag: f.Tag, path: path, index: len(all),
		}
		if list := f.Tag.Get("oneof"); list != "" {
			v.OneOf = strings.Split(list, ",")
		}
		all = append(all, v)
	}
	return all
}

// misspellings is how many typing errors a name of that length may have and
// still be recognised: KAFKA_TCP, set by others, must not pass for KAFKA_TLS.
func misspellings(name string) int {
	if len(name) < 12 {
		return 1
	}
	return 2
}

// nearest is the candidate with the fewest typing errors, at most limit, or "".
// Case does not count as an error.
func nearest(word string, candidates []string, limit int) string {
	best, found := limit+1, ""
	for _, c := range candidates {
		if d := distance(strings.ToLower(word), strings.ToLower(c)); d < best {
			best, found = d, c
		}
	}
	return found
}

// distance counts the letters to add, drop, change or swap with their
// neighbour to make b of a (optimal string alignment).
func distance(a, b string) int {
	before, row := []int(nil), make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		next := make([]int, len(b)+1)
		next[0] = i + 1
		for j := range len(b) {
			change := row[j]
			if a[i] != b[j] {
				change++
			}
			next[j+1] = min(change, row[j+1]+1, next[j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				next[j+1] = min(next[j+1], before[j-1]+1)
			}
		}
		before, row = row, next
	}
	return row[len(b)]
}
