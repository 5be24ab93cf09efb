package genesys

import (
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

// survey is both mappings.
type survey struct{ query, realtime mapping }

// chooseServices makes a stream of each service that is to be read.
func (c *Client) chooseServices(ctx context.Context, purpose audit.Purpose) (streams []*stream, spoken string, err error) {
	c.pacer.setLimit(c.limit(Query))
	s, err := c.survey(ctx, purpose)
	if err != nil {
		return nil, "", err
	}
	services, err := c.selected(s)
	if err != nil {
		return nil, "", err
	}
	c.noteNew(s)
	for _, service := range services {
		streams = append(streams, c.serviceStream(s, service))
	}
	var dialects []string
	if s.realtime != nil {
		dialects = append(dialects, string(Realtime))
	}
	if s.query != nil {
		dialects = append(dialects, string(Query))
	}
	return streams, strings.Join(dialects, "+"), nil
}

// survey asks for the mappings of the dialects that are configured.
func (c *Client) survey(ctx context.Context, purpose audit.Purpose) (s survey, err error) {
	d := c.cfg.Dialect
	if d != Realtime {
		if s.query, err = c.mapping(ctx, queryPath+"/servicemapping", purpose); err != nil && (d != Auto || !notServed(err)) {
			return s, err
		}
	}
	if d != Query {
		var missing error
		if s.realtime, missing = c.mapping(ctx, realtimePath+"/servicemapping", purpose); missing != nil && (d != Auto || !notServed(missing)) {
			return s, missing
		}
	}
	if s.query == nil && s.realtime == nil {
		return s, fmt.Errorf("no dialect is served, are GENESYS_REGION and GENESYS_API_URL right? %w", err)
	}
	return s, nil
}

func (c *Client) mapping(ctx context.Context, path string, purpose audit.Purpose) (mapping, error) {
	req := &request{op: "GET " + path, method: http.MethodGet, path: path, purpose: purpose}
	var m mapping
	a, err := c.ask(ctx, req, func(a *answer) (err error) {
		m, err = readMapping(a)
		return err
	})
	if err != nil {
		return nil, err
	}
	a.free()
	return m, nil
}

// readMapping reads {"services":[{"name","entities":[{"name","actions":[…]}]}]}.
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
		for e := s.Value().Get("entities").Elements(); e.Next(); {
			name := e.Value().Get("name").Text()
			for act := e.Value().Get("actions").Elements(); act.Next(); {
				entities[name] = append(entities[name], act.Value().Text())
			}
		}
		if name := s.Value().Get("name"); name.Kind() == jsonscan.String && name.Text() != "" {
			m[name.Text()] = entities
		}
	}
	return m, nil
}

// served lists the services of both mappings.
func (s survey) served() []string {
	all := slices.Concat(slices.Collect(maps.Keys(s.query)), slices.Collect(maps.Keys(s.realtime)))
	slices.Sort(all)
	return slices.Compact(all)
}

// selected is the services to read. One that is served in another case is an
// error; one that is not served yet is left out, and read once it is.
func (c *Client) selected(s survey) ([]string, error) {
	served := s.served()
	if len(c.cfg.Services) == 0 {
		return served, nil
	}
	var errs []error
	var chosen []string
	for _, service := range c.cfg.Services {
		if slices.Contains(served, service) {
			chosen = append(chosen, service)
			continue
		}
		near := nearest(service, served)
		if strings.EqualFold(near, service) {
			errs = append(errs, &ValueError{Variable: "GENESYS_SERVICES", Value: service, Reason: "there is no such service", Suggestion: near})
			continue
		}
		c.log.Warn("a service is not served (yet)", zap.String("variable", "GENESYS_SERVICES"), zap.String("service", service),
			zap.String("nearest", near), zap.Strings("served", served))
	}
	if len(errs) == 0 && len(chosen) == 0 {
		errs = append(errs, &ValueError{Variable: "GENESYS_SERVICES", Value: strings.Join(c.cfg.Services, ","),
			Reason: "none of them is served; there are " + strings.Join(served, ", "), Suggestion: nearest(c.cfg.Services[0], served)})
	}
	slices.Sort(chosen)
	return slices.Compact(chosen), errors.Join(errs...)
}

// serviceStream is how a service is read: recent events by realtime, the rest
// by query, as far as each serves it.
func (c *Client) serviceStream(s survey, service string) *stream {
	_, byQuery := s.query[service]
	_, byRealtime := s.realtime[service]
	st := &stream{subject: service, Stream: audit.Stream{Name: string(c.cfg.Dialect) + ":" + service, MaxWindow: traits[Query].window}}
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
func (c *Client) noteNew(s survey) {
	seen := make(map[string]bool)
	for _, m := range []mapping{s.query, s.realtime} {
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
			c.log.Info("the API has something new to audit", zap.String("service_entity_action", what))
		}
	}
}

// Changed looks whether there are services that appeared, went, or are served in
// other dialects since Open; then Open names other streams, or reads them
// otherwise. It asks nothing where the dialect has no services.
func (c *Client) Changed(ctx context.Context) (bool, error) {
	if spoken := c.API(); spoken == "" || spoken == string(Auditlogs) {
		return false, nil
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
