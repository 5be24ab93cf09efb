package sandbox

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// ErrUnknown is a name that the sandbox does not know.
var ErrUnknown = errors.New("sandbox: unknown")

// FaultKind is a way in which a request goes wrong.
type FaultKind string

// Every fault that can be injected. "Not applied" means that the request had no
// effect, "applied" that it had and only its answer was spoilt. Lateness is no
// fault of a request: see SetLateness. Odd events: see Oddities.
const (
	// Instead of an answer; the request is not applied.
	StatusCode  FaultKind = "status"       // Status, e.g. 403, 408, 500, 502, 503, 504
	TooMany     FaultKind = "too-many"     // 429; RetryAfter, as a date with HTTPDate; Escalate doubles it for who comes too early
	ResetBefore FaultKind = "reset-before" // connection reset before anything was done
	Hang        FaultKind = "hang"         // no answer until the client gives up, at most Delay (2 minutes)
	HTML        FaultKind = "html"         // 200, or Status, with a gateway's page
	EmptyBody   FaultKind = "empty-body"   // 200 with nothing
	NoEntities  FaultKind = "no-entities"  // 200 with JSON that has no entities array
	Redirect    FaultKind = "redirect"     // 302 to itself, for ever
	Firewall    FaultKind = "firewall"     // 403 with a firewall's page and Retry-After (1 s)

	// The answer's way back; the request is applied.
	ResetAfter      FaultKind = "reset-after"      // connection reset before the first byte of the answer
	ResetBody       FaultKind = "reset-body"       // connection reset in the middle of the body
	TruncatedLength FaultKind = "truncated-length" // fewer bytes than Content-Length says
	TruncatedChunks FaultKind = "truncated-chunks" // chunked, without its end
	CutJSON         FaultKind = "cut-json"         // half a body that looks whole
	Trickle         FaultKind = "trickle"          // the body in 20 pieces, Delay between them
	Slow            FaultKind = "slow"             // whole and right, but after Delay
	Gzip            FaultKind = "gzip"             // compressed, whether asked for or not
	BrokenGzip      FaultKind = "broken-gzip"      // compressed, with its middle damaged
	HugePage        FaultKind = "huge-page"        // Size bytes of white space in front
	WrongDate       FaultKind = "wrong-date"       // Date header off by Shift; 0: it says nothing readable
	BOM             FaultKind = "bom"              // a byte order mark before the JSON

	// Tokens.
	ExpireToken     FaultKind = "expire-token"      // 401, and that access token is dead
	ExpirePageToken FaultKind = "expire-page-token" // 400 invalid.page.token

	// Pages (dialect auditlogs).
	Repeat      FaultKind = "repeat"       // the page begins again with the last Events (3) of the page before
	MovingPages FaultKind = "moving-pages" // Events (3) new ones appear on both sides of the cursor, and as many are shown again
	StuckPage   FaultKind = "stuck-page"   // nextPage is the page that was asked for
	EmptyPage   FaultKind = "empty-page"   // no entities, but a nextPage

	// Dialect query.
	QueryFailed     FaultKind = "query-failed"     // the query ends Failed
	QueryCancelled  FaultKind = "query-cancelled"  // the query ends Cancelled
	QueryStuck      FaultKind = "query-stuck"      // the query never ends
	QuerySlow       FaultKind = "query-slow"       // the query runs for Delay and then succeeds
	ResultsExpired  FaultKind = "results-expired"  // its results are gone: 404
	ResultsRedirect FaultKind = "results-redirect" // 302 to a file on the download host
	ResultsDownload FaultKind = "results-download" // downloadUrl instead of entities

	// What a reading of several pages comes to. Cap is known to all dialects (a
	// chain ends at it without a cursor), the others to realtime.
	Cap         FaultKind = "cap"           // no more than Events (10,000) are shown, nor told of; pages past them are empty
	CapRepeat   FaultKind = "cap-repeat"    // the same, but pages past them repeat the last one
	CapTotal    FaultKind = "cap-total"     // no more are shown; total is capped, pageCount is not
	CapPages    FaultKind = "cap-pages"     // no more are shown; pageCount is capped, total is not
	Ties        FaultKind = "ties"          // events of one millisecond come in another order at each request
	NoTotal     FaultKind = "no-total"      // there is no total
	NoPageCount FaultKind = "no-page-count" // there is no pageCount
	ShortPage   FaultKind = "short-page"    // the last page lacks Events (3) that total counts

	// Service mappings.
	EmptyMapping FaultKind = "empty-mapping" // no services
	LacksService FaultKind = "lacks-service" // without Service
)

// FaultKinds is every kind.
var FaultKinds = []FaultKind{
	StatusCode, TooMany, ResetBefore, Hang, HTML, EmptyBody, NoEntities, Redirect, Firewall,
	ResetAfter, ResetBody, TruncatedLength, TruncatedChunks, CutJSON, Trickle, Slow, Gzip, BrokenGzip, HugePage, WrongDate, BOM,
	ExpireToken, ExpirePageToken,
	Repeat, MovingPages, StuckPage, EmptyPage,
	QueryFailed, QueryCancelled, QueryStuck, QuerySlow, ResultsExpired, ResultsRedirect, ResultsDownload,
	Cap, CapRepeat, CapTotal, CapPages, Ties, NoTotal, NoPageCount, ShortPage,
	EmptyMapping, LacksService,
}

// Fault makes requests go wrong: those of an endpoint and page that it matches,
// after the first Skip of them, Count of them in all.
type Fault struct {
	Kind        FaultKind `json:"kind"`
	Endpoint    Endpoint  `json:"endpoint,omitempty"`    // "" is every endpoint but the token's
	Page        string    `json:"page,omitempty"`        // "first", "later", "" for any
	Skip        int       `json:"skip,omitempty"`        // matching requests that are spared first
	Count       int       `json:"count,omitempty"`       // requests to strike; 0 is 1, or any number where Probability is set; -1 is any number
	Probability float64   `json:"probability,omitempty"` // of striking; 0 is always

	// The scope: which requests, where not all of them.
	Service string        `json:"service,omitempty"` // that ask for this service, or AllServices
	From    time.Time     `json:"from,omitzero"`     // whose interval meets [From, Until)
	Until   time.Time     `json:"until,omitzero"`    // zero: the millisecond of From
	Holding bool          `json:"holding,omitempty"` // rather: whose answer would hold an event of [From, Until)
	Longer  time.Duration `json:"-"`                 // whose interval is longer
	Older   time.Duration `json:"-"`                 // whose interval ended so long ago or longer
	Younger time.Duration `json:"-"`                 // whose interval ended less long ago
	For     time.Duration `json:"-"`                 // it is disarmed after so long; 0: when Count says so

	Status     int           `json:"status,omitempty"` // 0 is 503
	RetryAfter time.Duration `json:"-"`                // whole seconds
	HTTPDate   bool          `json:"httpDate,omitempty"`
	Escalate   bool          `json:"escalate,omitempty"`
	Delay      time.Duration `json:"-"`
	Shift      time.Duration `json:"-"`
	Size       int64         `json:"size,omitempty"`
	Events     int           `json:"events,omitempty"`
}

// armed is a fault on its way.
type armed struct {
	Fault
	left int       // requests still to strike, -1 for any number
	ends time.Time // zero: not by time
}

// faults are the armed ones, in the order of injection.
type faults struct {
	mu     sync.Mutex
	armed  []*armed
	luck   dice
	struck map[FaultKind]int
}

// Inject arms faults. A request is struck by the first one that matches it.
func (o *Org) Inject(list ...Fault) error {
	for _, f := range list {
		if !slices.Contains(FaultKinds, f.Kind) {
			return fmt.Errorf("%w: fault %q", ErrUnknown, f.Kind)
		}
	}
	o.faults.mu.Lock()
	defer o.faults.mu.Unlock()
	for _, f := range list {
		a := &armed{Fault: f, left: f.Count}
		if f.For > 0 {
			a.ends = o.now().Add(f.For)
		}
		if f.Count == 0 {
			a.left = 1
			if f.Probability > 0 || f.For > 0 {
				a.left = -1
			}
		}
		o.faults.armed = append(o.faults.armed, a)
	}
	return nil
}

// ClearFaults disarms those of these kinds; all without a kind.
func (o *Org) ClearFaults(kinds ...FaultKind) {
	o.faults.mu.Lock()
	defer o.faults.mu.Unlock()
	o.faults.armed = slices.DeleteFunc(o.faults.armed, func(a *armed) bool {
		return len(kinds) == 0 || slices.Contains(kinds, a.Kind)
	})
}

// RandomFaults is one of every kind that a request survives by being repeated,
// each with a probability.
func RandomFaults(probability float64) []Fault {
	var list []Fault
	for _, kind := range FaultKinds {
		f := Fault{Kind: kind, Probability: probability, Delay: 50 * time.Millisecond, RetryAfter: time.Second}
		switch kind {
		case StatusCode:
			for _, status := range []int{408, 500, 502, 503, 504} {
				f.Status = status
				list = append(list, f)
			}
			continue
		case Hang:
			f.Delay = 2 * time.Second
		case HugePage:
			f.Size = 1 << 20
		case WrongDate, StuckPage, QueryStuck, Redirect, // these do not pass by themselves
			Cap, CapRepeat, CapTotal, CapPages, Ties, ShortPage, EmptyMapping, LacksService: // these are doubted only when they last
			continue
		}
		list = append(list, f)
	}
	return list
}

// strike chooses the fault for a request, nil for none.
func (f *faults) strike(c *call) *Fault {
	return f.first(c, func(f *Fault) bool { return !f.Holding && !slices.Contains(conditions, f.Kind) })
}

// poison chooses the fault for a request by what its answer holds, nil for none.
func (f *faults) poison(c *call, a *answer) *Fault {
	if len(a.shown) == 0 {
		return nil
	}
	return f.first(c, func(f *Fault) bool {
		return f.Holding && !slices.Contains(conditions, f.Kind) && f.holds(a)
	})
}

// first returns a copy of the first armed fault that matches the request and
// suits, and counts it; nil for none.
func (f *faults) first(c *call, suits func(*Fault) bool) *Fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.armed) == 0 {
		return nil
	}
	f.armed = slices.DeleteFunc(f.armed, func(a *armed) bool { return !a.ends.IsZero() && !c.now.Before(a.ends) })
	for i, a := range f.armed {
		if !a.matches(c) || !suits(&a.Fault) {
			continue
		}
		if a.Skip > 0 {
			a.Skip--
			continue
		}
		if a.Probability > 0 && !f.luck.chance(a.Probability) {
			continue
		}
		if a.left > 0 {
			a.left--
		}
		if a.left == 0 {
			f.armed = slices.Delete(f.armed, i, i+1)
		}
		f.struck[a.Kind]++
		hit := a.Fault
		return &hit
	}
	return nil
}

func (f *Fault) matches(c *call) bool {
	switch {
	case f.Endpoint != "" && f.Endpoint != c.endpoint,
		f.Endpoint == "" && c.endpoint == EndpointToken,
		f.Page == "first" && c.laterPage(),
		f.Page == "later" && !c.laterPage(),
		!f.meets(c):
		return false
	}
	switch f.Kind {
	case Repeat, MovingPages, StuckPage, EmptyPage:
		return c.endpoint == EndpointAuditlogs
	case ExpirePageToken:
		return c.laterPage() && (c.endpoint == EndpointAuditlogs || c.endpoint == EndpointResults)
	case QueryFailed, QueryCancelled, QueryStuck, QuerySlow:
		return c.endpoint == EndpointSubmit
	case ResultsExpired, ResultsRedirect, ResultsDownload:
		return c.endpoint == EndpointResults
	case ExpireToken:
		return c.endpoint != EndpointToken
	case CapRepeat, CapTotal, CapPages, Ties, NoTotal, NoPageCount, ShortPage:
		return c.endpoint == EndpointRealtime
	case EmptyMapping, LacksService:
		return c.endpoint == EndpointMapping || c.endpoint == EndpointRealtimeMapping
	}
	return true
}

func (f *Fault) is(kind FaultKind) bool { return f != nil && f.Kind == kind }

// events is how many events a page fault is about.
func (f *Fault) events() int {
	if f.Events > 0 {
		return f.Events
	}
	return 3
}

// retryAfter is the header's text in the form that the fault asks for.
func (f *Fault) retryAfter(now time.Time) string {
	if f.HTTPDate {
		return now.Add(f.RetryAfter).UTC().Format(http.TimeFormat)
	}
	return seconds(f.RetryAfter)
}

// seconds are whole ones, rounded up.
func seconds(d time.Duration) string {
	return string(appendJSON(nil, int((d+time.Second-1)/time.Second)))
}

// describe lists the armed faults for a human.
func (f *faults) describe() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var lines []string
	for _, a := range f.armed {
		lines = append(lines, strings.TrimSpace(fmt.Sprintf("%s %s %s left=%d p=%g", a.Kind, a.Endpoint, a.Page, a.left, a.Probability)))
	}
	return lines
}
