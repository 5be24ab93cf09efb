package genesys

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"genesys-audit-connector/internal/audit"
	"genesys-audit-connector/internal/jsonscan"
)

// The dialect auditlogs has no list of what may stand in a filter, and answers
// a wrong value with nothing. So the filter is checked by reading: first with
// the filter as it is, over time that the tail is going to read anyway
// (Config.Baseline): an event that is shown here first, late, would otherwise be
// met by no reading. If that finds nothing, without the
// conditions that may be wrong, over a month, to see what such events look like.

const baselineSpanWide = 30 * day

func (c *Client) openAuditlogs(ctx context.Context) (*stream, error) {
	s := c.auditlogsStream()
	known := c.knowsStream(s.Name) // the API took this very filter before
	recent, err := c.sample(ctx, s, c.filter, max(c.cfg.Baseline, time.Millisecond))
	var status *StatusError
	if errors.As(err, &status) && status.Status == http.StatusBadRequest && status.Code+status.Message != "" && !known { // the API's own words
		return nil, &ValueError{Variable: "GENESYS_FILTER", Value: s.subject, Reason: "the API refuses it: " + status.Error()}
	}
	if err != nil {
		return nil, err
	}
	check := func(seen *sample) error {
		err := c.checkFilter(seen)
		if err != nil && known { // one page of events is no reason to stop
			c.log.Warn("the filter may match nothing", zap.Error(err))
			return nil
		}
		return err
	}
	broad := c.filter.only("type")
	if recent.events > 0 {
		return s, nil
	}
	if len(broad) == len(c.filter) { // there is nothing that a broader filter would tell
		return s, check(recent)
	}
	wide, err := c.sample(ctx, s, broad, baselineSpanWide)
	if err != nil {
		return nil, err
	}
	return s, check(wide)
}

// checkKnown refuses what is known to be wrong without any reading.
func (f filter) checkKnown() error {
	for i, c := range f {
		if key, same := butForCase(c.key, knownKeys); same {
			right := slices.Clone(f)
			right[i].key = key
			return &ValueError{Variable: "GENESYS_FILTER", Value: f.String(), Reason: "events have no field " + c.key, Suggestion: right.String()}
		}
		right := knownWrong[condition{c.key, strings.ToLower(c.value)}]
		if value, same := butForCase(c.value, knownTypes); same && c.key == "type" {
			right = value
		}
		if right != "" {
			return &ValueError{Variable: "GENESYS_FILTER", Value: f.String(), Reason: "nothing matches " + c.key + "=" + c.value, Suggestion: f.with(c.key, right).String()}
		}
	}
	return nil
}

// butForCase is the one of the known words that is the same but for case.
func butForCase(word string, known []string) (right string, same bool) {
	for _, k := range known {
		if k != word && strings.EqualFold(k, word) {
			return k, true
		}
	}
	return "", false
}

// with is the filter with another value for a key.
func (f filter) with(key, value string) filter {
	f = slices.Clone(f)
	for i := range f {
		if f[i].key == key {
			f[i].value = value
		}
	}
	return f
}

// sample is what one page of events looks like.
type sample struct {
	events int
	values map[string]distribution // by key, of the keys that the filter may name
}

// sample reads one page of the last span and logs what is on it.
func (c *Client) sample(ctx context.Context, s *stream, f filter, span time.Duration) (*sample, error) {
	now := c.Now().Truncate(time.Millisecond)
	span = min(span, s.Retention-retentionSlack)
	i := audit.Interval{From: now.Add(-span), To: now}
	p := newPager(auditlogsPage, 1)
	for {
		req := c.auditlogsRequest(f.String(), i, audit.Tail, p)
		a, err := c.ask(ctx, req, func(a *answer) error { _, err := a.entities(); return err })
		if tooLarge(err) {
			if err := p.shrink(req.op, c.cfg.MaxBody, err); err != nil {
				return nil, err
			}
			continue
		}
		if err != nil {
			return nil, err
		}
		defer a.free()
		found := c.describe(a)
		c.log.Info("baseline", zap.String("filter", f.String()), zap.Stringer("interval", i), zap.Int("events", found.events),
			zap.Strings("entity_types", found.values["entityType"].most(20)), zap.Any("entity_type_counts", found.values["entityType"]))
		return found, nil
	}
}

// describe counts the values of entityType, and of the keys of the filter.
func (c *Client) describe(a *answer) *sample {
	found := &sample{values: map[string]distribution{"entityType": {}}}
	for _, cond := range c.filter {
		found.values[cond.key] = distribution{}
	}
	list, _ := a.entities()
	for e := list.Elements(); e.Next(); {
		found.events++
		for key, d := range found.values {
			if v := e.Value().Get(key); v.Kind() == jsonscan.String {
				d[v.Text()]++
			}
		}
	}
	return found
}

// checkFilter compares the filter with what events look like. A value that is
// served in another case is an error; one that was merely not seen is a warning.
func (c *Client) checkFilter(seen *sample) error {
	for _, cond := range c.filter {
		served := slices.Collect(maps.Keys(seen.values[cond.key]))
		if slices.Contains(served, cond.value) {
			continue
		}
		for _, s := range served {
			if strings.EqualFold(s, cond.value) {
				return &ValueError{Variable: "GENESYS_FILTER", Value: c.filter.String(),
					Reason: "no event has " + cond.key + "=" + cond.value, Suggestion: c.filter.with(cond.key, s).String()}
			}
		}
		if cond.key == "type" && slices.Contains(knownTypes, cond.value) {
			continue
		}
		c.log.Warn("no event with this value was seen yet", zap.String("variable", "GENESYS_FILTER"),
			zap.String("key", cond.key), zap.String("value", cond.value), zap.String("nearest", nearest(cond.value, served)),
			zap.Strings("seen", seen.values[cond.key].most(20)))
	}
	return nil
}
