package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"
	_ "time/tzdata" // for images that have no time zones

	"github.com/goccy/go-yaml"

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

// LoadRules reads a rule file.
func LoadRules(path string) (*Rules, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("rules: %w", err)
	}
	rules, err := ParseRules(content)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return rules, nil
}

// ParseRules reads rules and refuses what it does not know.
func ParseRules(content []byte) (*Rules, error) {
	r := &Rules{}
	if err := yaml.NewDecoder(bytes.NewReader(content), yaml.Strict()).Decode(r); err != nil {
		return nil, err
	}
	return r, r.check()
}

// check also sets what has defaults.
func (r *Rules) check() error {
	var errs []error
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	var err error
	if r.zone, err = time.LoadLocation(r.TimeZone); err != nil {
		wrong("timeZone: %w", err)
	}
	if r.WorkingHours != nil {
		for _, day := range r.WorkingHours.Days {
			if !slices.Contains(weekdays, day) {
				wrong("workingHours: days: %q is none of %v", day, weekdays)
			}
		}
		if len(r.WorkingHours.Days) == 0 || r.WorkingHours.From == r.WorkingHours.To {
			wrong("workingHours: days, from and to are expected")
		}
	}
	if len(r.Rules) == 0 {
		wrong("there are no rules")
	}
	names := map[string]bool{}
	for i := range r.Rules {
		rule := &r.Rules[i]
		if rule.Name == "" || names[rule.Name] {
			wrong("rule %d: a name of its own is expected", i+1)
		}
		names[rule.Name] = true
		if rule.Severity == "" {
			rule.Severity = "warning"
		}
		if !slices.Contains(severities, rule.Severity) {
			wrong("rule %q: severity: one of %v is expected", rule.Name, severities)
		}
		if reflect.ValueOf(rule.When).IsZero() {
			wrong("rule %q: when: it would match every change", rule.Name)
		}
		if rule.When.OutsideWorkingHours && r.WorkingHours == nil {
			wrong("rule %q: outsideWorkingHours: there are no workingHours", rule.Name)
		}
		if m := rule.Many; m != nil {
			if m.Count < 2 || m.Within <= 0 || m.Within > maxWithin || !slices.Contains(groupings, m.By) {
				wrong("rule %q: many: count of 2 or more, within up to %s, by one of %v are expected", rule.Name, maxWithin, groupings)
			}
		}
	}
	return errors.Join(errs...)
}

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

// UnmarshalYAML reads "08:30"; "24:00" is the end of the day.
func (c *Clock) UnmarshalYAML(decode func(any) error) error {
	var text string
	if err := decode(&text); err != nil {
		return err
	}
	if text == "24:00" {
		*c = 24 * 60
		return nil
	}
	at, err := time.Parse("15:04", text)
	if err != nil {
		return fmt.Errorf("%q is no time of day like 08:30", text)
	}
	*c = Clock(at.Hour()*60 + at.Minute())
	return nil
}

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

// UnmarshalYAML reads one pattern, or a list of them.
func (p *Patterns) UnmarshalYAML(decode func(any) error) error {
	var list []string
	if err := decode(&list); err != nil {
		var one string
		if err := decode(&one); err != nil {
			return err
		}
		list = []string{one}
	}
	if len(list) == 0 {
		return errors.New("no patterns match nothing")
	}
	*p = Patterns{}
	for _, text := range list {
		pattern, err := parsePattern(text)
		if err != nil {
			return err
		}
		*p = append(*p, pattern)
	}
	return nil
}

func parsePattern(text string) (*regexp.Regexp, error) {
	if text == "" {
		return nil, errors.New("an empty pattern matches nothing")
	}
	if inner, ok := strings.CutPrefix(text, "/"); ok && strings.HasSuffix(inner, "/") {
		return regexp.Compile(strings.TrimSuffix(inner, "/"))
	}
	return regexp.Compile(`(?is)^` + strings.ReplaceAll(regexp.QuoteMeta(text), `\*`, `.*`) + `$`)
}
