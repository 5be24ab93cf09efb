package doctor

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

const (
	divisionsTime  = 30 * time.Second
	namedDivisions = 10 // in a line
)

// examineDivisions looks at what of the audits the token may see. Where the API does
// not tell, that is nobody's fault.
func (a API) examineDivisions(e examination) {
	e.look(nameDivisions, divisionsTime, func(ctx context.Context, f *finding) {
		d, err := a.Client.Divisions(ctx)
		if err != nil {
			f.add(Skipped, fmt.Sprintf("not looked at: the API does not tell which divisions the token may see: %v", cause(ctx, err)), "")
			return
		}
		if d.All {
			f.ok("the token may see all divisions")
			return
		}
		seen := fmt.Sprintf("the token may see %d", len(d.Names))
		later := false
		if d.Existed >= len(d.Names) && d.Existed > 0 {
			seen += fmt.Sprintf(" of %d", d.Existed)
			later = d.Existed == len(d.Names)
		}
		seen += " divisions" + listOf(d.Names)
		if later {
			seen += ": events of divisions that are added later may never be shown"
		} else {
			seen += ": events of the others may never be shown, and nothing tells that they are missing"
		}
		f.warn(seen, "give the OAuth client the role that has Audits > Audit > View in all divisions (Admin > OAuth > the client > Roles)")
	})
}

// listOf names some, for the middle of a line.
func listOf(names []string) string {
	if len(names) == 0 {
		return ""
	}
	names = slices.Sorted(slices.Values(names))
	more := ""
	if n := len(names) - namedDivisions; n > 0 {
		names, more = names[:namedDivisions], fmt.Sprintf(" and %d more", n)
	}
	return fmt.Sprintf(" (%s%s)", strings.Join(names, ", "), more)
}
