package genesys

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/klauspost/compress/gzip"

	"genesys-audit-connector/internal/audit"
	"genesys-audit-connector/internal/jsonscan"
)

// answer is a whole answer of the API, in memory that is used again. Whoever
// gets one frees it, or makes a page of it, whose Free does.
type answer struct {
	status int
	header http.Header
	body   []byte
	doc    jsonscan.Doc
	events []audit.Event
	gz     *gzip.Reader
	read   bool // doc holds body
	// When the request was sent and the header came, on our clock.
	sent, received time.Time
}

// answers are those not in use. One that had to grow for a giant body is left
// to the garbage collector.
var answers = sync.Pool{New: func() any { return new(answer) }}

const (
	keptBody   = 4 << 20
	keptEvents = 4096
)

func (a *answer) free() {
	a.header, a.read = nil, false
	clear(a.events)
	if cap(a.body) <= keptBody && cap(a.events) <= keptEvents {
		answers.Put(a)
	}
}

// receive reads the body of an answer to its end, unpacked, at most limit bytes.
func (a *answer) receive(resp *http.Response, limit int64) error {
	a.status, a.header, a.body = resp.StatusCode, resp.Header, a.body[:0]
	hint := resp.ContentLength
	var from io.Reader = resp.Body
	switch encoding := strings.ToLower(resp.Header.Get("Content-Encoding")); encoding {
	case "", "identity":
	case "gzip", "x-gzip":
		if err := a.unpack(from); err != nil {
			return fmt.Errorf("unpack: %w", err)
		}
		from, hint = a.gz, 8*hint // JSON packs about that well
	default:
		return fmt.Errorf("unknown content encoding %.20q", encoding)
	}
	if hint > 0 {
		a.grow(int(min(hint, limit)) + 1) // one more shows that it ends there
	}
	for {
		if len(a.body) == cap(a.body) {
			a.grow(max(2*cap(a.body), 16<<10))
		}
		n, err := from.Read(a.body[len(a.body):cap(a.body)])
		a.body = a.body[:len(a.body)+n]
		switch {
		case int64(len(a.body)) > limit:
			return &tooLargeError{limit}
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		}
	}
}

func (a *answer) unpack(from io.Reader) (err error) {
	if a.gz == nil {
		a.gz, err = gzip.NewReader(from)
		return err
	}
	return a.gz.Reset(from)
}

func (a *answer) grow(size int) {
	if size > cap(a.body) {
		body := make([]byte, len(a.body), size)
		copy(body, a.body)
		a.body = body
	}
}

// document reads the body as JSON, once.
func (a *answer) document() (jsonscan.Value, error) {
	if !a.read {
		// RFC 8259, 8.1: a parser may ignore a byte order mark. Events are slices
		// of what follows it.
		if err := a.doc.Parse(bytes.TrimPrefix(a.body, []byte("\xef\xbb\xbf"))); errors.Is(err, jsonscan.ErrTooManyValues) {
			return jsonscan.Value{}, &tooLargeError{int64(len(a.body))}
		} else if err != nil {
			return jsonscan.Value{}, a.malformed(err.Error())
		}
		a.read = true
	}
	return a.doc.Root(), nil
}

func (a *answer) malformed(reason string) error {
	return &malformedError{a.status, a.header.Get("Content-Type"), reason, a.header.Get(correlationHeader)}
}

// correlationHeader is in every answer of the API: its own id of the answer.
const correlationHeader = "ININ-Correlation-Id"

// correlation returns the API's id of the answer, as it may be shown.
func (a *answer) correlation(secrets *redactor) string {
	return secrets.clean(a.header.Get(correlationHeader))
}

// entities is the array of events. A body without one is no empty page: it is
// what a gateway said, or half an answer.
func (a *answer) entities() (jsonscan.Value, error) {
	root, err := a.document()
	if err != nil {
		return root, err
	}
	list := root.Get("entities")
	if list.Kind() != jsonscan.Array {
		return list, a.malformed("there is no array of entities")
	}
	return list, nil
}

// cursor is a member that leads to the next page; "" where it is absent, null or empty.
func (a *answer) cursor(name string) (string, error) {
	switch v := a.doc.Root().Get(name); v.Kind() {
	case jsonscan.Absent, jsonscan.Null:
		return "", nil
	case jsonscan.String:
		return v.Text(), nil
	default:
		return "", a.malformed(name + " is no string")
	}
}

// number is a member that is a whole number of 0 or more.
func (a *answer) number(name string) (int, error) {
	n, ok := wholeNumber(a.doc.Root().Get(name))
	if !ok {
		return 0, a.malformed(name + " is no number")
	}
	return n, nil
}

// page makes a page of an answer whose entities were found to be there. The
// page owns the answer from here on.
func (a *answer) page() audit.Page {
	list, _ := a.entities()
	a.events = a.events[:0]
	for e := list.Elements(); e.Next(); {
		a.events = append(a.events, audit.NewEvent(e.Value()))
	}
	return audit.Page{Events: a.events, Bytes: len(a.body), Free: a.free}
}

func wholeNumber(v jsonscan.Value) (int, bool) {
	raw := v.Raw()
	if v.Kind() != jsonscan.Number || len(raw) > 9 {
		return 0, false
	}
	n := 0
	for _, c := range raw {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = 10*n + int(c-'0')
	}
	return n, true
}
