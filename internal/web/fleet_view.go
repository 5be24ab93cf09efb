package web

import (
	"cmp"
	"fmt"
	"html/template"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"genesys-audit-connector/internal/audit"
)

// pageRows is how many organisations stand on a page of the overview.
const pageRows = 500

// state is what is most worth knowing of an organisation.
type state int

// The states, worst first.
const (
	anyState state = iota
	stateFailing
	stateGaps
	stateMissing // says the last verification
	stateBehind
	stateWarning
	stateSilent // no event was ever seen
	stateStarting
	stateFilling
	stateElsewhere // another replica runs it
	stateFine
)

// states are, in that order, how a query names each, its level, and how people read it.
var states = [...]struct {
	name  string
	level level
	words string
}{
	anyState:     {"", idle, "all"},
	stateFailing: {"failing", bad, "failing"}, stateGaps: {"gaps", warn, "with gaps"}, stateBehind: {"behind", warn, "behind"},
	stateMissing: {"missing", warn, "with events missing"},
	stateWarning: {"warning", warn, "with a warning"}, stateSilent: {"silent", warn, "without any event"},
	stateStarting: {"starting", idle, "starting"}, stateFilling: {"filling", busy, "filling in history"},
	stateElsewhere: {"elsewhere", idle, "on another replica"}, stateFine: {"fine", good, "up to date"},
}

// String is the state as a query names it.
func (s state) String() string { return states[s].name }

// parseState is the state of that name; any where there is none.
func parseState(name string) state {
	for s := range states {
		if states[s].name == name {
			return state(s)
		}
	}
	return anyState
}

func (o *Summary) state() state {
	switch {
	case o.LastError != "" && !o.Warning:
		return stateFailing
	case o.Role != Active && o.Replica != "":
		return stateElsewhere
	case o.Role != Active:
		return stateStarting
	case o.Gaps > 0:
		return stateGaps
	case o.LastVerified != nil && o.LastVerified.Missing > 0:
		return stateMissing
	case o.Lag >= lagWarns:
		return stateBehind
	case o.LastError != "":
		return stateWarning
	case o.NewestEvent.IsZero():
		return stateSilent
	case o.Wanted > 0:
		return stateFilling
	}
	return stateFine
}

// filter is what the overview was asked for.
type filter struct {
	Query string // a part of the name of an organisation or a replica
	State state
	Page  int // from 1
}

func parseFilter(q url.Values) filter {
	f := filter{Query: strings.TrimSpace(q.Get("q")), State: parseState(q.Get("state")), Page: 1}
	if n, err := strconv.Atoi(q.Get("page")); err == nil && n > 1 {
		f.Page = n
	}
	return f
}

// matches reports whether the organisation is one of those that were asked for, whatever its state.
func (f filter) matches(o *Summary) bool {
	q := strings.ToLower(f.Query)
	return strings.Contains(o.Org, q) || strings.Contains(strings.ToLower(o.Replica), q)
}

// link is where the overview of that state and page is, with the same query.
func (f filter) link(s state, page int) string {
	q := make(url.Values)
	if f.Query != "" {
		q.Set("q", f.Query)
	}
	if s != anyState {
		q.Set("state", s.String())
	}
	if page > 1 {
		q.Set("page", strconv.Itoa(page))
	}
	if len(q) == 0 {
		return "/"
	}
	return "/?" + q.Encode()
}

// fleetView is what the template of the overview writes down.
type fleetView struct {
	Style  template.CSS
	Script template.JS
	Icon   template.URL

	Replica, Version, Commit, Taken, TakenAt string

	Marks []level // that rows refer to

	Verdict  verdict
	Answers  []answer
	Troubles []failureRow

	Filter   filter
	Filtered bool
	States   []stateLink
	Caption  string
	Rows     []summaryRow
	Previous string // links to the pages before and after; "" where there is none
	Next     string
	Members  []memberRow
}

// stateLink leads to the organisations in one state.
type stateLink struct {
	Level    level
	Words    string
	Count    string
	Link     string
	Selected bool
}

// summaryRow is one organisation as a person reads it.
type summaryRow struct {
	Org, State, Error    string
	Level                level
	Spark, Events        string
	Lag, Gaps            string
	Newest, NewestAt     string
	Verified, VerifiedAt string
	Replica, Role        string
	HasGaps              bool
}

type memberRow struct {
	Name, Partitions string
	Self             bool
}

func newFleetView(f *Fleet, asked filter) *fleetView {
	v := &fleetView{
		Style: template.CSS(pageCSS + fleetCSS), Script: template.JS(pageJS),
		Replica: cmp.Or(f.Replica, "this replica"), Version: f.Version, Commit: shortCommit(f.Commit),
		Taken: f.Now.UTC().Format("15:04:05"), TakenAt: f.Now.UTC().Format(audit.TimeFormat),
		Marks: []level{good, busy, idle, warn, bad}, Filter: asked, Filtered: asked.Query != "" || asked.State != anyState,
	}
	list := f.worstFirst()
	t := f.totals(list)
	v.Verdict, v.Answers = judgeFleet(f, &t), t.answers(f)
	v.Icon = icons[v.Verdict.Level]
	for _, trouble := range f.troubles() {
		v.Troubles = append(v.Troubles, newFailureRow(&trouble, f.Now))
	}
	v.addRows(f, list, asked)
	for _, m := range f.members() {
		v.Members = append(v.Members, memberRow{shown(m.Name, maxName), count(m.Partitions, "partition"), m.Name == f.Replica})
	}
	return v
}

// addRows adds the page of the table that was asked for.
func (v *fleetView) addRows(f *Fleet, list []ranked, asked filter) {
	var matching []ranked
	var counts [len(states)]int
	for _, o := range list {
		if !asked.matches(o.Summary) {
			continue
		}
		counts[o.state]++
		if asked.State == anyState || o.state == asked.State {
			matching = append(matching, o)
		}
	}
	for s := range states {
		if s := state(s); counts[s] > 0 || s == asked.State && s != anyState {
			v.States = append(v.States, stateLink{
				states[s].level, states[s].words, number(uint64(counts[s])), asked.link(s, 1), s == asked.State,
			})
		}
	}
	pages := max(1, (len(matching)+pageRows-1)/pageRows)
	page := min(asked.Page, pages)
	from, to := (page-1)*pageRows, min(page*pageRows, len(matching))
	for _, o := range matching[from:to] {
		v.Rows = append(v.Rows, newSummaryRow(o, f.Now))
	}
	v.Caption = "Worst first; times in UTC"
	if pages > 1 {
		v.Caption = fmt.Sprintf("%s to %s of %s, worst first; times in UTC", number(uint64(from+1)), number(uint64(to)), number(uint64(len(matching))))
	}
	if page > 1 {
		v.Previous = asked.link(asked.State, page-1)
	}
	if page < pages {
		v.Next = asked.link(asked.State, page+1)
	}
}

func newSummaryRow(o ranked, now time.Time) summaryRow {
	s := states[o.state]
	row := summaryRow{
		Org: o.Org, State: s.words, Level: s.level, Error: shown(o.LastError, maxValue),
		Replica: shown(o.Replica, maxName), Role: string(cmp.Or(o.Role, Starting)),
		Lag: "–", Gaps: "–", Newest: "–", Verified: "–",
	}
	if o.Role == Active {
		row.Lag, row.Gaps, row.Newest, row.Verified = human(o.Lag), "none", "never", "never"
		row.Spark, row.Events = spark(o.Hourly[:]), number(sum(o.Hourly[:]))
		if o.Gaps > 0 {
			row.Gaps, row.HasGaps = number(uint64(o.Gaps)), true
		}
	}
	if !o.NewestEvent.IsZero() {
		row.Newest, row.NewestAt = ago(o.NewestEvent, now), stamp(o.NewestEvent, now)
	}
	if o.LastVerified != nil {
		row.Verified, row.VerifiedAt = ago(o.LastVerified.At, now), o.LastVerified.words()
	}
	return row
}

// The size of a sparkline, in its own units.
const (
	sparkWidth  = 96 // four an hour
	sparkHeight = 20
)

// spark is the outline of a column for each value, as a path of an SVG; "" where all are 0.
func spark(values []uint64) string {
	most := slices.Max(values)
	if most == 0 {
		return ""
	}
	b := fmt.Appendf(nil, "M0 %d", sparkHeight)
	height := 0
	for i, n := range values {
		h := int(n * sparkHeight / most)
		if n > 0 {
			h = max(h, 1)
		}
		if h != height {
			b = fmt.Appendf(b, "H%dV%d", i*sparkWidth/len(values), sparkHeight-h)
			height = h
		}
	}
	return string(fmt.Appendf(b, "H%dV%dz", sparkWidth, sparkHeight))
}

func sum(values []uint64) (total uint64) {
	for _, n := range values {
		total += n
	}
	return total
}

// byName are the organisations by their names.
func (f *Fleet) byName() []*Summary {
	list := make([]*Summary, len(f.Organisations))
	for i := range f.Organisations {
		list[i] = &f.Organisations[i]
	}
	slices.SortFunc(list, func(a, b *Summary) int { return cmp.Compare(a.Org, b.Org) })
	return list
}

// ranked is an organisation and its state.
type ranked struct {
	*Summary
	state state
}

// worstFirst are the organisations in the order in which they need a look.
func (f *Fleet) worstFirst() []ranked {
	list := make([]ranked, len(f.Organisations))
	for i := range f.Organisations {
		list[i] = ranked{&f.Organisations[i], f.Organisations[i].state()}
	}
	slices.SortFunc(list, func(a, b ranked) int {
		return cmp.Or(cmp.Compare(a.state, b.state), cmp.Compare(b.Gaps, a.Gaps),
			cmp.Compare(b.Lag.Truncate(time.Minute), a.Lag.Truncate(time.Minute)), cmp.Compare(a.Org, b.Org))
	})
	return list
}

// members are the group's replicas by name.
func (f *Fleet) members() []Member {
	list := slices.Clone(f.Members)
	slices.SortFunc(list, func(a, b Member) int { return cmp.Compare(a.Name, b.Name) })
	return list
}
