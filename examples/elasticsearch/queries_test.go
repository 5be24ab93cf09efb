//go:build connect && linux

package elasticsearch

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"genesys-audit-connector/internal/codec"
	"genesys-audit-connector/internal/connecttest"
	"genesys-audit-connector/schemas"
)

// checkDocuments compares what analysts see with what was published.
func checkDocuments(t *testing.T, changes map[string]published, found map[string]document) {
	for id, c := range changes {
		d := found[id]
		var source struct {
			AuditID       string `json:"auditId"`
			Action        string
			PreviousValue *string
			NewValue      *string
			UserName      *string
			Context       map[string]string
			At            time.Time `json:"@timestamp"`
			Message       string
			Event         struct {
				ID, Action string
				Sequence   int
			}
			Actor struct{ Type, ID, Name string }
			User  struct{ ID, Name string }
			Error *struct{ Message string }
		}
		if err := json.Unmarshal(d.Source, &source); err != nil {
			t.Fatal(err)
		}
		if source.Error != nil {
			t.Fatalf("%s: the pipeline failed: %s", id, source.Error.Message)
		}
		userID, userName := text(c.UserID), text(c.UserName)
		if isLogin(c) && userID == "" && userName == "" {
			userID, userName = text(c.EntityID), text(c.EntityName)
		}
		got := fmt.Sprint(source.Actor.Type, source.AuditID, source.Action, text(source.PreviousValue), text(source.NewValue), source.Context, source.At.UnixMilli(),
			source.Event.ID, source.Event.Sequence, source.Event.Action, source.User.ID, source.User.Name, d.Index)
		want := fmt.Sprint(actorType(c), c.AuditID, c.Action, text(c.Previous), text(c.New), c.Context, c.Time.UnixMilli(),
			c.AuditID, c.Index, c.Action, userID, userName, "genesys-audit-"+c.record.Timestamp.UTC().Format("2006.01"))
		if got != want || source.Message == "" {
			t.Fatalf("%s: the document has\n%s\nthe record\n%s\nin %s", id, got, want, d.Source)
		}
	}
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// question is what an analyst would type, and which changes it is about.
type question struct {
	asks, query string
	matches     func(published) bool
}

func questions(queue, granter, member string, now time.Time) []question {
	is := func(s *string, v string) bool { return s != nil && *s == v }
	onQueue := func(c published) bool { return isType(c, "Queue") && is(c.EntityName, queue) }
	grant := func(c published) bool { return isType(c, "Role") && c.Action == "MemberAdd" }
	group := func(c published) bool { return is(c.MemberType, "group") }
	key := func(c published, prefix string) bool { return c.Key != nil && strings.HasPrefix(*c.Key, prefix) }
	refused := func(c published) bool { return is(c.Status, "FAILURE") }
	return []question{
		{"who changed queue X last week", `entityType:queue AND entityName:"` + queue + `" AND @timestamp:[now-7d TO now]`,
			func(c published) bool { return onQueue(c) && c.Time.After(now.Add(-7*24*time.Hour)) }},
		{"all changes of queue X", `entityType:Queue AND entityName:"` + queue + `"`, onQueue},
		{"all role grants by Y", `entityType:role AND action:MemberAdd AND user.name:"` + granter + `"`,
			func(c published) bool { return grant(c) && is(c.UserName, granter) }},
		{"all role grants that nobody is named for", `entityType:role AND action:MemberAdd AND actor.type:system`,
			func(c published) bool { return grant(c) && actorType(c) == "system" }},
		{"which roles Z was given", `entityType:role AND action:MemberAdd AND user.target.name:"` + member + `"`,
			func(c published) bool { return grant(c) && is(c.MemberName, member) && !group(c) }},
		{"which roles groups were given", `entityType:role AND action:MemberAdd AND _exists_:group.id`,
			func(c published) bool { return grant(c) && group(c) }},
		{"what was granted in all divisions", `entityType:role AND action:MemberAdd AND divisionId:"*"`,
			func(c published) bool { return grant(c) && is(c.DivisionID, "*") }},
		{"which queues and groups somebody came into or left", `NOT entityType:role AND user.target.id:"` + liveMember + `"`,
			func(c published) bool { return !isType(c, "Role") && is(c.MemberID, liveMember) }},
		{"what concerns Z in any way", `related.user:"` + member + `"`,
			func(c published) bool {
				return is(c.UserName, member) || is(c.MemberName, member) ||
					isLogin(c) && c.UserID == nil && c.UserName == nil && is(c.EntityName, member)
			}},
		{"what OAuth clients did", `actor.type:client`, func(c published) bool { return actorType(c) == "client" }},
		{"what the system did", `actor.type:system`, func(c published) bool { return actorType(c) == "system" }},
		{"the same, without synchronisation", `actor.type:system AND NOT (serviceName:Directory AND configurationKey:version)`,
			func(c published) bool {
				return actorType(c) == "system" && !(is(c.ServiceName, "Directory") && is(c.Key, "version"))
			}},
		{"what was done from one network", `source.ip:"203.0.113.0/28"`, func(c published) bool {
			return len(c.RemoteIP) > 0 && netip.MustParsePrefix("203.0.113.0/28").Contains(netip.MustParseAddr(c.RemoteIP[0]))
		}},
		{"which media settings were changed", `configurationKey:mediaSettings*`, func(c published) bool { return key(c, "mediaSettings") }},
		{"where after-call work was made optional", `configurationKey:acw.prompt AND newValue:OPTIONAL`,
			func(c published) bool { return key(c, "acw.prompt") && is(c.New, "OPTIONAL") }},
		{"what was created", `event.type:creation`, func(c published) bool { return strings.EqualFold(c.Action, "create") && !isType(c, "AccessToken") }},
		{"all of access management", `event.category:iam`, isAccess},
		{"logins and logouts", `event.category:authentication`, isLogin},
		{"failed logins", `event.category:authentication AND event.outcome:failure`, func(c published) bool { return isLogin(c) && refused(c) }},
		{"failed logins from one address", `event.outcome:failure AND event.category:authentication AND source.ip:` + liveAddress,
			func(c published) bool {
				return isLogin(c) && refused(c) && slices.Contains(c.RemoteIP, liveAddress)
			}},
		{"tokens and logouts", `event.category:session`, func(c published) bool { return isType(c, "AccessToken") || c.Action == "SingleLogout" }},
		{"configuration that is not about access", `event.category:configuration AND NOT event.category:iam`,
			func(c published) bool { return !isAccess(c) && !isLogin(c) }},
		{"what was refused", `event.outcome:failure`, refused},
	}
}

// TestReadmeHasTheQuestions: what the README offers is what is run here.
func TestReadmeHasTheQuestions(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, q := range questions("X", "Y", "Z", time.Now()) {
		if row := "| " + q.asks + " | `" + q.query + "` |"; !strings.Contains(string(readme), row) {
			t.Errorf("the README lacks %s", row)
		}
	}
}

// checkQueries asks what analysts ask, and wants exactly the right documents.
func checkQueries(t *testing.T, search connecttest.Service, changes map[string]published) {
	now := time.Now()
	queue, granter, member := subjects(t, changes, now)
	for _, q := range questions(queue, granter, member, now) {
		t.Run(q.asks, func(t *testing.T) {
			var want []string
			for id, c := range changes {
				if q.matches(c) {
					want = append(want, id)
				}
			}
			slices.Sort(want)
			got := hits(t, search, q.query)
			if !slices.Equal(got, want) {
				t.Errorf("%s\ngives %d documents, want %d", q.query, len(got), len(want))
			}
			if len(want) == 0 || len(want) == len(changes) {
				t.Errorf("%s: %d of %d tells nothing", q.query, len(want), len(changes))
			}
			t.Logf("%s: %d hits", q.query, len(got))
		})
	}
	t.Run("names", func(t *testing.T) { checkNames(t, search, changes, queue, now) })
}

// checkNames looks at the first question's answer: who, how often.
func checkNames(t *testing.T, search connecttest.Service, changes map[string]published, queue string, now time.Time) {
	want := map[string]int{}
	for _, c := range changes {
		if c.UserName != nil && questions(queue, "", "", now)[0].matches(c) {
			want[*c.UserName]++
		}
	}
	var answer struct {
		Aggregations struct {
			Who struct {
				Buckets []struct {
					Key   string
					Count int `json:"doc_count"`
				}
			}
		}
	}
	body := map[string]any{
		"size": 0, "query": queryString(questions(queue, "", "", now)[0].query),
		"aggs": map[string]any{"who": map[string]any{"terms": map[string]any{"field": "user.name", "size": 100}}},
	}
	if err := search.Do("POST", "/genesys-audit-*/_search", body, &answer); err != nil {
		t.Fatal(err)
	}
	got := map[string]int{}
	for _, b := range answer.Aggregations.Who.Buckets {
		got[b.Key] = b.Count
	}
	if !maps.Equal(got, want) || len(want) == 0 {
		t.Errorf("who changed %s: %v, want %v", queue, got, want)
	}
}

// subjects chooses whom to ask about: a queue that was changed in the last week and before, but not near the week's
// border, which moves while the test runs; somebody who granted roles; and somebody who was granted one.
func subjects(t *testing.T, changes map[string]published, now time.Time) (queue, granter, member string) {
	t.Helper()
	border := now.Add(-7 * 24 * time.Hour)
	within, earlier, near := map[string]bool{}, map[string]bool{}, map[string]bool{}
	for _, id := range slices.Sorted(maps.Keys(changes)) {
		c := changes[id]
		name := text(c.EntityName)
		switch {
		case isType(c, "Role") && c.Action == "MemberAdd" && c.UserName != nil && c.Context["memberName"] != "":
			granter = *c.UserName
		case !isType(c, "Queue") || name == "":
		case c.Time.Sub(border).Abs() < 10*time.Minute:
			near[name] = true
		case c.Time.After(border):
			within[name] = true
		default:
			earlier[name] = true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(within)) {
		if earlier[name] && !near[name] {
			queue = name
		}
	}
	member = text(changes["live-00:0"].MemberName) // who was given roles by others, too
	if queue == "" || granter == "" || member == "" {
		t.Fatalf("nothing to ask about: queue %q, granter %q", queue, granter)
	}
	return queue, granter, member
}

func queryString(query string) any {
	return map[string]any{"query_string": map[string]any{"query": query, "analyze_wildcard": true}}
}

// hits are the ids of the documents that a query finds.
func hits(t *testing.T, search connecttest.Service, query string) []string {
	t.Helper()
	var ids []string
	var after []any
	for {
		body := map[string]any{"size": 2000, "_source": false, "query": queryString(query), "sort": []string{"event.id", "event.sequence", "_id"}}
		if after != nil {
			body["search_after"] = after
		}
		var answer struct{ Hits struct{ Hits []document } }
		if err := search.Do("POST", "/genesys-audit-*/_search", body, &answer); err != nil {
			t.Fatal(err)
		}
		page := answer.Hits.Hits
		if len(page) == 0 {
			slices.Sort(ids)
			return ids
		}
		for _, d := range page {
			ids = append(ids, d.ID)
		}
		after = page[len(page)-1].Sort
	}
}

// checkDashboard asks the shipped dashboard's searches, and whether its fields can be counted by.
func checkDashboard(t *testing.T, search connecttest.Service) {
	for _, o := range savedObjects(t) {
		if o.Type != "search" && o.Type != "visualization" {
			continue
		}
		if query := o.query(t); len(hits(t, search, query)) == 0 {
			t.Errorf("%s: %s finds nothing", o.ID, query)
		}
		for _, field := range o.aggregated(t) {
			var caps struct {
				Fields map[string]map[string]struct{ Aggregatable bool }
			}
			if err := search.Do("GET", "/genesys-audit-*/_field_caps?fields="+field, nil, &caps); err != nil {
				t.Fatal(err)
			}
			for kind, c := range caps.Fields[field] {
				if !c.Aggregatable {
					t.Errorf("%s: field %s (%s) cannot be counted by", o.ID, field, kind)
				}
			}
			if len(caps.Fields[field]) == 0 {
				t.Errorf("%s: there is no field %s", o.ID, field)
			}
		}
	}
}

// checkUncommitted shows that the isolation level is what keeps aborted records away: a sink without it, on a topic
// of its own, brings them.
func checkUncommitted(t *testing.T, brokers []string, worker connecttest.Worker, registry, search connecttest.Service, changes map[string]published) {
	var value []byte
	for _, c := range changes {
		value = c.record.Value
		break
	}
	const control = "control"
	createTopic(t, brokers, control)
	if err := registry.Do("POST", "/subjects/"+codec.Subject(control)+"/versions", map[string]string{"schema": schemas.ConfigurationChange}, nil); err != nil {
		t.Fatal(err)
	}
	o := newOutsider(t, brokers)
	o.begin(control, 1, 3, "aborted", value, time.Now())
	o.end(kgo.TryAbort)
	o.begin(control, 1, 2, "committed", value, time.Now())
	o.end(kgo.TryCommit)
	s := newSink(t, worker, registry, search, map[string]string{
		"name": "uncommitted", "topics": control, "tasks.max": "1",
		"consumer.override.isolation.level": "read_uncommitted", "transforms.month.topic.format": "uncommitted",
	})
	connecttest.Eventually(t, time.Minute, "an uncommitted reader brings 5 documents", func() error {
		if _, err := s.State(); errors.Is(err, connecttest.ErrFailed) {
			t.Fatal(err)
		}
		var answer struct{ Count int }
		if err := search.Do("POST", "/uncommitted/_refresh", nil, nil); err != nil {
			return err
		}
		if err := search.Do("GET", "/uncommitted/_count", nil, &answer); err != nil {
			return err
		}
		if answer.Count != 5 {
			return fmt.Errorf("it brought %d", answer.Count)
		}
		return nil
	})
}
