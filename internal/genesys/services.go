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
	"genesys-audit-connector/internal/health"
	"genesys-audit-connector/internal/jsonscan"
)

// The dialects query and realtime each tell in a mapping which services they serve,
// with their entity types and actions. Only query shows all events, and it may be
// asked for all services at once; realtime shows those of some sooner, one service a
// request ("for certain services only", with fewer entity types: GENESYS-API.md,
// "What live organisations show"). So query is what counts as covered, and realtime
// is a preview of it.

// mapping is what a dialect serves: actions by entity type by service; nil
// where the dialect is not served.
type mapping map[string]map[string][]string

// mappings are both; a nil one says that its dialect is not served.
type mappings struct{ query, realtime mapping }

// chooseServices makes the streams of what is to be read: one that covers all
// services, where the organisation allows such a query, else one a service.
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
	if c.allowsWhole(ctx, m, purpose) {
		streams = append(streams, c.wholeStream(m))
		services = m.alone()
	}
	for _, service := range services {
		streams = append(streams, c.serviceStream(m, service))
	}
	var dialects []string
	if m.query != nil {
		dialects = append(dialects, string(Query))
	}
	if m.realtime != nil {
		dialects = append(dialects, string(Realtime))
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
			m.query, err = c.mapping(ctx, queryPath+"/servicemapping", purpose, 0, false)
			return err
		})
		if err != nil && (d != Auto || !notServed(err)) {
			return m, err
		}
	}
	if d != Query {
		var missing error
		m.realtime, missing = c.realtimeMapping(ctx, m, purpose)
		if missing != nil && (d != Auto || !notServed(missing)) {
			return m, missing
		}
	}
	if m.query == nil && m.realtime == nil {
		return m, fmt.Errorf("no dialect is served, are GENESYS_REGION and GENESYS_API_URL right? %w", err)
	}
	return m, nil
}

// realtimeMapping asks for the mapping of realtime. Where query serves all that is
// asked for, a fault of realtime holds up nothing: it stays as it was before, and
// events come later where there was none.
func (c *Client) realtimeMapping(ctx context.Context, m mappings, purpose audit.Purpose) (mapping, error) {
	spare := c.cfg.Dialect == Auto && m.query != nil
	for _, service := range c.cfg.Services {
		_, ok := m.query[service]
		spare = spare && ok
	}
	attempts := 0
	if spare {
		attempts = fewTries
	}
	realtime, err := c.mapping(ctx, realtimePath+"/servicemapping", purpose, attempts, m.query != nil)
	subject := health.Subject{Kind: health.API, Op: "see what realtime serves", Warning: true}
	if !spare || err == nil || notServed(err) || ctx.Err() != nil {
		c.report(subject, nil)
		return realtime, err
	}
	c.log.Warn("what realtime serves cannot be had; it is left as it was", zap.Error(err))
	c.report(subject, err)
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mappings.realtime, nil
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
func (c *Client) mapping(ctx context.Context, path string, purpose audit.Purpose, attempts int, mayBeEmpty bool) (mapping, error) {
	req := &request{op: "GET " + path, method: http.MethodGet, path: path, purpose: purpose, attempts: attempts}
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

// alone lists the services that realtime serves and query does not: nobody says that
// a query of all services shows them, so they are read for themselves.
func (m mappings) alone() (services []string) {
	for service := range m.realtime {
		if _, ok := m.query[service]; !ok {
			services = append(services, service)
		}
	}
	slices.Sort(services)
	return services
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
		read := c.knowsStream(string(Auto)+":"+service) || c.knowsStream(string(c.cfg.Dialect)+":"+service) || c.knowsStream(string(Query)+":"+service)
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

// wholeName is the stream of all services, which one query without a service reads.
const wholeName = string(Query) + ":*"

// streamName names the stream of a service. It says what the ledger is worth: what
// query has covered is all there is. In auto, a service that realtime alone serves
// keeps the name that older versions gave to all.
func (c *Client) streamName(m mappings, service string) string {
	if _, ok := m.query[service]; ok {
		return string(Query) + ":" + service
	}
	return string(c.cfg.Dialect) + ":" + service
}

// wholeStream is how all services are read at once. What older versions had covered
// was read by realtime where that serves the service: it is read again.
func (c *Client) wholeStream(m mappings) *stream {
	st := &stream{dialect: string(Query), Stream: audit.Stream{Name: wholeName, MaxWindow: traits[Query].window, Retention: c.retention(Query)}}
	st.read = func(ctx context.Context, r *reading) error { return c.readQuery(ctx, r, r.Interval, true) }
	stay := map[string]bool{wholeName: true}
	for _, service := range m.alone() {
		stay[c.streamName(m, service)] = true
	}
	for _, service := range slices.Sorted(maps.Keys(m.realtime)) {
		if _, ok := m.query[service]; ok {
			c.addPreview(st, m, service)
		}
	}
	if c.cfg.KnownStreams != nil {
		for _, name := range c.cfg.KnownStreams() {
			if !stay[name] && (strings.HasPrefix(name, string(Auto)+":") || strings.HasPrefix(name, string(Query)+":")) {
				st.Replaces = append(st.Replaces, name)
			}
		}
	}
	return st
}

// serviceStream is how a service is read: by query, which shows all of it, and by
// realtime beside it; by realtime alone where nothing else serves it.
func (c *Client) serviceStream(m mappings, service string) *stream {
	st := &stream{subject: service, Stream: audit.Stream{Name: c.streamName(m, service), MaxWindow: traits[Query].window}}
	if _, ok := m.query[service]; !ok {
		st.dialect, st.Retention = string(Realtime), min(c.retention(Realtime), traits[Realtime].retention)
		st.read = func(ctx context.Context, r *reading) error { return c.readRealtime(ctx, r, r.Interval) }
		return st
	}
	st.dialect, st.Retention = string(Query), c.retention(Query)
	st.read = func(ctx context.Context, r *reading) error { return c.readQuery(ctx, r, r.Interval, true) }
	st.Replaces = []string{string(Auto) + ":" + service, wholeName}
	st.Continues = wholeName
	c.addPreview(st, m, service)
	return st
}

// addPreview adds the preview of a service, where realtime serves it.
func (c *Client) addPreview(st *stream, m mappings, service string) {
	if _, ok := m.realtime[service]; ok {
		st.dialect = string(Query) + "+" + string(Realtime)
		st.Previews = append(st.Previews, audit.Previewed{Service: service, Priority: slices.Contains(c.cfg.Priority, service)})
	}
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
	c.reconsiderWhole(ctx)
	streams, _, err := c.chooseServices(ctx, audit.Sweep)
	if err != nil {
		return false, fmt.Errorf("look for new services: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	now := make(map[string]*stream, len(streams))
	for _, s := range streams {
		now[s.Name] = s
	}
	return !maps.EqualFunc(now, c.streams, func(a, b *stream) bool {
		return a.dialect == b.dialect && slices.Equal(a.Previews, b.Previews)
	}), nil
}
