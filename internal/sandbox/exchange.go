package sandbox

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// call is one request on its way through the organisation.
type call struct {
	*http.Request
	endpoint Endpoint
	now      time.Time
	sent     []byte // the request's body
	fault    *Fault // nil: all goes well
	org      *Org
	asks     *scope // see scopeOf
	atOnce   int64  // requests of dialect realtime under way when it came, with it; 0 for others

	correlation string // the answer's ININ-Correlation-Id, "" where it has none
}

const maxRequestBody = 1 << 20

// laterPage tells whether the request continues a chain of pages.
func (c *call) laterPage() bool {
	switch c.endpoint {
	case EndpointAuditlogs:
		return c.URL.Query().Get("pageToken") != ""
	case EndpointResults:
		return c.URL.Query().Get("cursor") != ""
	case EndpointRealtime:
		return pageNumber(c.sent) > 1
	}
	return false
}

// serve takes a request through limits, faults, authentication and its handler,
// and remembers what came of it.
func (o *Org) serve(w http.ResponseWriter, r *http.Request, endpoint Endpoint, respond func(*call) *answer) {
	o.stats.enter()
	defer o.stats.leave()
	c := &call{Request: r, endpoint: endpoint, now: o.now(), org: o}
	c.sent, _ = io.ReadAll(io.LimitReader(r.Body, maxRequestBody))
	o.journal.reveal(c.now.UnixMilli())
	if endpoint == EndpointRealtime {
		c.atOnce = o.flying.Add(1)
		defer o.flying.Add(-1)
	}
	pause(r.Context(), o.options.Latency)

	a := o.decide(c, respond)
	defer a.release()
	c.correlation = o.correlate(a)
	o.stats.record(c, a)
	o.deliver(w, c, a)
}

func (o *Org) decide(c *call, respond func(*call) *answer) *answer {
	quota, refusal := o.admit(c)
	if refusal != nil {
		return refusal
	}
	if o.crowded(c) {
		o.stats.violate(func(v *Violations) { v.OverLimit++ })
		return tooMany("1").merge(quota)
	}
	c.fault = o.faults.strike(c)
	if a := o.instead(c); a != nil {
		return a.merge(quota)
	}
	if c.endpoint != EndpointToken && c.endpoint != EndpointDownload && !o.tokens.valid(bearer(c.Request), c.now) {
		return failure(http.StatusUnauthorized, "bad.credentials", "Invalid login credentials.").merge(quota)
	}
	if refusal := o.forbidden(c.endpoint); refusal != nil {
		return refusal.merge(quota)
	}
	a := respond(c)
	if f := o.faults.poison(c, a); f != nil {
		c.fault = f
		if spoilt := o.instead(c); spoilt != nil {
			a.release()
			a = spoilt
		}
	}
	return a.merge(quota)
}

// merge adds headers that the answer does not have.
func (a *answer) merge(header http.Header) *answer {
	for name, values := range header {
		if a.header == nil {
			a.header = http.Header{}
		}
		a.header[name] = values
	}
	return a
}

func tooMany(retryAfter string) *answer {
	return failure(http.StatusTooManyRequests, "too.many.requests", "Rate limit exceeded the maximum.").
		with("Retry-After", retryAfter)
}

// instead is the answer of a fault that keeps the request from being applied;
// nil where there is none.
func (o *Org) instead(c *call) *answer {
	f := c.fault
	if f == nil {
		return nil
	}
	switch f.Kind {
	case StatusCode:
		return statusAnswer(f.Status)
	case TooMany:
		if limits := o.limitsOf(c.endpoint); limits != nil {
			limits[len(limits)-1].punish(c.now, f.RetryAfter, f.Escalate)
		}
		return tooMany(f.retryAfter(c.now))
	case ResetBefore:
		return &answer{lost: true}
	case Hang:
		return &answer{hang: true}
	case HTML:
		return gateway(cmp.Or(f.Status, http.StatusOK))
	case Firewall:
		return firewall().with("Retry-After", f.retryAfter(c.now))
	case EmptyBody:
		return jsonAnswer(http.StatusOK, nil)
	case NoEntities:
		return document(obj("message", "partial content", "status", 200))
	case Redirect:
		return failure(http.StatusFound, "moved", "Moved").with("Location", c.URL.RequestURI())
	case ExpireToken:
		o.tokens.revoke(bearer(c.Request))
	case ExpirePageToken:
		return invalidPageToken()
	}
	return nil
}

func statusAnswer(status int) *answer {
	switch status {
	case 0:
		return failure(http.StatusServiceUnavailable, "service.unavailable", "The service is unavailable.")
	case http.StatusForbidden:
		return missingPermission(PermissionAudits)
	case http.StatusBadGateway, http.StatusGatewayTimeout:
		return gateway(status)
	}
	return failure(status, strings.ReplaceAll(strings.ToLower(http.StatusText(status)), " ", "."), http.StatusText(status))
}

// deliver sends an answer, or what its fault leaves of it, and marks its events
// as shown when it was served to the end.
func (o *Org) deliver(w http.ResponseWriter, c *call, a *answer) {
	switch {
	case a.lost || c.fault.is(ResetAfter):
		reset(w)
	case a.hang:
		limit := c.fault.Delay
		if limit == 0 {
			limit = 2 * time.Minute
		}
		pause(c.Context(), limit)
		reset(w)
	}
	header := w.Header()
	header.Set("Date", o.date(c.now).UTC().Format(http.TimeFormat))
	for name, values := range a.header {
		header[name] = values
	}
	if c.fault.is(WrongDate) {
		header.Set("Date", "a quarter past two")
		if c.fault.Shift != 0 {
			header.Set("Date", c.now.Add(c.fault.Shift).UTC().Format(http.TimeFormat))
		}
	}
	if o.transmit(w, c, a) {
		for _, e := range a.shown {
			e.shown.Or(1 << a.form)
		}
	}
}

// transmit sends the body and tells whether all of it went.
func (o *Org) transmit(w http.ResponseWriter, c *call, a *answer) bool {
	f := c.fault
	body := a.body
	if readable := func(*Fault) bool { return a.ours() && len(a.body) > 0 }; o.condition(c, readable, BOM) != nil {
		body = append([]byte("\ufeff"), body...)
	}
	if o.compresses(c, a) {
		body = compress(body)
		w.Header().Set("Content-Encoding", "gzip")
	}
	if f == nil {
		return send(w, a.status, len(body), body)
	}
	half := body[:len(body)/2]
	switch f.Kind {
	case ResetBody:
		send(w, a.status, len(body), half)
		flush(w)
		reset(w)
	case TruncatedLength:
		send(w, a.status, len(body), half)
		return false // net/http closes the connection: less was written than declared
	case TruncatedChunks:
		send(w, a.status, -1, half)
		flush(w)
		panic(http.ErrAbortHandler) // closes without the last chunk
	case CutJSON:
		send(w, a.status, len(half), half)
		return false
	case BrokenGzip:
		for i := len(body) / 2; i < min(len(body)/2+8, len(body)); i++ {
			body[i] ^= 0x5a
		}
		send(w, a.status, len(body), body)
		return false
	case Trickle:
		return trickle(c.Context(), w, a.status, body, f.Delay)
	case HugePage:
		padding := bytes.Repeat([]byte(" "), 64<<10)
		w.WriteHeader(a.status)
		for sent := int64(0); sent < f.Size; sent += int64(len(padding)) {
			if _, err := w.Write(padding); err != nil {
				return false
			}
		}
		_, err := w.Write(body)
		return err == nil
	case Slow:
		pause(c.Context(), f.Delay)
		if c.Context().Err() != nil {
			return false
		}
	}
	return send(w, a.status, len(body), body)
}

func (o *Org) compresses(c *call, a *answer) bool {
	switch {
	case len(a.body) == 0:
		return false
	case c.fault.is(Gzip), c.fault.is(BrokenGzip):
		return true
	}
	return o.options.Gzip && strings.Contains(c.Header.Get("Accept-Encoding"), "gzip")
}

func compress(body []byte) []byte {
	var packed bytes.Buffer
	z, err := gzip.NewWriterLevel(&packed, gzip.BestSpeed)
	if err != nil {
		panic("sandbox: " + err.Error()) // the level is a constant
	}
	_, _ = z.Write(body) // a bytes.Buffer takes everything
	_ = z.Close()
	return packed.Bytes()
}

// send writes status, declared length (-1: none) and body.
func send(w http.ResponseWriter, status, length int, body []byte) bool {
	if length >= 0 {
		w.Header().Set("Content-Length", strconv.Itoa(length))
	}
	w.WriteHeader(status)
	_, err := w.Write(body)
	return err == nil
}

func flush(w http.ResponseWriter) { _ = http.NewResponseController(w).Flush() }

func trickle(ctx context.Context, w http.ResponseWriter, status int, body []byte, delay time.Duration) bool {
	const pieces = 20
	if !send(w, status, len(body), nil) {
		return false
	}
	for i := range pieces {
		if i > 0 {
			pause(ctx, delay)
		}
		if _, err := w.Write(body[len(body)*i/pieces : len(body)*(i+1)/pieces]); err != nil || ctx.Err() != nil {
			return false
		}
		flush(w)
	}
	return true
}

// reset ends the connection with a TCP reset and does not return.
func reset(w http.ResponseWriter) {
	if conn, _, err := http.NewResponseController(w).Hijack(); err == nil {
		if tls, ok := conn.(interface{ NetConn() net.Conn }); ok {
			conn = tls.NetConn()
		}
		if tcp, ok := conn.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0) // close sends RST instead of FIN
		}
		_ = conn.Close()
	}
	panic(http.ErrAbortHandler)
}

// pause waits, but not longer than ctx.
func pause(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
