package web

import (
	"fmt"
	"strings"
	"time"

	"genesys-audit-connector/internal/audit"
	"genesys-audit-connector/internal/health"
)

// A source that always tells the same.
type fixed Snapshot

func (f fixed) Snapshot() Snapshot { return Snapshot(f) }

var noon = time.Date(2024, 1, 15, 14, 32, 10, 0, time.UTC)

func before(d time.Duration) time.Time { return noon.Add(-d) }

func between(from, to time.Duration) audit.Interval {
	return audit.Interval{From: before(from), To: before(to)}
}

const (
	hour = time.Hour
	day  = 24 * hour
)

func p(s string) *string { return &s }

// starting is a replica that has reached nothing yet.
func starting() Snapshot {
	return Snapshot{
		Org: "acme", Version: "v1.4.0", Commit: "0f3c1d2e4b5a69788776655443322110ffeeddcc", Role: Starting,
		NotReady: "the offsets topic is being loaded", Now: noon, Started: before(2 * time.Second), Replica: "audit-0",
	}
}

// healthy is an active replica with nothing left to do but to watch.
func healthy() Snapshot {
	s := starting()
	s.Role, s.NotReady, s.API, s.Started = Active, "", "auditlogs", before(9*day+4*hour)
	s.ClockOffset, s.ClockKnown = 340*time.Millisecond, true
	s.Replicas = []Replica{{"audit-0", true}, {"audit-1", false}}
	s.Streams = []Stream{{
		Name: "type=configuration", Covered: audit.NewIntervalSet(between(43*day, 4*time.Second)),
		Edge: before(180 * day), Lag: 4200 * time.Millisecond, LastPoll: before(3 * time.Second), Duplicates: 18234,
		Lateness: Histogram{[]float64{120, 600, 3600, 21600, 86400}, []uint64{4812, 310, 41, 3, 1, 0}, 790123},
		Sweeps:   []Sweep{{10 * time.Minute, before(11 * time.Minute)}, {hour, before(62 * time.Minute)}, {6 * hour, before(6*hour + 2*time.Minute)}, {day, before(day + 4*time.Minute)}},
	}}
	s.Rate = Rate{Limit: 100, Window: 10 * time.Second, Ours: 12, Others: 21, Remaining: 67, Reserve: 10, Share: 0.7, Throttled: 734 * time.Second}
	s.Events = Events{Published: 67655, Changes: 181204, Errors: 12}
	s.NewestEvent = before(7 * time.Second)
	s.LastVerified = &Verification{At: before(12 * hour), From: before(43 * day), To: before(12*hour + 4*time.Minute), Repaired: 3}
	s.Log = Log{Size: 67655, Root: make([]byte, 32), Signed: true, Checkpoint: "genesys-audit-connector/acme\n67655\n"}
	s.Transactions = Transactions{Committed: 51877, Aborted: 2, Unknown: 1, Retries: 17, Duration: Histogram{
		[]float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}, []uint64{120, 22110, 27003, 2400, 190, 40, 10, 3, 1, 0, 0, 0}, 702.5,
	}}
	s.Requests = []Requests{
		{"tail", "200", 158760}, {"tail", "503", 4}, {"sweep", "200", 21234}, {"backfill", "200", 1204}, {"backfill", "429", 3},
		{"backfill", "timeout", 1}, {"token", "200", 10},
	}
	s.IDs, s.Unmapped = 12345, map[string]uint64{"webDeployment": 14, "predictor": 2}
	s.Recent = changes
	s.Failures = []Failure{{
		Kind: health.API, What: "read type=configuration", Err: "GET /api/v2/auditlogs: 503 Service Unavailable",
		Since: before(5 * hour), Last: before(5*hour - time.Minute), Times: 4, Ended: before(5*hour - 70*time.Second),
	}}
	return s
}

func changes() []audit.Change {
	base := audit.Change{Action: "UPDATE", Type: "MODIFIED", PreviousType: "STRING", NewType: "STRING", Level: p("USER")}
	list := make([]audit.Change, 0, 50)
	add := func(edit func(c *audit.Change)) {
		c := base
		c.Time = before(time.Duration(7+len(list)*len(list)*9) * time.Second)
		c.AuditID = fmt.Sprintf("0b1c2d3e-0000-4000-8000-%012d", len(list))
		c.UserID = p(fmt.Sprintf("5e0c%04d-93f1-4a08-9f50-6a1b2c3d4e5f", len(list)))
		edit(&c)
		list = append(list, c)
	}
	for len(list) < 45 {
		add(func(c *audit.Change) {
			c.UserName, c.EntityType, c.EntityName, c.Key = p("Maria Silva"), "queue", p("Billing EMEA"), p("mediaSettings.call.alertingTimeoutSeconds")
			c.Previous, c.New, c.PreviousType, c.NewType = p("30"), p("45"), "NUMBER", "NUMBER"
		})
		add(func(c *audit.Change) {
			c.UserName, c.EntityType, c.Action, c.EntityName, c.Key = p("Jürgen Groß"), "role", "MEMBER_ADD", p("Master Admin"), p("members")
			c.Previous, c.New, c.PreviousType, c.NewType = p(`["ana.costa"]`), p(`["ana.costa","tom.reed"]`), "ARRAY", "ARRAY"
		})
		add(func(c *audit.Change) {
			c.UserName, c.EntityType, c.EntityName, c.Key, c.Type = p("Ελένη Παππά"), "flow", p("Inbound – main menu"), p(`prompts["greeting.v2"].text`), "ADDED"
			c.Previous, c.PreviousType, c.New = nil, "ABSENT", p("Welcome to Acme. For billing press 1, for everything else stay on the line and somebody will be with you. "+strings.Repeat("Thank you for waiting. ", 12))
		})
		add(func(c *audit.Change) {
			c.UserID, c.ClientID, c.EntityType, c.Action, c.EntityName = nil, p("9d1f03aa-22ab-4c1c-8f5e-0d0b6a2e77c1"), "user", "DELETE", p("ex.employee@acme.example")
			c.Key, c.Type, c.Previous, c.New, c.PreviousType, c.NewType = nil, "NONE", nil, nil, "ABSENT", "ABSENT"
		})
		add(func(c *audit.Change) {
			c.UserName, c.EntityType, c.EntityName, c.Key, c.Type = p("Tom Reed"), "skillGroup", p("Tier 2"), p("order"), "REORDERED"
			c.Previous, c.New, c.PreviousType, c.NewType = p(`["a","b"]`), p(`["b","a"]`), "ARRAY", "ARRAY"
		})
	}
	for len(list) < 50 {
		add(func(c *audit.Change) {
			c.UserID, c.Level, c.EntityType, c.EntityID, c.Key = nil, p("SYSTEM"), "trunk", p("77b0ec61-0a1e-4f6b-bd5f-13c1f6f0f001"), p("state.lastSync")
			c.Previous, c.New, c.NewType, c.PreviousType = nil, p(""), "STRING", "NULL"
		})
	}
	return list
}

// filling is a replica in its first hour, with history to catch up.
func filling() Snapshot {
	s := healthy()
	s.Started, s.Failures, s.Unmapped = before(26*time.Minute), nil, nil
	s.Recent = func() []audit.Change { return changes()[:7] }
	s.Streams[0].Covered = audit.NewIntervalSet(between(30*day, 19*day), between(17*day+20*hour, 17*day+19*hour), between(26*time.Minute, 4*time.Second))
	s.Streams[0].Wanted = audit.NewIntervalSet(between(19*day, 26*time.Minute)).Subtract(s.Streams[0].Covered)
	s.Streams[0].Backfill = Backfill{Resumes: s.Now.Add(5 * hour), Done: s.Now.Add(2 * day)}
	s.Streams[0].Reading = audit.NewIntervalSet(between(19*day, 18*day+12*hour))
	s.Rate.Ours, s.Rate.Remaining = 49, 30
	return s
}

// troubled is an active replica with gaps, late events, and credentials that are refused.
func troubled() Snapshot {
	s := healthy()
	s.NotReady = "credentials: the API refuses them"
	st := &s.Streams[0]
	st.Edge, st.Lag, st.LastPoll = before(180*day), 37*time.Minute+12*time.Second, before(37*time.Minute)
	st.Covered = audit.NewIntervalSet(between(180*day+6*day, 37*time.Minute)).
		Remove(between(26*hour, 25*hour)).Remove(between(8*hour, 8*hour-time.Millisecond))
	st.Wanted = audit.NewIntervalSet(between(26*hour, 25*hour))
	st.Gaps = []Gap{
		{between(200*day, 186*day), "older than GENESYS_RETENTION (180d) when it was to be read"},
		{between(8*hour, 8*hour-time.Millisecond), "event 7d3fbf1c-11f0-4f6e-9a55-2a5be1a1f3c7 of 12,582,912 bytes is too large for genesys.audit.raw: raise max.message.bytes above 12582912"},
	}
	st.Lateness.Counts = []uint64{512, 310, 141, 23, 11, 6}
	s.Rate.Ours, s.Rate.Others, s.Rate.Remaining = 2, 93, 5
	s.Fenced = 1
	s.Failures = append(s.Failures,
		Failure{Kind: health.Credentials, What: "token", Err: "POST https://login.mypurecloud.de/oauth/token: 401 invalid_client: client not found; check GENESYS_CLIENT_ID and GENESYS_CLIENT_SECRET", Since: before(37 * time.Minute), Last: before(20 * time.Second), Times: 41},
		Failure{Kind: health.Registry, What: "schema registry", Err: "dial tcp 10.2.3.4:8081: connect: connection refused", Since: before(4 * time.Minute), Last: before(50 * time.Second), Times: 6},
	)
	return s
}

// standby follows another replica.
func standby() Snapshot {
	s := healthy()
	s.Role, s.Replica = Standby, "audit-1"
	s.Recent, s.Requests, s.Failures, s.Events, s.Transactions, s.Unmapped = nil, nil, nil, Events{}, Transactions{}, nil
	s.Rate, s.Started = Rate{}, before(3*hour)
	s.Streams[0].LastPoll, s.Streams[0].Lateness.Counts, s.Streams[0].Duplicates, s.Streams[0].Sweeps = time.Time{}, nil, 0, nil
	return s
}

// silent reads and has never seen an event.
func silent() Snapshot {
	s := healthy()
	s.NewestEvent, s.LastVerified, s.Log, s.Events, s.Recent = time.Time{}, nil, Log{}, Events{}, nil
	s.Started, s.Unmapped, s.Failures, s.IDs = before(hour), nil, nil, 0
	s.Streams[0].Duplicates, s.Streams[0].Lateness.Counts = 0, nil
	return s
}

// services is an organisation read one stream a service.
func services() Snapshot {
	s := healthy()
	s.API, s.Streams = "query", nil
	for i, name := range []string{
		"Architect", "ContactCenter", "ContentManagement", "Datatables", "Directory", "EmployeeEngagement", "ExternalContacts", "Gamification",
		"Groups", "Integrations", "Journey", "KnowledgeManagement", "LearningAndDevelopment", "Messaging", "Outbound", "PeoplePermissions",
		"PredictiveEngagement", "ProcessAutomation", "Quality", "Routing", "Scheduling", "SpeechAndTextAnalytics", "Telephony", "Triggers", "WorkforceManagement",
	} {
		st := Stream{
			Name: name, Covered: audit.NewIntervalSet(between(12*day, time.Duration(5+i*3)*time.Second)), Edge: before(365 * day),
			Lag: time.Duration(5+i*3) * time.Second, LastPoll: before(time.Duration(4+i*3) * time.Second), Duplicates: uint64(i * 31),
			Lateness: Histogram{[]float64{120, 600, 3600}, []uint64{uint64(i), 0, 0, 0}, 50},
		}
		switch i {
		case 6:
			gap := between(3*day+5*hour, 3*day)
			st.Covered, st.Gaps = st.Covered.Remove(gap), []Gap{{gap, "the query ended as Failed 5 times"}}
		case 14:
			st.Wanted = audit.NewIntervalSet(between(9*day, 5*day))
			st.Covered = st.Covered.Subtract(st.Wanted)
		case 19:
			st.Lag = 7 * time.Minute
			st.Covered = audit.NewIntervalSet(between(12*day, st.Lag))
		}
		s.Streams = append(s.Streams, st)
	}
	return s
}

const script = `<script>document.title='owned';fetch('/x')</script>`

// hostile is healthy, and every text that comes from outside tries to be markup.
func hostile() Snapshot {
	s := healthy()
	change := audit.Change{
		Time: noon, AuditID: script, UserID: p(`" onmouseover="document.title='owned'`), UserName: p(script), Action: `<img src=x onerror="document.title='owned'">`,
		EntityType: `</table><style>*{display:none}</style>`, EntityName: p("admin\u202Egnp.exe\x00\x1b[2J"), Key: p(`</code><a href="javascript:document.title='owned'">x</a>`),
		Type: "MODIFIED", PreviousType: "STRING", NewType: "STRING", Previous: p(`{{.Org}} ${document.title='owned'}`), New: p(strings.Repeat("<b>", 4000)),
	}
	s.Recent = func() []audit.Change { return []audit.Change{change} }
	s.Streams[0].Name = script
	s.Streams[0].Gaps = []Gap{{between(3*hour, 2*hour), script}}
	s.Failures = []Failure{{What: script, Err: script, Since: before(hour), Last: noon, Times: 2}, {What: script, Err: script, Since: before(hour), Ended: noon, Times: 2}}
	s.Unmapped = map[string]uint64{script: 2, "a\xff": 1, "a\xfe": 3}
	s.Requests = []Requests{{"tail", script, 1}, {"tail", script, 2}}
	s.Replicas = []Replica{{script, true}}
	s.Org = "acme"
	return s
}

// fixtures are the fixtures by name; each is a screen that an operator may see.
var fixtures = map[string]func() Snapshot{
	"starting": starting, "healthy": healthy, "filling": filling, "troubled": troubled,
	"standby": standby, "services": services, "silent": silent, "hostile": hostile,
}
