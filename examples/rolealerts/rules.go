package main

import (
	"regexp"
	"slices"
	"time"
	_ "time/tzdata" // for images that have no time zones

	"genesys-audit-connector/examples/consumer"
)

// Rules is a rule file; rules.yaml explains it.
type Rules struct {
	TimeZone     string            `yaml:"timeZone"`
	WorkingHours *Hours            `yaml:"workingHours"`
	Roles        map[string]string `yaml:"roles"`   // names by id, where events have none
	Clients      map[string]string `yaml:"clients"` // OAuth clients that stand in events as users: names by id
	WatchedRoles Patterns          `yaml:"watchedRoles"`
	Rules        []Rule            `yaml:"rules"`

	zone *time.Location
}

// Hours are the hours of a day that count as working hours, on some days of the week.
type Hours struct {
	Days     []string `yaml:"days"`
	From, To Clock
}

// Rule says what is worth an alert.
type Rule struct {
	Name     string     `yaml:"name"`
	Severity string     `yaml:"severity"`
	When     Conditions `yaml:"when"`
	Many     *Many      `yaml:"many"`
	// Otherwise: not where a rule above (one without Many) asks for the change, too.
	Otherwise bool `yaml:"otherwise"`
}

// Conditions are one or several, of which one must hold.
type Conditions []Condition

// Condition is what a change must be; all that is set must hold.
type Condition struct {
	Service             Patterns `yaml:"service"`
	EntityType          Patterns `yaml:"entityType"`
	EntityName          Patterns `yaml:"entityName"`
	Action              Patterns `yaml:"action"`
	Status              Patterns `yaml:"status"`
	Key                 Patterns `yaml:"key"`
	ChangeType          Patterns `yaml:"changeType"`
	PreviousValue       Patterns `yaml:"previousValue"`
	NewValue            Patterns `yaml:"newValue"`
	Added               Patterns `yaml:"added"`
	Actor               Patterns `yaml:"actor"`
	ActorType           Patterns `yaml:"actorType"`
	Address             Patterns `yaml:"address"`
	Role                Patterns `yaml:"role"`
	WatchedRole         bool     `yaml:"watchedRole"`
	Member              Patterns `yaml:"member"`
	MemberType          Patterns `yaml:"memberType"`
	Division            Patterns `yaml:"division"`
	Unnamed             bool     `yaml:"unnamed"`
	SelfGrant           bool     `yaml:"selfGrant"`
	OutsideWorkingHours bool     `yaml:"outsideWorkingHours"`
}

// Many asks for several events within a time, sliding.
type Many struct {
	Count  int           `yaml:"count"`
	Within time.Duration `yaml:"within"`
	By     string        `yaml:"by"` // one of groupings
}

var (
	severities = []string{"info", "warning", "error", "critical"} // those of PagerDuty
	groupings  = []string{"actor", "member", "role", "user", "address", "all"}
	weekdays   = []string{"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"} // by time.Weekday
)

// maxWithin bounds what a restart has to read again.
const maxWithin = 7 * 24 * time.Hour

// Memory is how long what was seen may still count: twice the longest window, see
// window.unalerted.
func (r *Rules) Memory() time.Duration {
	memory := time.Minute
	for _, rule := range r.Rules {
		if rule.Many != nil {
			memory = max(memory, 2*rule.Many.Within)
		}
	}
	return memory
}

// holds reports whether a change is what one of the conditions asks for.
func (r *Rules) holds(conditions Conditions, s *subject) bool {
	return slices.ContainsFunc(conditions, func(c Condition) bool {
		return c.eventHolds(s) && c.changeHolds(s) && c.peopleHold(s) &&
			(!c.WatchedRole || r.WatchedRoles != nil && r.WatchedRoles.match(s.roleID, s.roleName)) &&
			(!c.OutsideWorkingHours || !r.working(s.Time))
	})
}

func (c *Condition) eventHolds(s *subject) bool {
	return c.Service.match(consumer.Text(s.ServiceName)) && c.EntityType.match(s.EntityType) &&
		c.EntityName.match(consumer.Text(s.EntityName)) && c.Action.match(s.Action) && c.Status.match(consumer.Text(s.Status))
}

func (c *Condition) changeHolds(s *subject) bool {
	return c.Key.match(consumer.Text(s.Key)) && c.ChangeType.match(s.Type) &&
		c.PreviousValue.match(consumer.Text(s.Previous)) && c.NewValue.match(consumer.Text(s.New)) &&
		(c.Added == nil || c.Added.match(s.added()...))
}

func (c *Condition) peopleHold(s *subject) bool {
	return c.Actor.match(s.actorID, s.actorName) && c.ActorType.match(s.actorType) && c.Address.match(s.address) &&
		c.Role.match(s.roleID, s.roleName) && c.Member.match(s.memberID, s.memberName) &&
		c.MemberType.match(consumer.Text(s.MemberType)) &&
		c.Division.match(consumer.Text(s.DivisionID), consumer.Text(s.DivisionName)) &&
		(!c.Unnamed || s.unnamed()) &&
		(!c.SelfGrant || s.actorID != "" && s.actorID == s.memberID)
}

// working tells whether an instant is within working hours. Hours over midnight
// belong to the day on which they began.
func (r *Rules) working(at time.Time) bool {
	at = at.In(r.zone)
	h := r.WorkingHours
	clock, day := Clock(at.Hour()*60+at.Minute()), at.Weekday()
	if h.From <= h.To {
		return h.on(day) && clock >= h.From && clock < h.To
	}
	yesterday := (day + 6) % 7
	return h.on(day) && clock >= h.From || h.on(yesterday) && clock < h.To
}

func (h *Hours) on(day time.Weekday) bool { return slices.Contains(h.Days, weekdays[day]) }

// Clock is a time of day, in minutes since midnight.
type Clock int

// Patterns is one or several patterns, of which one must match. A pattern is a
// text in which * stands for anything, in any case; or /a regular expression/.
type Patterns []*regexp.Regexp

// match tells whether a pattern matches one of the texts that are not empty; no
// patterns match everything.
func (p Patterns) match(texts ...string) bool {
	if p == nil {
		return true
	}
	return slices.ContainsFunc(p, func(pattern *regexp.Regexp) bool {
		return slices.ContainsFunc(texts, func(text string) bool { return text != "" && pattern.MatchString(text) })
	})
}
