package genesys

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
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

	account *account // nil: not limited
	nodes   int      // that it is charged with
	kept    int      // events that it is charged with
	short   bool     // there was no room for it
}

func (a *answer) free() {
	a.header, a.read = nil, false
	clear(a.events)
	if a.account != nil {
		a.account.of.put(a)
	}
}

// Memory for a body is taken in steps: a length that somebody tells is not
// believed beyond trustedLength.
const (
	firstBody     = 16 << 10
	trustedLength = 4 << 20
)

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
		from, hint = a.gz, 8*min(hint, trustedLength) // JSON packs about that well
	default:
		return fmt.Errorf("unknown content encoding %.20q", encoding)
	}
	if hint > 0 {
		if err := a.grow(int(min(hint, limit, trustedLength)) + 1); err != nil { // one more shows that it ends there
			return err
		}
	}
	for {
		if len(a.body) == cap(a.body) {
			if err := a.grow(max(2*cap(a.body), firstBody)); err != nil {
				return err
			}
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

// grow makes room for a body. For a moment there are two, and both are charged.
func (a *answer) grow(size int) error {
	old := cap(a.body)
	if size <= old {
		return nil
	}
	if err := a.charge(size); err != nil {
		return err
	}
	body := make([]byte, len(a.body), size)
	copy(body, a.body)
	a.body = body
	a.credit(old)
	return nil
}

// A page of audit events has a node in some 12 bytes. One that has half as many
// more is read at once; of others the nodes are counted first.
const bytesPerNode = 8

// document reads the body as JSON, once.
func (a *answer) document() (jsonscan.Value, error) {
	if a.read {
		return a.doc.Root(), nil
	}
	// RFC 8259, 8.1: a parser may ignore a byte order mark. Events are slices
	// of what follows it.
	text := bytes.TrimPrefix(a.body, []byte("\xef\xbb\xbf"))
	usual := len(text)/bytesPerNode + 64
	if len(text) > keptBody {
		usual = mostNodes(text)
	}
	err := a.parse(text, usual)
	if errors.Is(err, jsonscan.ErrTooManyValues) {
		err = a.parse(text, mostNodes(text))
	}
	var syntax *jsonscan.SyntaxError
	switch {
	case errors.Is(err, jsonscan.ErrTooManyValues):
		return jsonscan.Value{}, &tooLargeError{int64(len(a.body))}
	case errors.As(err, &syntax):
		return jsonscan.Value{}, a.malformed(err.Error())
	case err != nil:
		return jsonscan.Value{}, err
	}
	a.read = true
	return a.doc.Root(), nil
}

// parse reads a text that has at most so many nodes.
func (a *answer) parse(text []byte, nodes int) error {
	nodes = min(nodes, jsonscan.DefaultMaxValues)
	if more := nodes - a.nodes; more > 0 {
		if err := a.charge(more * nodeBytes); err != nil {
			return err
		}
		a.nodes = nodes
	}
	a.doc.MaxValues = a.nodes
	err := a.doc.Parse(text)
	if unused := a.nodes - a.doc.Cap(); unused > 0 {
		a.credit(unused * nodeBytes)
		a.nodes -= unused
	}
	return err
}

// mostNodes returns how many nodes a text has at most: each but the first comes
// behind one of these.
func mostNodes(text []byte) int {
	n := 1
	for _, c := range []byte{',', ':', '{', '['} {
		n += bytes.Count(text, []byte{c})
	}
	return n
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
	return list, a.countEvents(list)
}

// countEvents charges for the events of a list.
func (a *answer) countEvents(list jsonscan.Value) error {
	n := 0
	for e := list.Elements(); e.Next(); {
		n++
	}
	if more := n - a.kept; more > 0 {
		if err := a.charge(more * eventBytes); err != nil {
			return err
		}
		a.kept = n
	}
	return nil
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
	list := a.doc.Root()
	if list.Kind() != jsonscan.Array { // a file of results is nothing else
		list = list.Get("entities")
	}
	a.events = slices.Grow(a.events[:0], a.kept)
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
