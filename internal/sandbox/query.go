package sandbox

import (
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// What the query dialects ask and answer, as the official SDK has it
// (PureCloudPlatformClientV2 269.0.0, models/audit_query_*.py).
const (
	queryMinPage     = 25
	queryMaxPage     = 500
	queryMaxInterval = 30 * 24 * time.Hour
)

// inquiry is the body of a request to either query dialect.
type inquiry struct {
	Interval    string `json:"interval"`
	ServiceName string `json:"serviceName"`
	Filters     []struct {
		Property string `json:"property"`
		Value    string `json:"value"`
	} `json:"filters"`
	Sort []struct {
		Name      string `json:"name"`
		SortOrder string `json:"sortOrder"`
	} `json:"sort"`
	PageNumber int `json:"pageNumber"`
	PageSize   int `json:"pageSize"`

	from, until int64
	descending  bool
	fast        func(service, entityType, action string) bool // dialect realtime: what it shows; nil: everything
}

// job is a submitted query.
type job struct {
	number    uint64
	id        string
	asked     inquiry
	submitted time.Time
	fate      FaultKind // how it ends, where not well
	slow      time.Duration
	found     []*event // fixed when it is first seen to have succeeded
	done      bool
}

// jobs are the queries whose results live.
type jobs struct {
	mu     sync.Mutex
	byID   map[string]*job
	number uint64
}

// understandInquiry reads and checks a request's body.
func (o *Org) understandInquiry(c *call, taxonomy taxonomy) (q inquiry, refusal *answer) {
	if err := json.Unmarshal(c.sent, &q); err != nil {
		return q, badRequest("the body is no JSON")
	}
	from, until, _ := strings.Cut(q.Interval, "/")
	var okFrom, okUntil bool
	q.from, okFrom = parseZoneless(from)
	q.until, okUntil = parseZoneless(until)
	if !okFrom || !okUntil || q.from > q.until {
		return q, badRequest("interval is FROM/TO in ISO 8601")
	}
	if time.Duration(q.until-q.from)*time.Millisecond > queryMaxInterval {
		return q, badRequest("interval is longer than 30 days")
	}
	if _, known := taxonomy[q.ServiceName]; !known && q.ServiceName != "" {
		return q, badRequest("serviceName is not one of servicemapping")
	}
	if q.ServiceName == "" && (o.options.RequireService || c.endpoint == EndpointRealtime) {
		return q, badRequest("serviceName is required: name a service of servicemapping")
	}
	q.descending = true // what an unsorted query gets is documented nowhere: the order that nobody wants
	for _, s := range q.Sort {
		if !strings.EqualFold(s.Name, "Timestamp") {
			return q, badRequest("sort takes Timestamp")
		}
		q.descending = !strings.EqualFold(s.SortOrder, "ascending")
		if q.descending && s.SortOrder != "" && !strings.EqualFold(s.SortOrder, "descending") {
			return q, badRequest("sortOrder is ascending or descending")
		}
	}
	return q, q.checkFilters()
}

func (q *inquiry) checkFilters() *answer {
	var byAction, byType bool
	for _, f := range q.Filters {
		switch f.Property {
		case "Action":
			byAction = true
		case "EntityType":
			byType = true
		case "UserId", "EntityId", "ClientId", "TrusteeOrganizationId":
		default:
			return badRequest("filter property " + f.Property + " is unknown")
		}
	}
	if byAction && !byType {
		return badRequest("a filter by Action needs one by EntityType")
	}
	return nil
}

// parseZoneless takes a UTC time with or without its Z, as the SDK describes
// intervals.
func parseZoneless(text string) (int64, bool) {
	return parseInstant(strings.TrimSuffix(text, "Z") + "Z")
}

// match tells whether an event answers an inquiry.
func (q *inquiry) match(e *event) bool {
	if e.scene.service == "" || q.ServiceName != "" && e.scene.service != q.ServiceName {
		return false
	}
	if q.fast != nil && !q.fast(e.scene.service, e.scene.entityType, e.scene.action) {
		return false
	}
	for _, f := range q.Filters {
		var value string
		switch f.Property {
		case "UserId":
			value = e.actor.id
		case "ClientId":
			value = e.actor.clientID
		case "EntityId":
			value = e.scene.entityID
		case "EntityType":
			value = e.scene.entityType
		case "Action":
			value = e.scene.action
		}
		if value != f.Value {
			return false
		}
	}
	return true
}

// find collects all that answers an inquiry now and is not older than oldest.
func (o *Org) find(q *inquiry, oldest int64) []*event {
	found, _ := o.journal.page(place{at: max(q.from, oldest)}, q.until, 1<<62, q.match)
	if q.descending {
		slices.Reverse(found)
	}
	return found
}

// submit is POST /api/v2/audits/query.
func (o *Org) submit(c *call) *answer {
	q, refusal := o.understandInquiry(c, o.taxonomy.all())
	if refusal != nil {
		return refusal
	}
	if q.from < o.eventTime().Add(-o.options.QueryRetention).UnixMilli() {
		o.stats.violate(func(v *Violations) { v.OutsideRetention++ })
	}
	o.jobs.mu.Lock()
	defer o.jobs.mu.Unlock()
	for id, j := range o.jobs.byID {
		if c.now.Sub(j.submitted) > o.options.ResultsLife {
			delete(o.jobs.byID, id)
		}
	}
	o.jobs.number++
	d := roll(o.world.seed^0x6a6f62, o.jobs.number)
	j := &job{number: o.jobs.number, id: string(d.uuid(nil)), asked: q, submitted: c.now}
	if c.fault != nil {
		switch c.fault.Kind {
		case QueryFailed, QueryCancelled, QueryStuck:
			j.fate = c.fault.Kind
		case QuerySlow:
			j.slow = c.fault.Delay
		}
	}
	o.jobs.byID[j.id] = j
	a := document(j.describe("Queued"))
	a.status = http.StatusAccepted
	return a
}

func (j *job) describe(state string) object {
	filters := array{}
	for _, f := range j.asked.Filters {
		filters = append(filters, obj("property", f.Property, "value", f.Value))
	}
	sorted := array{}
	for _, s := range j.asked.Sort {
		sorted = append(sorted, obj("name", s.Name, "sortOrder", s.SortOrder))
	}
	return obj("id", j.id, "state", state, "startDate", j.submitted.UTC().Format("2006-01-02T15:04:05.000Z"),
		"interval", j.asked.Interval, "serviceName", j.asked.ServiceName, "filters", filters, "sort", sorted)
}

// state is how far the job is; when it has succeeded its results are fixed.
// Needs jobs.mu.
func (o *Org) state(j *job, now time.Time) string {
	elapsed := now.Sub(j.submitted)
	switch {
	case elapsed < o.options.QueryDelay/2:
		return "Queued"
	case elapsed < o.options.QueryDelay+j.slow, j.fate == QueryStuck:
		return "Running"
	case j.fate == QueryFailed:
		return "Failed"
	case j.fate == QueryCancelled:
		return "Cancelled"
	case !j.done:
		j.found = o.find(&j.asked, o.eventTime().Add(-o.options.QueryRetention).UnixMilli())
		j.done = true
	}
	return "Succeeded"
}

// job finds a living query and its state; a nil job is unknown or outlived.
func (o *Org) job(id string, now time.Time) (j *job, state string) {
	o.jobs.mu.Lock()
	defer o.jobs.mu.Unlock()
	j = o.jobs.byID[id]
	if j == nil || now.Sub(j.submitted) > o.options.ResultsLife {
		return nil, ""
	}
	return j, o.state(j, now)
}

func noSuchQuery() *answer {
	return failure(http.StatusNotFound, "not.found", "The query does not exist, or its results have expired.")
}

// queryStatus is GET /api/v2/audits/query/{id}.
func (o *Org) queryStatus(c *call) *answer {
	j, state := o.job(c.PathValue("id"), c.now)
	if j == nil {
		return noSuchQuery()
	}
	return document(j.describe(state))
}

// results is GET /api/v2/audits/query/{id}/results.
func (o *Org) results(c *call) *answer {
	j, state := o.job(c.PathValue("id"), c.now)
	if j == nil || c.fault.is(ResultsExpired) {
		return noSuchQuery()
	}
	if state != "Succeeded" {
		return badRequest("the query is " + state)
	}
	params := c.URL.Query()
	size := queryMinPage
	if text := params.Get("pageSize"); text != "" {
		var err error
		if size, err = strconv.Atoi(text); err != nil || size < queryMinPage || size > queryMaxPage {
			return badRequest("pageSize is 25 to 500")
		}
	}
	shape := shapeOf(params.Get("expand"))
	start := 0
	if cursor := params.Get("cursor"); cursor != "" {
		n, ok := o.unseal("c", cursor, 3)
		if !ok || n[0] != j.number || o.outlived(n[2], o.options.PageTokenLife, c.now) {
			return invalidPageToken()
		}
		start = int(n[1])
	}
	found := o.capped(c, j.found)
	large := o.options.DownloadURL != "" && o.options.DownloadOver > 0 && len(found) > o.options.DownloadOver
	redirects := params.Get("allowRedirect") == "true"
	switch {
	case c.fault.is(ResultsRedirect), large && redirects && o.options.Files == nil:
		return failure(http.StatusFound, "found", "The results are a file.").with("Location", o.downloadURL(j, shape, 0, 0))
	case c.fault.is(ResultsDownload), large && o.options.Files == nil:
		return document(obj("id", j.id, "downloadUrl", o.downloadURL(j, shape, 0, 0)))
	case large && redirects:
		return o.file(c, j, found, start, shape)
	}
	start = min(start, len(found))
	end := min(start+size, len(found))
	cursor := ""
	if end < len(found) {
		cursor = o.seal("c", j.number, uint64(end), uint64(c.now.UnixMilli()))
	}
	return o.resultsPage(j, found[start:end], size, cursor, shape)
}

func shapeOf(expand string) form {
	if slices.Contains(strings.Split(expand, ","), "user") {
		return formExpanded
	}
	return formQuery
}

func (o *Org) resultsPage(j *job, page []*event, size int, cursor string, shape form) *answer {
	head := obj("id", j.id, "pageSize", size)
	if cursor != "" {
		head = head.with("cursor", cursor)
	}
	return o.entities(head, page, shape)
}

// entities is an answer of a few fields and the events.
func (o *Org) entities(head object, page []*event, shape form) *answer {
	buffer := buffers.Get().(*[]byte)
	body := appendJSON((*buffer)[:0], head)
	body = append(body[:len(body)-1], `,"entities":[`...)
	body = o.appendEvents(body, page, shape)
	a := jsonAnswer(http.StatusOK, append(body, "]}"...))
	a.buffer, a.shown, a.form = buffer, page, shape
	return a
}

func (o *Org) appendEvents(dst []byte, events []*event, shape form) []byte {
	for i, e := range events {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = e.appendTo(dst, o.world, shape)
	}
	return dst
}
