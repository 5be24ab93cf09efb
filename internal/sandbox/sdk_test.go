//go:build sdk

package sandbox

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"testing"
	"time"
)

// TestVendorSDK has the vendor's own Python SDK read organisations of each
// dialect, over every audit call that it has: what it deserialises is what
// they know, event for event and field for field.
func TestVendorSDK(t *testing.T) {
	s := startSDK(t)
	t.Run("query", s.readsQuery)
	t.Run("query as a file", s.readsFile)
	t.Run("realtime", s.readsRealtime)
	t.Run("auditlogs", s.readsAuditlogs)
	t.Run("refusals", s.raises)
	t.Run("faults", s.survives)
	t.Run("refresh token", s.refreshes)
	for _, method := range s.methods() {
		if !s.answered[method] {
			t.Errorf("%s was answered nowhere: what it does is not proved", method)
		}
	}
}

// sdk is the SDK in a Python process.
type sdk struct {
	to       *json.Encoder
	from     *json.Decoder
	answered map[string]bool // calls that did not raise
}

// outcome is what an order to the SDK came to.
type outcome struct {
	Result json.RawMessage `json:"result"`
	Raised string          `json:"raised"` // class of the exception
	Status int             `json:"status"`
	Text   string          `json:"text"`
}

type args = map[string]any

func startSDK(t *testing.T) *sdk {
	python := filepath.Join("..", "..", ".cache", "sdk", "bin", "python")
	if _, err := os.Stat(python); err != nil {
		t.Fatalf("no Python environment; run scripts/test-tagged sdk: %v", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute) // not t.Context: it ends by end of file
	t.Cleanup(cancel)
	c := exec.CommandContext(ctx, python, filepath.Join("testdata", "sdk", "bridge.py"))
	// The SDK watches a configuration file in HOME, and a proxy is no business of a test.
	c.Env = []string{"HOME=" + t.TempDir(), "TZ=Asia/Kolkata", "PYTHONDONTWRITEBYTECODE=1", "no_proxy=*"}
	var said bytes.Buffer
	c.Stderr = &said
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		if err := c.Wait(); err != nil || said.Len() > 0 {
			t.Errorf("bridge.py: %v\n%s", err, said.String())
		}
	})
	return &sdk{to: json.NewEncoder(in), from: json.NewDecoder(out), answered: map[string]bool{}}
}

func (s *sdk) order(t *testing.T, order args) (o outcome) {
	t.Helper()
	if err := s.to.Encode(order); err != nil {
		t.Fatal(err)
	}
	if err := s.from.Decode(&o); err != nil {
		t.Fatalf("%v: the bridge answers nothing: %v", order, err)
	}
	return o
}

func (s *sdk) methods() (names []string) {
	if s.to.Encode(args{"do": "methods"}) == nil {
		var o outcome
		if s.from.Decode(&o) == nil {
			_ = json.Unmarshal(o.Result, &names)
		}
	}
	return names
}

// open serves an organisation with a past and logs the SDK in to it.
func (s *sdk) open(t *testing.T, options Options) *Server {
	t.Helper()
	options.Odd = -1 // what the SDK makes of bytes that break its model is its own affair
	server, err := Start(ServerOptions{Options: options})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	now := time.Now()
	server.Org.Backfill(1200, now.Add(-20*time.Hour), now.Add(-time.Minute))
	if o := s.login(t, server, options.RefreshToken); o.Raised != "" {
		t.Fatalf("login: %+v", o)
	}
	return server
}

func (s *sdk) login(t *testing.T, server *Server, refresh string) outcome {
	t.Helper()
	return s.order(t, args{"do": "login", "url": server.URL, "id": "sandbox", "secret": "sandbox-secret", "refresh": refresh})
}

// try makes a call; answerTo one that has to succeed.
func (s *sdk) try(t *testing.T, method string, a args) outcome {
	t.Helper()
	o := s.order(t, args{"do": "call", "method": method, "args": a})
	if o.Raised == "" {
		s.answered[method] = true
	}
	return o
}

func answerTo[T any](t *testing.T, s *sdk, method string, a args) (result T) {
	t.Helper()
	o := s.try(t, method, a)
	if o.Raised != "" {
		t.Fatalf("%s %v: %s %d %s", method, a, o.Raised, o.Status, o.Text)
	}
	if err := json.Unmarshal(o.Result, &result); err != nil {
		t.Fatalf("%s: %v in %.300s", method, err, o.Result)
	}
	return result
}

// expectStatus holds that the SDK raises its own exception with a status.
func expectStatus(t *testing.T, o outcome, status int) {
	t.Helper()
	if o.Raised != "ApiException" || o.Status != status {
		t.Errorf("raised %q with %d %s, not ApiException with %d", o.Raised, o.Status, o.Text, status)
	}
}

// lastDay is an interval that holds everything that happened.
func lastDay() string { return daysUntilNow(1) }

func daysUntilNow(days int) string {
	now := time.Now().UTC()
	return now.AddDate(0, 0, -days).Format(time.RFC3339) + "/" + now.Format(time.RFC3339)
}

func inquire(service string, more args) args {
	body := args{"interval": lastDay(), "serviceName": service, "sort": []args{{"name": "Timestamp", "sortOrder": "ascending"}}}
	for name, value := range more {
		body[name] = value
	}
	return body
}

type (
	mappingAnswer struct {
		Services []struct {
			Name     string
			Entities []struct {
				Name    string
				Actions []string
			}
		}
	}
	statusAnswered struct {
		ID, State, Interval, ServiceName string
		StartDate                        time.Time
		Filters, Sort                    []map[string]string
	}
	pageAnswer struct {
		ID                                     string
		Cursor                                 *string
		PageSize, PageNumber, Total, PageCount int
		Entities                               []any
	}
)

// expectMapping holds a service mapping against what the organisation knows,
// and returns the services.
func expectMapping(t *testing.T, got mappingAnswer, want taxonomy) (services []string) {
	t.Helper()
	read := taxonomy{}
	for _, service := range got.Services {
		services = append(services, service.Name)
		read[service.Name] = map[string][]string{}
		for _, entity := range service.Entities {
			read[service.Name][entity.Name] = entity.Actions
		}
	}
	for _, types := range want {
		for _, actions := range types {
			slices.Sort(actions)
		}
	}
	if !reflect.DeepEqual(read, want) || len(services) != len(want) {
		t.Errorf("the mapping is %v, not %v", read, want)
	}
	return services
}

// known is all events of a service, oldest first, as the API would write them,
// without what is null: the SDK does not tell that from what is not there.
func known(t *testing.T, o *Org, shape form, match func(*event) bool) (events []any) {
	t.Helper()
	all, visible := o.journal.all()
	for _, e := range all[:visible] {
		if !match(e) {
			continue
		}
		var event any
		if err := json.Unmarshal(e.appendTo(nil, o.world, shape), &event); err != nil {
			t.Fatal(err)
		}
		events = append(events, event)
	}
	return events
}

func ofService(service string) func(*event) bool {
	return func(e *event) bool { return e.scene.service == service }
}

func expectEvents(t *testing.T, got, want []any) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%d events, not %d", len(got), len(want))
		return
	}
	for i := range want {
		if g, w := withoutNulls(got[i]), withoutNulls(want[i]); !reflect.DeepEqual(g, w) {
			t.Fatalf("event %d is\n%v, not\n%v", i, g, w)
		}
	}
}

func withoutNulls(value any) any {
	switch v := value.(type) {
	case map[string]any:
		for name, member := range v {
			if v[name] = withoutNulls(member); member == nil {
				delete(v, name)
			}
		}
	case []any:
		for i := range v {
			v[i] = withoutNulls(v[i])
		}
	}
	return value
}

// readsQuery reads every service that the mapping names, by cursor to the end.
func (s *sdk) readsQuery(t *testing.T) {
	server := s.open(t, Options{Dialects: []Dialect{Query}, QueryDelay: 100 * time.Millisecond, PlatformLimit: Limit{Requests: -1}})
	mapping := answerTo[mappingAnswer](t, s, "get_audits_query_servicemapping", args{})
	total, paged := 0, false
	for _, service := range expectMapping(t, mapping, server.Org.taxonomy.all()) {
		for _, shape := range []form{formQuery, formExpanded} {
			id := s.submit(t, service, args{})
			events, pages := s.results(t, id, shape)
			want := known(t, server.Org, shape, ofService(service))
			expectEvents(t, events, want)
			if least := max((len(want)+99)/100, 1); pages != least {
				t.Errorf("%s: %d events on %d pages of 100", service, len(want), pages)
			}
			total, paged = total+len(events), paged || pages > 1
		}
	}
	if !paged || total < 2000 {
		t.Errorf("%d events read, of several pages: %t: that proves little", total, paged)
	}
	s.filters(t, server.Org)
	s.refused(t, "post_audits_query_realtime", args{"body": inquire("Routing", nil)})
	s.refused(t, "post_audits_query_realtime_related", args{"body": args{"auditId": "any"}})
	s.refused(t, "get_audits_query_realtime_servicemapping", args{})
}

// refused is a call of a dialect that this organisation does not speak.
func (s *sdk) refused(t *testing.T, method string, a args) {
	t.Helper()
	expectStatus(t, s.try(t, method, a), 404)
}

// submit submits a query, waits until it has succeeded, and holds what is said
// of it against what was asked.
func (s *sdk) submit(t *testing.T, service string, more args) string {
	t.Helper()
	body := inquire(service, more)
	before := time.Now().Add(-time.Second)
	submitted := answerTo[statusAnswered](t, s, "post_audits_query", args{"body": body})
	if submitted.ID == "" || submitted.State != "Queued" {
		t.Fatalf("submitted: %+v", submitted)
	}
	deadline := time.Now().Add(10 * time.Second)
	for {
		status := answerTo[statusAnswered](t, s, "get_audits_query_transaction_id", args{"transaction_id": submitted.ID})
		if status.ID != submitted.ID || status.Interval != body["interval"] || status.ServiceName != service ||
			status.StartDate.Before(before) || status.StartDate.After(time.Now()) ||
			fmt.Sprint(status.Sort) != fmt.Sprint(body["sort"]) || len(status.Filters) > 0 != (body["filters"] != nil) {
			t.Fatalf("asked %v, answered %+v", body, status)
		}
		if status.State == "Succeeded" {
			return submitted.ID
		}
		if status.State != "Queued" && status.State != "Running" || time.Now().After(deadline) {
			t.Fatalf("the query is %s", status.State)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func (s *sdk) results(t *testing.T, id string, shape form) (events []any, pages int) {
	t.Helper()
	a := args{"transaction_id": id, "page_size": 100}
	if shape == formExpanded {
		a["expand"] = []string{"user"}
	}
	for range 100 {
		p := answerTo[pageAnswer](t, s, "get_audits_query_transaction_id_results", a)
		if p.ID != id || p.PageSize != 100 {
			t.Fatalf("page of %s: %s, size %d", id, p.ID, p.PageSize)
		}
		events, pages = append(events, p.Entities...), pages+1
		if p.Cursor == nil {
			return events, pages
		}
		a["cursor"] = *p.Cursor
	}
	t.Fatal("pages without end")
	return nil, 0
}

// filters asks for one event's entity, type and action.
func (s *sdk) filters(t *testing.T, o *Org) {
	all, _ := o.journal.all()
	one := all[slices.IndexFunc(all, ofService("Routing"))]
	id := s.submit(t, "Routing", args{"filters": []args{{"property": "EntityType", "value": one.scene.entityType},
		{"property": "Action", "value": one.scene.action}, {"property": "EntityId", "value": one.scene.entityID}}})
	events, _ := s.results(t, id, formQuery)
	want := known(t, o, formQuery, func(e *event) bool {
		return ofService("Routing")(e) && e.scene.entityType == one.scene.entityType &&
			e.scene.action == one.scene.action && e.scene.entityID == one.scene.entityID
	})
	if len(want) == 0 {
		t.Error("a filter that nothing meets proves nothing")
	}
	expectEvents(t, events, want)
}

// readsFile reads results that are a file on another host, whose address the
// SDK follows without the access token.
func (s *sdk) readsFile(t *testing.T) {
	server := s.open(t, Options{Dialects: []Dialect{Query}, DownloadOver: 10})
	id := s.submit(t, "Routing", args{})
	p := answerTo[pageAnswer](t, s, "get_audits_query_transaction_id_results", args{"transaction_id": id, "allow_redirect": true})
	expectEvents(t, p.Entities, known(t, server.Org, formQuery, ofService("Routing")))
	stats := server.Org.Stats()
	if stats.Requests[EndpointDownload][200] != 1 || stats.Violations.TokenToDownload != 0 {
		t.Errorf("downloads: %v, with a token: %d", stats.Requests[EndpointDownload], stats.Violations.TokenToDownload)
	}
}

// readsRealtime reads every service that the mapping names, by page number.
func (s *sdk) readsRealtime(t *testing.T) {
	server := s.open(t, Options{Dialects: []Dialect{Realtime}, PlatformLimit: Limit{Requests: -1}})
	mapping := answerTo[mappingAnswer](t, s, "get_audits_query_realtime_servicemapping", args{})
	total, paged := 0, false
	for _, service := range expectMapping(t, mapping, server.Org.taxonomy.realtime()) {
		want := known(t, server.Org, formExpanded, func(e *event) bool {
			return ofService(service)(e) && server.Org.taxonomy.fast(service, e.scene.entityType, e.scene.action)
		})
		var events []any
		for page := 1; ; page++ {
			p := answerTo[pageAnswer](t, s, "post_audits_query_realtime", args{"expand": []string{"user"},
				"body": inquire(service, args{"pageNumber": page, "pageSize": 50})})
			if p.PageNumber != page || p.PageSize != 50 || p.Total != len(want) || p.PageCount != (len(want)+49)/50 {
				t.Fatalf("%s, page %d of %d events: number %d, size %d, total %d, count %d",
					service, page, len(want), p.PageNumber, p.PageSize, p.Total, p.PageCount)
			}
			events = append(events, p.Entities...)
			if page >= p.PageCount {
				paged = paged || page > 1
				break
			}
		}
		expectEvents(t, events, want)
		total += len(events)
	}
	if !paged || total < 500 {
		t.Errorf("%d events read, of several pages: %t: that proves little", total, paged)
	}
	s.related(t, server.Org)
	s.refused(t, "post_audits_query", args{"body": inquire("Routing", nil)})
	s.refused(t, "get_audits_query_transaction_id", args{"transaction_id": "any"})
	s.refused(t, "get_audits_query_transaction_id_results", args{"transaction_id": "any"})
	s.refused(t, "get_audits_query_servicemapping", args{})
}

// related asks for the rest of an event's transaction.
func (s *sdk) related(t *testing.T, o *Org) {
	all, _ := o.journal.all()
	one := all[slices.IndexFunc(all, ofService("Routing"))]
	p := answerTo[pageAnswer](t, s, "post_audits_query_realtime_related", args{"body": args{"auditId": one.id}})
	transaction := func(e *event) string { return string(appendTransactionID(nil, o.world, e.n)) }
	want := known(t, o, formQuery, func(e *event) bool { return e.scene.service != "" && transaction(e) == transaction(one) })
	if len(want) < 2 {
		t.Error("a transaction of one event proves little")
	}
	expectEvents(t, p.Entities, want)
}

// readsAuditlogs reads what the SDK has no call for over its transport, by page
// token; every call that it has ends in 404.
func (s *sdk) readsAuditlogs(t *testing.T) {
	server := s.open(t, Options{Dialects: []Dialect{Auditlogs}, AuditlogsLimit: Limit{Requests: -1}})
	now := time.Now().UTC()
	query := args{"filter": "type=configuration", "pageSize": 100,
		"dateFrom": now.Add(-24 * time.Hour).Format("2006-01-02T15:04:05.000Z"), "dateTo": now.Format("2006-01-02T15:04:05.000Z")}
	var events []any
	for range 100 {
		o := s.order(t, args{"do": "get", "path": "/api/v2/auditlogs", "query": query})
		var p struct {
			Entities []any
			NextPage string
		}
		if err := json.Unmarshal(o.Result, &p); err != nil {
			t.Fatalf("%v: %+v", err, o)
		}
		events = append(events, p.Entities...)
		if p.NextPage == "" {
			break
		}
		query["pageToken"] = p.NextPage
	}
	if len(events) < 1000 {
		t.Errorf("%d events read: that proves little", len(events))
	}
	expectEvents(t, events, known(t, server.Org, formAuditlogs, func(e *event) bool { return e.scene.typ == "configuration" }))

	possible := args{"body": inquire("Routing", nil), "transaction_id": "any"}
	for _, method := range s.methods() {
		o := s.try(t, method, args{})
		for missing, value := range possible { // a call says with TypeError what it needs
			if o.Raised == "TypeError" {
				if method == "post_audits_query_realtime_related" {
					value = args{"auditId": "any"}
				}
				o = s.try(t, method, args{missing: value})
			}
		}
		expectStatus(t, o, 404)
	}
}

// raises holds that refusals reach the SDK's user as its exception.
func (s *sdk) raises(t *testing.T) {
	server := s.open(t, Options{})
	mapping := func() outcome { return s.try(t, "get_audits_query_servicemapping", args{}) }
	id := s.submit(t, "Routing", args{})
	for name, c := range map[string]struct {
		status int
		method string
		args   args
	}{
		"unknown query":           {404, "get_audits_query_transaction_id", args{"transaction_id": "none"}},
		"results of none":         {404, "get_audits_query_transaction_id_results", args{"transaction_id": "none"}},
		"small page":              {400, "get_audits_query_transaction_id_results", args{"transaction_id": id, "page_size": 24}},
		"large page":              {400, "get_audits_query_transaction_id_results", args{"transaction_id": id, "page_size": 501}},
		"made-up cursor":          {400, "get_audits_query_transaction_id_results", args{"transaction_id": id, "cursor": "none"}},
		"unknown service":         {400, "post_audits_query", args{"body": inquire("routing", nil)}},
		"31 days":                 {400, "post_audits_query", args{"body": inquire("Routing", args{"interval": daysUntilNow(31)})}},
		"action without type":     {400, "post_audits_query", args{"body": inquire("Routing", args{"filters": []args{{"property": "Action", "value": "Update"}}})}},
		"realtime, 15 days ago":   {400, "post_audits_query_realtime", args{"body": inquire("Routing", args{"interval": daysUntilNow(15)})}},
		"realtime, batch service": {400, "post_audits_query_realtime", args{"body": inquire("Telephony", nil)}},
		"related to nothing":      {404, "post_audits_query_realtime_related", args{"body": args{"auditId": "none"}}},
	} {
		t.Run(name, func(t *testing.T) { expectStatus(t, s.try(t, c.method, c.args), c.status) })
	}
	for _, status := range []int{401, 403, 404, 408, 429, 500, 503, 504} { // without Retry-After, which the SDK obeys
		if err := server.Org.Inject(Fault{Kind: StatusCode, Status: status}); err != nil {
			t.Fatal(err)
		}
		expectStatus(t, mapping(), status)
		if o := mapping(); o.Raised != "" {
			t.Errorf("after one %d: %+v", status, o)
		}
	}
	server.Org.ExpireTokens()
	expectStatus(t, mapping(), 401)
	server.Org.SetCredentials("sandbox", "another")
	expectStatus(t, s.login(t, server, ""), 401)
}

// survives strikes the same call before and after it is applied: the SDK
// repeats a request whose answer is lost, and an obedient wait is no violation.
func (s *sdk) survives(t *testing.T) {
	server := s.open(t, Options{})
	for _, c := range []struct {
		fault Fault
		jobs  uint64 // queries that the organisation has then taken
	}{
		{Fault{Kind: ResetBefore, Endpoint: EndpointSubmit}, 1},
		{Fault{Kind: ResetAfter, Endpoint: EndpointSubmit}, 2},
		{Fault{Kind: TooMany, Endpoint: EndpointSubmit, RetryAfter: time.Second}, 1},
	} {
		before := server.Org.jobs.number
		if err := server.Org.Inject(c.fault); err != nil {
			t.Fatal(err)
		}
		events, _ := s.results(t, s.submit(t, "Routing", args{}), formQuery)
		expectEvents(t, events, known(t, server.Org, formQuery, ofService("Routing")))
		if n := server.Org.jobs.number - before; n != c.jobs {
			t.Errorf("%s: %d queries were taken, not %d", c.fault.Kind, n, c.jobs)
		}
	}
	stats := server.Org.Stats()
	if n := stats.Requests[EndpointSubmit][429]; n != 1 || stats.Violations != (Violations{}) {
		t.Errorf("429 was answered %d times, violations %+v", n, stats.Violations)
	}
}

// refreshes has the SDK replace an access token that expires, twice: each
// refresh token is good for once.
func (s *sdk) refreshes(t *testing.T) {
	server := s.open(t, Options{RefreshToken: "the-first"})
	for range 2 {
		server.Org.ExpireTokens()
		mapping := answerTo[mappingAnswer](t, s, "get_audits_query_servicemapping", args{})
		expectMapping(t, mapping, server.Org.taxonomy.all())
	}
	stats := server.Org.Stats()
	if n := stats.Requests[EndpointMapping][401]; n != 2 {
		t.Errorf("%d calls found their token expired, not 2", n)
	}
}
