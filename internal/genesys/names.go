package genesys

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"genesys-audit-connector/internal/audit"
	"genesys-audit-connector/internal/jsonscan"
	"genesys-audit-connector/internal/names"
)

// What ids are called: GENESYS-API.md, "What live organisations show". These
// requests share the token and the pacer with those for audits, and go last.

const usersPath = "/api/v2/users"

// listings are the routes that list a kind, and what they need.
var listings = map[audit.Kind]struct{ path, permission, scope string }{
	audit.UserKind:     {usersPath, "directory:user:view", "users:readonly"},
	audit.ClientKind:   {"/api/v2/oauth/clients", "oauth:client:view", "oauth:readonly"},
	audit.GroupKind:    {"/api/v2/groups", "directory:group:view", "groups:readonly"},
	audit.RoleKind:     {"/api/v2/authorization/roles", "authorization:role:view", "authorization:readonly"},
	audit.QueueKind:    {"/api/v2/routing/queues", "routing:queue:view", "routing:readonly"},
	audit.DivisionKind: {"/api/v2/authorization/divisions", "authorization:division:view", "authorization:readonly"},
}

const (
	namesPage = 100 // what every listing gives, as far as is known
	mostPages = 200 // of a listing
	// mostSingles is how many users are asked for one by one, of those that a search by
	// ids does not show; the others are left for later.
	mostSingles = 5
)

// NamesForbiddenError says that the OAuth client may not look up names of a kind. It
// is a names.ErrForbidden.
type NamesForbiddenError struct {
	Kind              audit.Kind
	Permission, Scope string // that would bring it
	Err               error
}

func (e *NamesForbiddenError) Error() string {
	return fmt.Sprintf("%s need the permission %s (scope %s): %v", e.Kind, e.Permission, e.Scope, e.Err)
}

// Unwrap makes it a names.ErrForbidden.
func (e *NamesForbiddenError) Unwrap() []error { return []error{names.ErrForbidden, e.Err} }

// ListNames adds the name of everything of a kind.
func (c *Client) ListNames(ctx context.Context, kind audit.Kind, add func(id, name string)) error {
	before := ""
	for page := 1; page <= mostPages; page++ {
		query := url.Values{"pageNumber": {strconv.Itoa(page)}, "pageSize": {strconv.Itoa(namesPage)}}
		first, more := "", false
		err := c.namesPage(ctx, kind, query, func(a *answer) {
			n := addNames(a, func(id, name string) {
				if first == "" {
					first = id
				}
				add(id, name)
			})
			more = leadsOn(a, page, n)
		})
		if err != nil {
			return err
		}
		if !more || first == before { // one that does not know of pages says the same again
			return nil
		}
		before = first
	}
	return nil
}

// TryNames reports whether names of a kind may be looked up, by looking at one.
func (c *Client) TryNames(ctx context.Context, kind audit.Kind) error {
	return c.namesPage(ctx, kind, url.Values{"pageNumber": {"1"}, "pageSize": {"1"}}, func(*answer) {})
}

// UserNames adds the names of those of the ids that are users', deleted or not, and
// calls none of those that are nobody's. A search by ids may hide who has left;
// those are looked at one by one.
func (c *Client) UserNames(ctx context.Context, ids []string, add func(id, name string), none func(id string)) error {
	query := url.Values{"id": {strings.Join(ids, ",")}, "state": {"any"}, "pageSize": {strconv.Itoa(max(len(ids), 1))}}
	shown := make(map[string]bool, len(ids))
	err := c.namesPage(ctx, audit.UserKind, query, func(a *answer) {
		addNames(a, func(id, name string) { shown[id] = true; add(id, name) })
	})
	if malformed(err) { // one of the ids: the others are not to stay without names for it
		if len(ids) == 1 {
			none(ids[0])
			return nil
		}
		half := len(ids) / 2
		if err := c.UserNames(ctx, ids[:half], add, none); err != nil {
			return err
		}
		return c.UserNames(ctx, ids[half:], add, none)
	}
	if err != nil {
		return err
	}
	singles := 0
	for _, id := range ids {
		if shown[id] {
			continue
		}
		if singles++; singles > mostSingles {
			return nil
		}
		err := c.userName(ctx, id, add)
		if notServed(err) || malformed(err) {
			none(id)
			continue
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// userName adds the name of one user.
func (c *Client) userName(ctx context.Context, id string, add func(id, name string)) error {
	req := &request{op: "GET " + usersPath + "/{id}", method: http.MethodGet, path: usersPath + "/" + url.PathEscape(id), purpose: audit.Lookup}
	a, err := c.lookUp(ctx, req, func(a *answer) error {
		_, err := a.document()
		return err
	})
	if err != nil {
		return forbidden(audit.UserKind, err)
	}
	addName(a.doc.Root(), add)
	a.free()
	return nil
}

// namesPage asks for a page of a listing.
func (c *Client) namesPage(ctx context.Context, kind audit.Kind, query url.Values, take func(*answer)) error {
	path, purpose := listings[kind].path, audit.Listing
	if kind == audit.UserKind { // who is asked for because a step has met them
		purpose = audit.Lookup
	}
	req := &request{op: "GET " + path, method: http.MethodGet, path: path, query: query, purpose: purpose}
	a, err := c.lookUp(ctx, req, func(a *answer) error {
		_, err := a.entities()
		return err
	})
	if notServed(err) { // by this organisation, and it will not be in a minute
		return fmt.Errorf("%w: %w", names.ErrForbidden, err)
	}
	if err != nil {
		return forbidden(kind, err)
	}
	take(a)
	a.free()
	return nil
}

// lookUp sends a request once: who asks for names asks again when it likes, and does
// something else meanwhile.
func (c *Client) lookUp(ctx context.Context, req *request, check func(*answer) error) (*answer, error) {
	a, err := c.send(ctx, req)
	if err != nil {
		return nil, err
	}
	if err := check(a); err != nil {
		a.free()
		return nil, fmt.Errorf("%s: %w", req.op, err)
	}
	return a, nil
}

// malformed reports whether the API refused what was asked, and not who asked.
func malformed(err error) bool {
	var status *StatusError
	return errors.As(err, &status) && status.Status == http.StatusBadRequest
}

// forbidden makes a refusal one of a kind of names: what the client says of it is
// about audits.
func forbidden(kind audit.Kind, err error) error {
	var refused *CredentialsError
	if !errors.As(err, &refused) || refused.Status != http.StatusForbidden {
		return err
	}
	code := strings.TrimSpace(fmt.Sprint(refused.Status, " ", refused.Code)) + correlated(refused.Correlation)
	return &NamesForbiddenError{kind, listings[kind].permission, listings[kind].scope, errors.New(code)}
}

// addNames adds the entities of a listing, and returns how many there are.
func addNames(a *answer, add func(id, name string)) (n int) {
	for e := a.doc.Root().Get("entities").Elements(); e.Next(); n++ {
		addName(e.Value(), add)
	}
	return n
}

func addName(entity jsonscan.Value, add func(id, name string)) {
	id, name := entity.Get("id"), entity.Get("name")
	if id.Kind() == jsonscan.String && name.Kind() == jsonscan.String {
		add(id.Text(), name.Text())
	}
}

// leadsOn reports whether another page follows one that has n entities.
func leadsOn(a *answer, page, n int) bool {
	root := a.doc.Root()
	if pages, ok := wholeNumber(root.Get("pageCount")); ok {
		return page < pages
	}
	if root.Get("nextUri").Kind() == jsonscan.String {
		return true
	}
	return n >= namesPage
}
