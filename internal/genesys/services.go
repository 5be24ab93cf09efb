package genesys

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"genesys-audit-connector/internal/audit"
	"genesys-audit-connector/internal/jsonscan"
)

// The dialects query and realtime serve one service a query. Which services
// there are, with their entity types and actions, each tells in a mapping.

// mapping is what a dialect serves: actions by entity type by service; nil
// where the dialect is not served.
type mapping map[string]map[string][]string

// realtimeReach is how far back realtime is asked where query serves the
// service too: its 14 days, less what a request may wait for its turn.
const realtimeReach = 14*day - time.Hour

// mappings are both; a nil one says that its dialect is not served.
type mappings struct{ query, realtime mapping }

// chooseServices makes a stream of each service that is to be read.
func (c *Client) chooseServices(ctx context.Context, purpose audit.Purpose) (streams []*stream, spoken string, err error) {
	c.pacer.setLimit(c.limit(Query))
	fresh, err := c.askMappings(ctx, purpose)
	if err != nil {
		return nil, "", err
	}
	c.noteNew(fresh)
	m := c.settle(fresh)
	services, err := c.selected(m)
	if err != nil {
		return nil, "", err
	}
	for _, service := range services {
		streams = append(streams, c.serviceStream(m, service))
	}
	var dialects []string
	if m.realtime != nil {
		dialects = append(dialects, string(Realtime))
	}
	if m.query != nil {
		dialects = append(dialects, string(Query))
	}
	return streams, strings.Join(dialects, "+"), nil
}

// askMappings asks for the mappings of the dialects that are configured. A
// mapping without any service is no answer: whoever believed it would read
// nothing, and report nothing. Only realtime may have none where query has all.
func (c *Client) askMappings(ctx context.Context, purpose audit.Purpose) (m mappings, err error) {
	d := c.cfg.Dialect
	if d != Realtime {
		err = c.confirm(ctx, c.withoutQuery, func() (err error) {
			m.query, err = c.mapping(ctx, queryPath+"/servicemapping", purpose, false)
			return err
		})
		if err != nil && (d != Auto || !notServed(err)) {
			return m, err
		}
	}
	if d != Query {
		var missing error
		m.realtime, missing = c.mapping(ctx, realtimePath+"/servicemapping", purpose, m.query != nil)
		if missing != nil && (d != Auto || !notServed(missing)) {
			return m, missing
		}
	}
	if m.query == nil && m.realtime == nil {
		return m, fmt.Errorf("no dialect is served, are GENESYS_REGION and GENESYS_API_URL right? %w", err)
	}
	return m, nil
}

// withoutQuery returns how long it has to last that query has no mapping, where
// nothing is known yet that settle would keep: without query less is read, and
// not as far back.
func (c *Client) withoutQuery(err error) time.Duration {
	c.mu.Lock()
	settled := c.mappings.query != nil || c.mappings.realtime != nil
	c.mu.Unlock()
	if settled || c.cfg.Dialect != Auto {
		return 0
	}
	return withoutDialect(err, c.knows(Auto))
}

// mapping asks for one mapping. An empty one counts as none, where it may be empty.
func (c *Client) mapping(ctx context.Context, path string, purpose audit.Purpose, mayBeEmpty bool) (mapping, error) {
	req := &request{op: "GET " + path, method: http.MethodGet, path: path, purpose: purpose}
	var m mapping
	a, err := c.ask(ctx, req, func(a *answer) (err error) {
		if m, err = readMapping(a); err == nil && len(m) == 0 && !mayBeEmpty {
			err = a.malformed("it names no service")
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	a.free()
	if len(m) == 0 {
		return nil, nil
	}
	return m, nil
}

// readMapping reads {"services":[{"name","entities":[{"name","actions":[…]}]}]},
// whose members some organisations call serviceName, entityTypes and entityType
// (GENESYS-API.md, "What live organisations show").
func readMapping(a *answer) (mapping, error) {
	root, err := a.document()
	if err != nil {
		return nil, err
	}
	services := root.Get("services")
	if services.Kind() != jsonscan.Array {
		return nil, a.malformed("there is no array of services")
	}
	m := mapping{}
	for s := services.Elements(); s.Next(); {
		entities := map[string][]string{}
		for e := cmp.Or(s.Value().Get("entities"), s.Value().Get("entityTypes")).Elements(); e.Next(); {
			name := cmp.Or(e.Value().Get("name"), e.Value().Get("entityType")).Text()
			for act := e.Value().Get("actions").Elements(); act.Next(); {
				entities[name] = append(entities[name], act.Value().Text())
			}
		}
		if name := cmp.Or(s.Value().Get("name"), s.Value().Get("serviceName")); name.Kind() == jsonscan.String && name.Text() != "" {
			m[name.Text()] = entities
		}
	}
	return m, nil
}

// served lists the services of both mappings.
func (m mappings) served() []string {
	all := slices.Concat(slices.Collect(maps.Keys(m.query)), slices.Collect(maps.Keys(m.realtime)))
	slices.Sort(all)
	return slices.Compact(all)
}

// selected is the services to read. One that is served in another case is an
// error; one that is not served yet is left out, and read once it is.
func (c *Client) selected(m mappings) ([]string, error) {
	served := m.served()
	if len(c.cfg.Services) == 0 {
		return served, nil
	}
	var errs []error
	var chosen []string
	known := false
	for _, service := range c.cfg.Services {
		if slices.Contains(served, service) {
			chosen = append(chosen, service)
			continue
		}
		near := nearest(service, served)
		read := c.knowsStream(c.serviceName(service))
		known = known || read
		if strings.EqualFold(near, service) && !read {
			errs = append(errs, &ValueError{Variable: "GENESYS_SERVICES", Value: service, Reason: "there is no such service", Suggestion: near})
			continue
		}
		c.log.Warn("a service is not served (yet)", zap.String("variable", "GENESYS_SERVICES"), zap.String("service", service),
			zap.String("nearest", near), zap.Strings("served", served))
	}
	if len(errs) == 0 && len(chosen) == 0 && known {
		return nil, fmt.Errorf("none of the services %s is served, which were read before; there are %s",
			strings.Join(c.cfg.Services, ", "), strings.Join(served, ", "))
	}
	if len(errs) == 0 && len(chosen) == 0 {
		errs = append(errs, &ValueError{Variable: "GENESYS_SERVICES", Value: strings.Join(c.cfg.Services, ","),
			Reason: "none of them is served; there are " + strings.Join(served, ", "), Suggestion: nearest(c.cfg.Services[0], served)})
	}
	slices.Sort(chosen)
	return slices.Compact(chosen), errors.Join(errs...)
}

// serviceName names the stream of a service.
func (c *Client) serviceName(service string) string { return string(c.cfg.Dialect) + ":" + service }

// serviceStream is how a service is read: recent events by realtime, the rest
// by query, as far as each serves it.
func (c *Client) serviceStream(m mappings, service string) *stream {
	_, byQuery := m.query[service]
	_, byRealtime := m.realtime[service]
	st := &stream{subject: service, Stream: audit.Stream{Name: c.serviceName(service), MaxWindow: traits[Query].window}}
	switch {
	case byQuery && byRealtime:
		st.dialect, st.Retention = string(Realtime)+"+"+string(Query), c.retention(Query)
		st.read = c.readBoth
	case byQuery:
		st.dialect, st.Retention = string(Query), c.retention(Query)
		st.read = func(ctx context.Context, r *reading) error { return c.readQuery(ctx, r, r.Interval, true) }
	default:
		st.dialect, st.Retention = string(Realtime), min(c.retention(Realtime), traits[Realtime].retention)
		st.read = func(ctx context.Context, r *reading) error { return c.readRealtime(ctx, r, r.Interval) }
	}
	return st
}

// readBoth reads what is recent by realtime, which shows it sooner and costs a
// request a page, and what is older by query.
func (c *Client) readBoth(ctx context.Context, r *reading) error {
	border := c.Now().Add(-realtimeReach).Truncate(time.Millisecond)
	old := r.Interval.Intersect(audit.Interval{From: r.Interval.From, To: border})
	recent := r.Interval.Intersect(audit.Interval{From: border, To: r.Interval.To})
	if !old.Empty() {
		if err := c.readQuery(ctx, r, old, recent.Empty()); err != nil {
			return err
		}
	}
	if recent.Empty() {
		return nil
	}
	return c.readRealtime(ctx, r, recent)
}

// noteNew logs the services and actions that have appeared since the last look.
func (c *Client) noteNew(m mappings) {
	seen := make(map[string]bool)
	for _, m := range []mapping{m.query, m.realtime} {
		for service, entities := range m {
			for entity, actions := range entities {
				for _, action := range actions {
					seen[service+" "+entity+" "+action] = true
				}
			}
		}
	}
	c.mu.Lock()
	before := c.taxonomy
	c.taxonomy = seen
	c.mu.Unlock()
	if before == nil {
		return
	}
	for _, what := range slices.Sorted(maps.Keys(seen)) {
		if !before[what] {
			c.log.Info("new audit action discovered", zap.String("service_entity_action", what))
		}
	}
}

// Changed looks whether there are services that appeared, went, or are served in
// other dialects since Open, and whether auditlogs came or went; then Open names
// other streams, or reads them otherwise. Call it once a minute: what goes counts
// only when that has lasted.
func (c *Client) Changed(ctx context.Context) (bool, error) {
	switch c.API() {
	case "":
		return false, nil
	case string(Auditlogs):
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.cfg.Dialect == Auto && c.gone.over(lastingTime), nil
	}
	if c.cfg.Dialect == Auto && c.lookForAuditlogs(ctx) {
		return true, nil
	}
	streams, _, err := c.chooseServices(ctx, audit.Sweep)
	if err != nil {
		return false, fmt.Errorf("look for new services: %w", err)
	}
	dialects := make(map[string]string, len(streams))
	for _, s := range streams {
		dialects[s.Name] = s.dialect
	}
	return !maps.Equal(dialects, c.Dialects()), nil
}
