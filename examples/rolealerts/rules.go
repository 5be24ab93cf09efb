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
	Roles        map[string]string `yaml:"roles"` // names by id, where events have none
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
	Name     string    `yaml:"name"`
	Severity string    `yaml:"severity"`
	When     Condition `yaml:"when"`
	Many     *Many     `yaml:"many"`
}

// Condition is what a change must be; all that is set must hold.
type Condition struct {
	EntityType          Patterns `yaml:"entityType"`
	EntityName          Patterns `yaml:"entityName"`
	Action              Patterns `yaml:"action"`
	Status              Patterns `yaml:"status"`
	Key                 Patterns `yaml:"key"`
	ChangeType          Patterns `yaml:"changeType"`
	PreviousValue       Patterns `yaml:"previousValue"`
	NewValue            Patterns `yaml:"newValue"`
	Actor               Patterns `yaml:"actor"`
	Role                Patterns `yaml:"role"`
	Member              Patterns `yaml:"member"`
	SelfGrant           bool     `yaml:"selfGrant"`
	OutsideWorkingHours bool     `yaml:"outsideWorkingHours"`
}

// Many asks for several events within a time, sliding.
type Many struct {
	Count  int           `yaml:"count"`
	Within time.Duration `yaml:"within"`
	By     string        `yaml:"by"` // actor, member, role, or all
}

var (
	severities = []string{"info", "warning", "error", "critical"} // those of PagerDuty
	groupings  = []string{"actor", "member", "role", "all"}
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

// holds tells whether a change is what the condition asks for.
func (r *Rules) holds(c *Condition, s *subject) bool {
	m := s.Message
	return c.EntityType.match(m.EntityType) && c.EntityName.match(consumer.Text(m.EntityName)) &&
		c.Action.match(m.Action) && c.Status.match(consumer.Text(m.Status)) &&
		c.Key.match(consumer.Text(m.Key)) && c.ChangeType.match(m.Type) &&
		c.PreviousValue.match(consumer.Text(m.Previous)) && c.NewValue.match(consumer.Text(m.New)) &&
		c.Actor.match(s.actorID, s.actorName) && c.Role.match(s.roleID, s.roleName) && c.Member.match(s.memberID, s.memberName) &&
		(!c.SelfGrant || s.actorID != "" && s.actorID == s.memberID) &&
		(!c.OutsideWorkingHours || !r.working(m.Time))
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
