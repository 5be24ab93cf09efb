package genesys

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"genesys-audit-connector/internal/audit"
)

// In which divisions the token has the permission for audits. The route, its query
// and allDivsPermitted are those of the vendor's SDK (PureCloudPlatformClientV2
// 269.0.0: get_authorization_divisionspermitted_paged_me, DivsPermittedEntityListing),
// whose documentation says "Requires no permissions".
const (
	permittedPath    = "/api/v2/authorization/divisionspermitted/paged/"
	auditsPermission = "audits:audit:view"
)

// Divisions are those whose audits the token may see.
type Divisions struct {
	All     bool     // those that are added later, too
	Names   []string // where not All; an id where there is no name
	Existed int      // how many the organisation has; 0 where that may not be seen
}

// Divisions tells which divisions the token may see the audits of. The route says
// "the current user", which a token by client credentials does not stand for ("not in
// the context of a user": help.mypurecloud.com, "Create an OAuth client"); where it is
// refused for that, the OAuth client's own id is asked for, as the subject of its roles.
func (c *Client) Divisions(ctx context.Context) (Divisions, error) {
	d, err := c.permitted(ctx, "me")
	if refusedSubject(err) {
		if id, unread := c.cfg.ClientID(); unread == nil {
			if own, refused := c.permitted(ctx, url.PathEscape(id)); refused == nil {
				d, err = own, nil
			}
		}
	}
	if err != nil || d.All {
		return d, err
	}
	if c.ListNames(ctx, audit.DivisionKind, func(string, string) { d.Existed++ }) != nil {
		d.Existed = 0
	}
	return d, nil
}

// refusedSubject reports whether a route does not serve who asks.
func refusedSubject(err error) bool {
	var status *StatusError
	var refused *CredentialsError
	return errors.As(err, &status) && (status.Status == http.StatusBadRequest || status.Status == http.StatusNotFound) ||
		errors.As(err, &refused) && refused.Status == http.StatusForbidden
}

func (c *Client) permitted(ctx context.Context, subject string) (d Divisions, err error) {
	for page := 1; page <= mostPages; page++ {
		query := url.Values{"permission": {auditsPermission}, "pageNumber": {strconv.Itoa(page)}, "pageSize": {strconv.Itoa(namesPage)}}
		req := &request{op: "GET " + permittedPath + "{subject}", method: http.MethodGet, path: permittedPath + subject, query: query, purpose: audit.Listing}
		a, err := c.lookUp(ctx, req, func(a *answer) error { _, err := a.entities(); return err })
		if err != nil {
			return Divisions{}, fmt.Errorf("see which divisions are permitted: %w", err)
		}
		d.All = a.doc.Root().Get("allDivsPermitted").Text() == "true"
		n := 0
		for e := a.doc.Root().Get("entities").Elements(); e.Next(); n++ {
			name := e.Value().Get("name").Text()
			if name == "" {
				name = e.Value().Get("id").Text()
			}
			d.Names = append(d.Names, name)
		}
		more := leadsOn(a, page, n) && n > 0
		a.free()
		if d.All || !more {
			break
		}
	}
	return d, nil
}
