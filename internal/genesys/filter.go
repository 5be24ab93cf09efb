package genesys

import (
	"slices"
	"strings"
)

// filter is a filter expression of auditlogs: conditions that all hold.
type filter []condition

type condition struct{ key, value string }

// parseFilter reads key=value[,key=value…], without the white space around the parts.
func parseFilter(expression string) (filter, error) {
	var f filter
	for part := range strings.SplitSeq(expression, ",") {
		key, value, ok := strings.Cut(part, "=")
		c := condition{strings.TrimSpace(key), strings.TrimSpace(value)}
		if !ok || c.key == "" || c.value == "" {
			return nil, &ValueError{Variable: "GENESYS_FILTER", Value: expression,
				Reason: "it is no key=value, several of them joined by commas", Suggestion: defaultFilter}
		}
		f = append(f, c)
	}
	return f, nil
}

// CheckFilter says what is known to be wrong with a filter expression without
// asking the API: a *ValueError.
func CheckFilter(expression string) error {
	f, err := parseFilter(expression)
	if err != nil {
		return err
	}
	return f.checkKnown()
}

// String is the expression as it is sent.
func (f filter) String() string {
	parts := make([]string, len(f))
	for i, c := range f {
		parts[i] = c.key + "=" + c.value
	}
	return strings.Join(parts, ",")
}

// name is the same for expressions that mean the same.
func (f filter) name() string {
	sorted := slices.Clone(f)
	slices.SortStableFunc(sorted, func(a, b condition) int { return strings.Compare(a.key+"="+a.value, b.key+"="+b.value) })
	return slices.Compact(sorted).String()
}

// only is the part of the filter with this key.
func (f filter) only(key string) filter {
	return slices.DeleteFunc(slices.Clone(f), func(c condition) bool { return c.key != key })
}
