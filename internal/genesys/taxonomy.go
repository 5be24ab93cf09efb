package genesys

import (
	"cmp"
	"maps"
	"slices"
	"strings"
)

// knownWrong are values that are often tried and never served, with the right one.
var knownWrong = map[condition]string{
	{"type", "admin"}:          "configuration",
	{"type", "administration"}: "configuration",
	{"type", "config"}:         "configuration",
	{"type", "configurations"}: "configuration",
}

// knownTypes are the values of type that are documented.
var knownTypes = []string{"configuration"}

// knownKeys are the fields of events that are documented and that a filter may name.
var knownKeys = []string{"type", "entityType", "entityId", "action", "userId", "userName", "auditId"}

// distribution counts events by a value.
type distribution map[string]int

// most lists the values, the most frequent first, at most n of them.
func (d distribution) most(n int) []string {
	values := slices.SortedFunc(maps.Keys(d), func(a, b string) int {
		return cmp.Or(cmp.Compare(d[b], d[a]), strings.Compare(a, b))
	})
	return values[:min(n, len(values))]
}

// nearest is the value that was probably meant: the same but for case, or
// one that a slip of the keyboard or two away; "" for none.
func nearest(value string, served []string) string {
	best, least := "", 3
	for _, s := range served {
		if strings.EqualFold(s, value) {
			return s
		}
		d := distance(strings.ToLower(value), strings.ToLower(s))
		if d < least && d*3 <= max(len(value), len(s)) {
			best, least = s, d
		}
	}
	return best
}

// distance is how many bytes must be put in, taken out or replaced to make b of a (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			above := row[j+1]
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			row[j+1] = min(above+1, row[j]+1, diagonal+cost)
			diagonal = above
		}
	}
	return row[len(b)]
}
