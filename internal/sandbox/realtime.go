package sandbox

import (
	"encoding/json"
	"net/http"
	"slices"
	"time"
)

// RealtimeRetention is how far back dialect realtime answers.
const RealtimeRetention = 14 * 24 * time.Hour

// realtime is POST /api/v2/audits/query/realtime. Its pages are cut anew at
// every request: they move when events arrive.
func (o *Org) realtime(c *call) *answer {
	q, refusal := o.understandInquiry(c, o.taxonomy.realtime())
	if refusal != nil {
		return refusal
	}
	if longest := o.options.RealtimeSpan; longest > 0 && q.until-q.from > longest.Milliseconds() {
		pause(c.Context(), o.options.RealtimeHang)
		return failure(http.StatusGatewayTimeout, "gateway.timeout", "The request timed out.")
	}
	q.fast = o.taxonomy.fast
	setDefault(&q.PageNumber, 1)
	setDefault(&q.PageSize, queryMinPage)
	if q.PageNumber < 1 || q.PageSize < 1 || q.PageSize > queryMaxPage {
		return badRequest("pageNumber is from 1, pageSize 1 to 500")
	}
	oldest := o.eventTime().Add(-RealtimeRetention).UnixMilli()
	if q.from < oldest {
		o.stats.violate(func(v *Violations) { v.OutsideRetention++ })
		return badRequest("interval begins more than 14 days ago")
	}
	page := o.numbered(c, &q, o.tied(c, o.find(&q, oldest)))
	head := obj("pageSize", q.PageSize, "pageNumber", q.PageNumber)
	if o.condition(c, always, NoTotal) == nil {
		head = append(head, member{"total", page.total})
	}
	if o.condition(c, always, NoPageCount) == nil {
		head = append(head, member{"pageCount", page.pages})
	}
	return o.entities(head, page.events, shapeOf(c.URL.Query().Get("expand")))
}

// pageNumber is the one that a body asks for.
func pageNumber(body []byte) int {
	var q inquiry
	if json.Unmarshal(body, &q) != nil {
		return 0
	}
	return q.PageNumber
}

// related is POST /api/v2/audits/query/realtime/related: the events of the same
// transaction.
func (o *Org) related(c *call) *answer {
	var asked struct{ AuditID string }
	if err := json.Unmarshal(c.sent, &asked); err != nil || asked.AuditID == "" {
		return badRequest("auditId is required")
	}
	events, visible := o.journal.all()
	events = events[:visible]
	transaction := func(e *event) string { return string(appendTransactionID(nil, o.world, e.n)) }
	i := slices.IndexFunc(events, func(e *event) bool { return e.id == asked.AuditID && e.scene.service != "" })
	if i < 0 {
		return failure(http.StatusNotFound, "not.found", "There is no such event.")
	}
	var page []*event
	for _, e := range events {
		if e.scene.service != "" && transaction(e) == transaction(events[i]) {
			page = append(page, e)
		}
	}
	return o.entities(obj("total", len(page)), page, shapeOf(c.URL.Query().Get("expand")))
}
