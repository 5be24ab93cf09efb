package sandbox

import (
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
		"contextId", "5a0d6e7c-0000-4000-8000-000000000000", "details", array{}, "errors", array{})))
}

// gateway is the page of something between client and API.
func gateway(status int) *answer {
	a := &answer{status: status, header: http.Header{}}
	a.body = []byte("<!DOCTYPE html>\n<html><head><title>Service unavailable</title></head>\n" +
		"<body><h1>We'll be right back</h1><p>Reference #18.2f3a1502</p></body></html>\n")
	return a.with("Content-Type", "text/html; charset=utf-8")
}
