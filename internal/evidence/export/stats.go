package export

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"genesys-audit-connector/internal/audit"
)

// tally counts events by a name, in bounded memory.
type tally struct {
	counts map[string]int
	names  map[string]string // where the key is an id
	others int               // events under keys that there was no room for
}

const maxKeys = 20000

func (t *tally) add(key, name string) {
	if t.counts == nil {
		t.counts, t.names = map[string]int{}, map[string]string{}
	}
	if _, known := t.counts[key]; !known && len(t.counts) == maxKeys {
		t.others++
		return
	}
	t.counts[key]++
	if name != "" {
		t.names[key] = name
	}
}

// count is one line of a chart.
type count struct {
	Name  string
	ID    string // "" where the name is all there is
	N     int
	Share float64 // of the largest, 0 to 100
}

// top are the most frequent ones, and how many events are of others.
func (t *tally) top(most int) (all []count, kinds, rest int) {
	rest = t.others
	for key, n := range t.counts {
		c := count{Name: cmp.Or(t.names[key], key), N: n}
		if c.Name != key {
			c.ID = key
		}
		all = append(all, c)
	}
	slices.SortFunc(all, func(a, b count) int {
		return cmp.Or(cmp.Compare(b.N, a.N), strings.Compare(a.Name, b.Name), strings.Compare(a.ID, b.ID))
	})
	kinds = len(all)
	for _, c := range all[min(most, len(all)):] {
		rest += c.N
	}
	all = all[:min(most, len(all))]
	for i := range all {
		all[i].Share = 100 * float64(all[i].N) / float64(all[0].N)
	}
	return all, kinds, rest
}

// grant is a role that was granted or removed.
type grant struct {
	Time                         time.Time
	Removed                      bool
	Role, Member, Division, By   string
	MemberKind, RoleID, MemberID string
	AuditID                      string
}

// maxGrants is how many the report has a line for; all are counted.
const maxGrants = 500

// stats is what the report tells of the events.
type stats struct {
	events, changes        int
	first, last            time.Time
	days                   map[int64]int // by day since 1970
	types, actions, actors tally
	grants                 []grant
	granted, removed       int
	failed, masked         int
	unreadable             int
}

func (s *stats) add(changes []audit.Change) {
	c := &changes[0]
	s.changes += len(changes)
	if s.days == nil {
		s.days = map[int64]int{}
	}
	if day := c.Time.Unix() / 86400; len(s.days) < maxKeys || s.days[day] > 0 {
		s.days[day]++
	}
	if s.first.IsZero() || c.Time.Before(s.first) {
		s.first = c.Time
	}
	if c.Time.After(s.last) {
		s.last = c.Time
	}
	s.types.add(cmp.Or(c.EntityType, "(none)"), "")
	s.actions.add(cmp.Or(c.Action, "(none)"), "")
	id, name := actor(c)
	s.actors.add(id, name)
	if c.Status != nil && strings.EqualFold(*c.Status, "FAILURE") {
		s.failed++
	}
	if slices.ContainsFunc(changes, func(c audit.Change) bool { return len(c.MaskedFields) > 0 }) {
		s.masked++
	}
	s.grant(c)
}

// actor is who did it: an id, and a name if there is one.
func actor(c *audit.Change) (id, name string) {
	switch {
	case c.UserID != nil && *c.UserID != "":
		return *c.UserID, value(c.UserName)
	case c.UserName != nil && *c.UserName != "":
		return *c.UserName, ""
	case c.ClientID != nil && *c.ClientID != "":
		return *c.ClientID, "OAuth client " + *c.ClientID
	}
	return "the system", ""
}

func (s *stats) grant(c *audit.Change) {
	removed := strings.EqualFold(c.Action, "memberremove")
	if !strings.EqualFold(c.EntityType, "role") || !removed && !strings.EqualFold(c.Action, "memberadd") {
		return
	}
	if removed {
		s.removed++
	} else {
		s.granted++
	}
	if len(s.grants) == maxGrants {
		return
	}
	id, name := actor(c)
	division := cmp.Or(value(c.DivisionName), value(c.DivisionID))
	if division == "*" {
		division = "all divisions"
	}
	s.grants = append(s.grants, grant{
		Time: c.Time, Removed: removed, By: cmp.Or(name, id), AuditID: c.AuditID, Division: division,
		Role: cmp.Or(value(c.EntityName), value(c.EntityID)), RoleID: value(c.EntityID),
		Member: cmp.Or(value(c.MemberName), value(c.MemberID)), MemberID: value(c.MemberID), MemberKind: value(c.MemberType),
	})
}

func value(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
