package poller

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"

	"genesys-audit-connector/internal/audit"
	"genesys-audit-connector/internal/health"
	"genesys-audit-connector/internal/jsonscan"
	"genesys-audit-connector/internal/offsets"
)

// dice are rolled by many goroutines.
type dice struct {
	mu  sync.Mutex
	rnd *rand.Rand
}

func roll(seed uint64) *dice { return &dice{rnd: rand.New(rand.NewPCG(seed, 1))} }

func (d *dice) IntN(n int) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.rnd.IntN(n)
}

func (d *dice) Float64() float64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.rnd.Float64()
}

// upTo is a duration below most.
func (d *dice) upTo(most time.Duration) time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	return time.Duration(d.rnd.Int64N(int64(most)))
}

// api is an organisation with one stream per name: events that have a time and
// become visible at or after it. It runs on the bubble's clock.
type api struct {
	t         *testing.T
	rnd       *dice
	mu        sync.Mutex               // protects what follows while the poller runs
	events    map[string][]*shownEvent // by stream
	pageSize  int
	retention time.Duration
	fail      float64       // probability that a page fails
	tooOld    int           // readings older than retention
	skew      time.Duration // of Now
	openErr   error
	tooMuch   time.Duration // a longer interval is refused with ErrTooMuch
	reads     []audit.Read
	seen      func() time.Time // the time by which events become visible; nil for ours
	previews  map[string][]audit.Previewed
	replaces  map[string][]string
	continues map[string]string
	refusing  map[string]error // previews that fail
}

type shownEvent struct {
	id      string
	at      time.Time
	visible time.Time
	says    time.Time // the time that the event itself has; zero for at
	preview time.Time // when the stream's preview shows it; zero for never
}

func newAPI(t *testing.T, rnd *dice) *api {
	return &api{t: t, rnd: rnd, events: map[string][]*shownEvent{}, pageSize: 7, retention: 30 * 24 * time.Hour}
}

func (a *api) add(stream, id string, at, visible time.Time) *shownEvent {
	e := &shownEvent{id: id, at: at.UTC().Truncate(time.Millisecond), visible: visible}
	a.events[stream] = append(a.events[stream], e)
	return e
}

func (a *api) Open(context.Context) ([]audit.Stream, error) {
	if a.openErr != nil {
		return nil, a.openErr
	}
	var streams []audit.Stream
	for name := range a.events {
		streams = append(streams, audit.Stream{Name: name, Retention: a.retention, Previews: a.previews[name], Replaces: a.replaces[name], Continues: a.continues[name]})
	}
	slices.SortFunc(streams, func(a, b audit.Stream) int { return len(a.Name) - len(b.Name) })
	return streams, nil
}

func (a *api) Now() time.Time { return time.Now().Add(a.skew) }

var errPage = errors.New("the API failed this page")

// Read serves pages of what is visible when the page is read, behind a cursor.
func (a *api) Read(ctx context.Context, r audit.Read, take func(audit.Page, bool) error) error {
	served := map[string]bool{}
	for {
		time.Sleep(time.Duration(a.rnd.IntN(200)) * time.Millisecond)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		page, more, err := a.page(r, served)
		if err != nil {
			return err
		}
		if err := take(render(a.t, page), !more); err != nil {
			return err
		}
		if !more {
			return nil
		}
	}
}

func (a *api) page(r audit.Read, served map[string]bool) (page []*shownEvent, more bool, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.reads = append(a.reads, r)
	switch {
	case a.tooMuch > 0 && r.Interval.Length() > a.tooMuch:
		return nil, false, fmt.Errorf("%s: %w", r.Interval, ErrTooMuch)
	case r.Interval.From.Before(time.Now().Add(-a.retention)):
		a.tooOld++
	}
	if a.rnd.Float64() < a.fail {
		return nil, false, errPage
	}
	now := time.Now()
	if a.seen != nil {
		now = a.seen()
	}
	if err := a.refusing[r.Preview]; err != nil {
		return nil, false, err
	}
	for _, e := range a.sorted(r.Stream) {
		visible := e.visible
		if r.Preview != "" {
			if visible = e.preview; visible.IsZero() {
				continue
			}
		}
		if r.Interval.Contains(e.at) && !visible.After(now) && !served[e.id] {
			if len(page) == a.pageSize {
				more = true
				break
			}
			page = append(page, e)
		}
	}
	for _, e := range page {
		served[e.id] = true
	}
	if a.rnd.IntN(5) == 0 && len(page) > 0 { // an event that was read before comes again
		page = append(page, page[a.rnd.IntN(len(page))])
	}
	return page, more, nil
}

func (a *api) sorted(stream string) []*shownEvent {
	s := a.events[stream]
	slices.SortStableFunc(s, func(x, y *shownEvent) int { return x.at.Compare(y.at) })
	return s
}

func render(t testing.TB, events []*shownEvent) audit.Page {
	body := []byte("[")
	for i, e := range events {
		if i > 0 {
			body = append(body, ',')
		}
		at := e.at
		if !e.says.IsZero() {
			at = e.says
		}
		body = fmt.Appendf(body, `{"auditId":%q,"timestamp":%q}`, e.id, at.Format(audit.TimeFormat))
	}
	doc := new(jsonscan.Doc)
	if err := doc.Parse(append(body, ']')); err != nil {
		t.Fatal(err)
	}
	var page audit.Page
	for e := doc.Root().Elements(); e.Next(); {
		page.Events = append(page.Events, audit.NewEvent(e.Value()))
	}
	return page
}

// kafka is what is durable: the topics, as a read-committed consumer sees them.
type kafka struct {
	t         *testing.T
	rnd       *dice
	mu        sync.Mutex // protects what follows while the poller runs
	published map[string]int
	times     map[string]time.Time
	astray    map[string]bool
	seen      map[string]time.Time
	ledgers   map[string]offsets.Ledger
	requests  map[string]offsets.Request
	tombs     map[string]bool // in the raw topic
	notes     map[string]int  // of erasures, in the offsets topic
	cleaned   bool            // compaction has removed what was erased, tombstones and all
	token     []byte
	doubt     float64           // probability that a commit ends in doubt, applied or not
	reject    func(*Step) error // what a step is rejected with; nil for not
	capacity  int               // events a step; 0 for the usual
	refuse    map[string]bool
	after     func() // is called after each step that was applied
	each      func() // is called when the raw topic is read
}

func newKafka(t *testing.T, rnd *dice) *kafka {
	return &kafka{
		t: t, rnd: rnd, published: map[string]int{}, times: map[string]time.Time{}, astray: map[string]bool{}, seen: map[string]time.Time{},
		tombs: map[string]bool{}, notes: map[string]int{},
		ledgers: map[string]offsets.Ledger{}, requests: map[string]offsets.Request{}, refuse: map[string]bool{},
	}
}

var errDoubt = errors.New("the commit's answer was lost")

func (k *kafka) Commit(_ context.Context, s *Step) error {
	time.Sleep(time.Duration(k.rnd.IntN(20)) * time.Millisecond)
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.reject != nil {
		if err := k.reject(s); err != nil {
			return err
		}
	}
	for _, e := range s.Events {
		if k.refuse[e.Event.ID] {
			return &RefusedError{ID: e.Event.ID, Topic: "raw", Size: 11 << 20, Limit: 10 << 20}
		}
	}
	doubt := k.rnd.Float64() < k.doubt
	if doubt && k.rnd.IntN(2) == 0 {
		return errDoubt // not applied
	}
	for _, e := range s.Events {
		k.published[e.Event.ID]++
		k.seen[e.Event.ID], k.times[e.Event.ID] = e.Remember, e.Event.Time
		k.astray[e.Event.ID] = e.Event.Problem == Astray
		if k.published[e.Event.ID] > 1 {
			k.t.Errorf("event %s was published %d times", e.Event.ID, k.published[e.Event.ID])
		}
	}
	for _, e := range s.Erase {
		k.tombs[e.ID] = true
		if k.notes[e.ID]++; k.notes[e.ID] > 1 || k.published[e.ID] != 1 || e.By == "" || e.Reason == "" {
			k.t.Errorf("%+v was published %d times, and erased %d times", e, k.published[e.ID], k.notes[e.ID])
		}
	}
	for _, r := range s.Remember {
		k.seen[r.ID] = r.At
	}
	for _, id := range s.Forget {
		delete(k.seen, id)
	}
	for _, id := range s.Done {
		delete(k.requests, id)
	}
	for name, l := range s.Ledgers {
		k.ledgers[name] = k.roundTrip(l)
	}
	if s.Token != nil {
		k.token = s.Token
	}
	if k.after != nil {
		k.after()
	}
	if doubt {
		return errDoubt // applied
	}
	return nil
}

// roundTrip is what a ledger is after it was written and read.
func (k *kafka) roundTrip(l offsets.Ledger) offsets.Ledger {
	b, err := l.MarshalJSON()
	if err != nil {
		k.t.Fatal(err)
	}
	back, err := offsets.ParseLedger(b)
	if err != nil {
		k.t.Fatalf("%s: %v", b, err)
	}
	return back
}

// Each is the raw topic, read back, as far as it was committed when it began.
func (k *kafka) Each(_ context.Context, f func(string, time.Time, bool) error) error {
	k.mu.Lock()
	if k.each != nil {
		k.each()
	}
	times := make(map[string]time.Time)
	astray := maps.Clone(k.astray)
	for id := range k.published {
		switch {
		case !k.tombs[id]:
			times[id] = k.times[id]
		case !k.cleaned:
			times[id] = time.Time{}
		}
	}
	k.mu.Unlock()
	for id, at := range times {
		if err := f(id, at, astray[id]); err != nil {
			return err
		}
	}
	return nil
}

// Find is what of the events the raw topic has.
func (k *kafka) Find(_ context.Context, ids []string) (map[string]Records, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	found := map[string]Records{}
	for _, id := range ids {
		if k.published[id] > 0 && !(k.tombs[id] && k.cleaned) {
			found[id] = Records{Raw: &Record{Key: id}}
		}
	}
	return found, nil
}

func (k *kafka) Capacity() (events, bytes int) {
	if k.capacity > 0 {
		return k.capacity, 1 << 20
	}
	return 4000, 2 << 20
}

// load is the memory that a term begins with.
func (k *kafka) load() *offsets.State {
	s := offsets.NewState("org")
	for id, at := range k.seen {
		s.IDs.Add(id, at)
	}
	for name, l := range k.ledgers {
		s.Ledgers[name] = l.Clone()
	}
	for id := range k.notes {
		s.Erased.Add(id, time.Time{})
	}
	s.Token = k.token
	return s
}

func testConfig(t *testing.T, back time.Duration) Config {
	return Config{
		PollInterval: 5 * time.Second, PollOverlap: 2 * time.Minute,
		SweepAges:     []time.Duration{10 * time.Minute, time.Hour},
		Start:         func(now time.Time, _ time.Duration) time.Time { return now.Add(-back) },
		BackfillChunk: time.Hour, Chunks: 3, StopTimeout: 20 * time.Second, Health: new(health.Monitor), Logger: zap.NewNop(),
	}
}

// lead runs terms, loading the memory anew after each, until ctx ends.
func lead(ctx context.Context, t *testing.T, cfg Config, a *api, k *kafka, stats *Stats, tune func(*Poller)) {
	for ctx.Err() == nil {
		p := New(cfg, a, k, k, k.load(), stats)
		tune(p)
		if err := p.Run(ctx); err != nil && !errors.Is(err, errDoubt) {
			t.Errorf("the term ended with %v", err)
			return
		}
	}
}

// complete checks that what was ordered and shown in time is published, once.
func (k *kafka) complete(a *api, from, to time.Time, latest time.Duration) {
	k.t.Helper()
	for stream, events := range a.events {
		for _, e := range events {
			if e.at.Before(from) || !e.at.Before(to) || e.visible.Sub(e.at) > latest || k.refuse[e.id] {
				continue
			}
			if n := k.published[e.id]; n != 1 {
				k.t.Errorf("%s: event %s of %s, visible %s later, is published %d times; ledger %+v", stream, e.id, e.at, e.visible.Sub(e.at), n, k.ledgers[stream])
				return
			}
		}
	}
}
