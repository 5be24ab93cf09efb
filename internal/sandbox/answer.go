package sandbox

import (
	"bytes"
	"net/http"
	"sync"
)

// answer is what the organisation says to a request, before it goes on its way.
type answer struct {
	status int
	header http.Header
	body   []byte
	buffer *[]byte  // set: body lies in it, and it goes back to buffers
	shown  []*event // the events in the body
	form   form     // in which they stand there
	lost   bool     // nothing is sent at all: the connection is reset
	hang   bool     // nothing is sent until the client gives up
}

var buffers = sync.Pool{New: func() any { return new([]byte) }}

func (a *answer) release() {
	if a.buffer != nil {
		*a.buffer = a.body[:0]
		buffers.Put(a.buffer)
		a.body, a.buffer = nil, nil
	}
}

func (a *answer) with(header, value string) *answer {
	a.header.Set(header, value)
	return a
}

func jsonAnswer(status int, body []byte) *answer {
	a := &answer{status: status, header: http.Header{}, body: body}
	return a.with("Content-Type", "application/json")
}

func document(o object) *answer { return jsonAnswer(http.StatusOK, appendJSON(nil, o)) }

// failure is an error as the platform words it.
func failure(status int, code, message string) *answer {
	return jsonAnswer(status, appendJSON(nil, obj(
		"message", message, "code", code, "status", status,
		"contextId", noContext, "details", array{}, "errors", array{})))
}

// noContext stands for the id of an error until correlate gives it one.
const noContext = "5a0d6e7c-0000-4000-8000-000000000000"

// ours reports whether the answer is the API's own, not that of something before it.
func (a *answer) ours() bool { return a.header.Get("Content-Type") == "application/json" }

// correlate gives an answer of the API the id that support asks for first, in a
// header and, where it is an error, in the body too.
func (o *Org) correlate(a *answer) string {
	if !a.ours() {
		return ""
	}
	d := roll(o.world.seed^0x696e696e, o.answers.Add(1))
	id := string(d.uuid(nil))
	a.with("ININ-Correlation-Id", id)
	if a.status >= 300 {
		a.body = bytes.Replace(a.body, []byte(noContext), []byte(id), 1)
	}
	return id
}

// firewall is the refusal of something between client and API.
func firewall() *answer {
	a := &answer{status: http.StatusForbidden, header: http.Header{}}
	a.body = []byte("<html><head><title>Request blocked</title></head>\n" +
		"<body><h1>403 Forbidden</h1><p>This request was blocked by the security rules.</p></body></html>\n")
	return a.with("Content-Type", "text/html")
}

// gateway is the page of something between client and API.
func gateway(status int) *answer {
	a := &answer{status: status, header: http.Header{}}
	a.body = []byte("<!DOCTYPE html>\n<html><head><title>Service unavailable</title></head>\n" +
		"<body><h1>We'll be right back</h1><p>Reference #18.2f3a1502</p></body></html>\n")
	return a.with("Content-Type", "text/html; charset=utf-8")
}
