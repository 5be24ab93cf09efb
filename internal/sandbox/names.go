package sandbox

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// What people and things are called: the listings of the platform's public API
// that a reader of audit events turns ids into names with. Each needs a view
// permission of its own.

// Permissions of the endpoints, as a 403 names them.
const (
	PermissionAudits    = "audits:audit:view"
	PermissionUsers     = "directory:user:view"
	PermissionRoles     = "authorization:role:view"
	PermissionGroups    = "directory:group:view"
	PermissionDivisions = "authorization:division:view"
	PermissionClients   = "oauth:client:view"
	PermissionQueues    = "routing:queue:view"
)

// permissionOf returns the permission that an endpoint needs, "" for none.
func permissionOf(endpoint Endpoint) string {
	switch endpoint {
	case EndpointUsers, EndpointUser:
		return PermissionUsers
	case EndpointRoles:
		return PermissionRoles
	case EndpointGroups:
		return PermissionGroups
	case EndpointDivisions:
		return PermissionDivisions
	case EndpointClients:
		return PermissionClients
	case EndpointQueues:
		return PermissionQueues
	case EndpointToken, EndpointDownload, EndpointOrganization, EndpointPermitted:
		return ""
	}
	return PermissionAudits
}

// permissions are those that the OAuth client lacks.
type permissions struct {
	mu    sync.Mutex
	lacks []string
}

// Forbid takes permissions from the OAuth client: their endpoints answer 403.
func (o *Org) Forbid(names ...string) {
	o.permissions.mu.Lock()
	defer o.permissions.mu.Unlock()
	o.permissions.lacks = append(o.permissions.lacks, names...)
}

// Allow gives permissions back; all without a name.
func (o *Org) Allow(names ...string) {
	o.permissions.mu.Lock()
	defer o.permissions.mu.Unlock()
	o.permissions.lacks = slices.DeleteFunc(o.permissions.lacks, func(name string) bool {
		return len(names) == 0 || slices.Contains(names, name)
	})
}

// forbidden is the refusal of a request whose permission is lacking; nil where it is not.
func (o *Org) forbidden(endpoint Endpoint) *answer {
	name := permissionOf(endpoint)
	o.permissions.mu.Lock()
	defer o.permissions.mu.Unlock()
	if name == "" || !slices.Contains(o.permissions.lacks, name) {
		return nil
	}
	return missingPermission(name)
}

func missingPermission(name string) *answer {
	return jsonAnswer(http.StatusForbidden, appendJSON(nil, obj(
		"message", "Unable to perform the requested action. You are missing the following permission(s): "+name,
		"code", "missing.any.permissions", "status", http.StatusForbidden,
		"messageParams", obj("permissions", name),
		"contextId", noContext, "details", array{}, "errors", array{})))
}

// Pages of the listings.
const (
	namesDefaultPage = 25
	namesMaxPage     = 500
)

// nameRoutes are the listings.
func (o *Org) nameRoutes() {
	listing := func(path string, endpoint Endpoint, all []object) {
		o.handle("GET "+path, endpoint, "", func(c *call) *answer { return listed(c, path, o.renamed(endpoint, all)) })
	}
	w := o.world
	o.handle("GET /api/v2/users", EndpointUsers, "", o.users)
	o.handle("GET /api/v2/users/{id}", EndpointUser, "", o.user)
	listing("/api/v2/authorization/roles", EndpointRoles, w.roles)
	listing("/api/v2/groups", EndpointGroups, w.groups)
	listing("/api/v2/authorization/divisions", EndpointDivisions, w.divisions)
	o.handle("GET /api/v2/authorization/divisionspermitted/paged/{subject}", EndpointPermitted, "", o.permitted)
	listing("/api/v2/oauth/clients", EndpointClients, w.clients)
	listing("/api/v2/routing/queues", EndpointQueues, w.queues)
}

// names are those that were given after the start.
type names struct {
	mu    sync.Mutex
	given map[Endpoint][]object // of id and name
}

// SetName renames what a listing (EndpointUsers, EndpointRoles …) has under an id,
// or puts something new there.
func (o *Org) SetName(listing Endpoint, id, name string) {
	o.names.mu.Lock()
	defer o.names.mu.Unlock()
	if o.names.given == nil {
		o.names.given = map[Endpoint][]object{}
	}
	o.names.given[listing] = append(o.names.given[listing], obj("id", id, "name", name))
}

// renamed is a listing with the names that were given since.
func (o *Org) renamed(listing Endpoint, all []object) []object {
	o.names.mu.Lock()
	defer o.names.mu.Unlock()
	if len(o.names.given[listing]) == 0 {
		return all
	}
	all = slices.Clone(all)
	for _, given := range o.names.given[listing] {
		i := slices.IndexFunc(all, func(o object) bool { return o.get("id") == given.get("id") })
		if i < 0 {
			all = append(all, given.with("state", "active"))
			continue
		}
		all[i] = all[i].with("name", given.get("name"))
	}
	return all
}

// users is GET /api/v2/users: without ?state those that are active, as the SDK
// says of get_users.
func (o *Org) users(c *call) *answer {
	state := c.URL.Query().Get("state")
	setDefault(&state, "active")
	var found []object
	for _, u := range o.renamed(EndpointUsers, o.world.users) {
		if state == "any" || u.get("state") == state {
			found = append(found, u)
		}
	}
	return listed(c, "/api/v2/users", found)
}

// user is GET /api/v2/users/{id}: a deleted one is still served, and says so.
func (o *Org) user(c *call) *answer {
	users := o.renamed(EndpointUsers, o.world.users)
	i := slices.IndexFunc(users, func(u object) bool { return u.get("id") == c.PathValue("id") })
	if i < 0 {
		return failure(http.StatusNotFound, "not.found", "The user "+c.PathValue("id")+" was not found.")
	}
	return document(users[i])
}

// permitted is the divisions that the OAuth client has a permission in, by the SDK's
// get_authorization_divisionspermitted_paged_me. What is shown of audits does not go by it.
func (o *Org) permitted(c *call) *answer {
	if c.URL.Query().Get("permission") == "" {
		return badRequest("permission is required")
	}
	all := o.renamed(EndpointDivisions, o.world.divisions)
	everywhere := o.options.Divisions == nil
	if !everywhere {
		all = slices.DeleteFunc(slices.Clone(all), func(d object) bool {
			name, _ := d.get("name").(string)
			return !slices.Contains(o.options.Divisions, name)
		})
	}
	return listed(c, c.URL.Path, all, member{"allDivsPermitted", everywhere})
}

// listed is a page of a listing: of all there is, or of those with the ids that
// ?id names (by commas, or several times).
func listed(c *call, path string, all []object, more ...member) *answer {
	params := c.URL.Query()
	number, size := 1, namesDefaultPage
	for name, value := range map[string]*int{"pageNumber": &number, "pageSize": &size} {
		text := params.Get(name)
		if text == "" {
			continue
		}
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || name == "pageSize" && n > namesMaxPage {
			return badRequest(name + " is out of range")
		}
		*value = n
	}
	if params.Has("id") {
		ids := strings.Split(strings.Join(params["id"], ","), ",")
		all = slices.DeleteFunc(slices.Clone(all), func(o object) bool {
			id, _ := o.get("id").(string)
			return !slices.Contains(ids, id)
		})
	}
	return listing(path, params, all, number, size, more)
}

func listing(path string, params url.Values, all []object, number, size int, more []member) *answer {
	pages := pagesFor(len(all), size)
	page := array{}
	for i := (number - 1) * size; i < min(number*size, len(all)); i++ {
		page = append(page, all[i])
	}
	uri := func(number int) string {
		params.Set("pageNumber", strconv.Itoa(number))
		params.Set("pageSize", strconv.Itoa(size))
		return path + "?" + params.Encode()
	}
	said := obj("entities", page, "pageSize", size, "pageNumber", number, "total", len(all),
		"firstUri", uri(1), "lastUri", uri(max(pages, 1)), "selfUri", uri(number))
	if number > 1 {
		said = said.with("previousUri", uri(number-1))
	}
	if number < pages {
		said = said.with("nextUri", uri(number+1))
	}
	for _, m := range more {
		said = said.with(m.key, m.value)
	}
	return document(said.with("pageCount", pages))
}
