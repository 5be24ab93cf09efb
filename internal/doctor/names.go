package doctor

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"genesys-audit-connector/internal/audit"
	"genesys-audit-connector/internal/genesys"
)

// namesTime is for all kinds together.
const namesTime = time.Minute

// examineNames looks at which names may be looked up. Without any of them events are
// published all the same, with ids.
func (a API) examineNames(e examination) {
	if !a.Names {
		return
	}
	e.look(nameNames, namesTime, func(ctx context.Context, f *finding) {
		var served []string
		for _, kind := range audit.Kinds {
			err := a.Client.TryNames(ctx, kind)
			var forbidden *genesys.NamesForbiddenError
			switch {
			case err == nil:
				served = append(served, kind.String())
			case errors.As(err, &forbidden):
				f.warn(fmt.Sprintf("%s may not be looked up", kind), fmt.Sprintf(
					"give the OAuth client's role the permission %s (scope %s) for the names of %s, or set GENESYS_NAMES=false", forbidden.Permission, forbidden.Scope, kind))
			default:
				f.warn(fmt.Sprintf("%s: %v", kind, cause(ctx, err)), "look again later")
			}
		}
		if len(served) > 0 {
			f.ok(strings.Join(served, ", ") + " can be looked up")
		}
	})
}
