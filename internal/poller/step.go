package poller

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"genesys-audit-connector/internal/audit"
	"genesys-audit-connector/internal/offsets"
)

// delivery is one page on its way from a reader to the committer.
type delivery struct {
	read audit.Read
	page audit.Page
	last bool
	// note enters in the ledger, with the last event of the last page, that the
	// interval has been read. nil where nothing is to be entered.
	note func(l offsets.Ledger, read audit.Interval) offsets.Ledger
	// lateness is the most by which an event that this reading finds in covered
	// time can have been shown late: an earlier reading, at a younger age, did not see it.
	lateness time.Duration
	// again says that events which a topic refused are to be tried again.
	again bool
	// compare says that the stream has previews: which of its dialects is first is counted.
	compare bool
	// repair, where it is not nil, is all that may be published of the page.
	repair *repair
	// fresh counts the events that were not published before, refused those that a
	// topic refused; nil where nobody asks. They belong to the committer until done
	// is closed.
	fresh, refused *int
	pages          *int // counts the pages; as fresh
	// done is closed when the step that holds the page's end is durable.
	done chan struct{}

	taken int // events of the page that are in this or an earlier step
}

// refusal is an event that a step leaves out because a topic refuses it.
type refusal struct {
	id, stream string
	slot       time.Time // where it stands in the stream's ledger
}

// stepBuilder gathers one step, and then the next in the same memory. It belongs
// to the committer.
type stepBuilder struct {
	p     *Poller
	step  Step
	pages []*delivery // whose end is in the step
	tasks []task
	// Pages of which only a part has gone into a step, for a step is no larger than
	// the sink can take at the moment: one of the tail, one of the others.
	restUrgent, restBulk *delivery

	urgent bool      // something in the step must not wait
	since  time.Time // when the first of what is held back was read; zero for nothing (hold.go)

	events, size int                 // how much the step may hold
	pending      map[string]struct{} // ids of step.Events
	refused      []refusal
	shared       []refusal // events of the step that a reading of another stream met too, and where
	bytes        int
	duplicates   map[string]int
	published    map[string]int
	late         map[string][]time.Duration // lateness of events that a re-reading found
}

func newStepBuilder(p *Poller) *stepBuilder {
	b := &stepBuilder{
		p: p, step: Step{Ledgers: make(map[string]offsets.Ledger)}, pending: make(map[string]struct{}),
		duplicates: make(map[string]int), published: make(map[string]int), late: make(map[string][]time.Duration),
	}
	b.events, b.size = p.sink.Capacity()
	return b
}

// reset forgets the step before.
func (b *stepBuilder) reset() {
	clear(b.step.Events)
	clear(b.step.Ledgers)
	b.step = Step{Events: b.step.Events[:0], Ledgers: b.step.Ledgers}
	clear(b.pages)
	clear(b.pending)
	clear(b.duplicates)
	clear(b.published)
	clear(b.late)
	b.pages, b.tasks, b.refused, b.shared, b.bytes = b.pages[:0], nil, nil, nil, 0
	b.urgent, b.since = false, time.Time{}
	b.events, b.size = b.p.sink.Capacity()
}

// gather waits for something to commit, then takes what else is waiting, the
// tail first, until the step is full. When the term has ended it takes nothing but
// tokens, for a refresh token that was replaced meanwhile must not be lost; false
// means that none can come any more. What is held back it waits with for no longer
// than that may be, nor beyond the term.
func (b *stepBuilder) gather(ctx context.Context, alone <-chan struct{}) bool {
	if ctx.Err() != nil && b.holds() {
		return true
	}
	if (ctx.Err() != nil || !b.more()) && !b.wait(ctx, alone) {
		return false
	}
	for ctx.Err() == nil && b.room() && b.more() {
	}
	return true
}

func (b *stepBuilder) room() bool { return len(b.step.Events) < b.events && b.bytes < b.size }

// more takes one more of what is waiting, the most urgent first.
func (b *stepBuilder) more() bool {
	if len(b.p.waiting) > 0 {
		b.addTask(b.p.waiting[0])
		b.p.waiting = b.p.waiting[1:]
		return true
	}
	select {
	case t := <-b.p.tokens:
		b.addTask(t)
		return true
	default:
	}
	if b.restUrgent != nil {
		b.add(&b.restUrgent, b.restUrgent)
		return true
	}
	select {
	case t := <-b.p.tokens:
		b.addTask(t)
		return true
	case d := <-b.p.urgent:
		b.add(&b.restUrgent, d)
		return true
	case t := <-b.p.tasks:
		b.addTask(t)
		return true
	default:
	}
	if b.restBulk != nil {
		b.add(&b.restBulk, b.restBulk)
		return true
	}
	select {
	case d := <-b.p.bulk:
		b.add(&b.restBulk, d)
		return true
	default:
		return false
	}
}

// wait is for the first thing to commit.
func (b *stepBuilder) wait(ctx context.Context, alone <-chan struct{}) bool {
	if ctx.Err() != nil {
		return b.lastTokens(alone)
	}
	due, stop := b.heldUntil()
	defer stop()
	select {
	case d := <-b.p.urgent:
		b.add(&b.restUrgent, d)
	case t := <-b.p.tokens:
		b.addTask(t)
	case t := <-b.p.tasks:
		b.addTask(t)
	case d := <-b.p.bulk:
		b.add(&b.restBulk, d)
	case <-due:
	case <-ctx.Done():
		return b.holds() || b.lastTokens(alone)
	}
	return true
}

func (b *stepBuilder) lastTokens(alone <-chan struct{}) bool {
	if len(b.p.waiting) > 0 {
		return b.more()
	}
	select {
	case t := <-b.p.tokens:
		b.addTask(t)
		return true
	case <-alone:
		return false
	}
}

func (b *stepBuilder) addTask(t task) {
	b.tasks = append(b.tasks, t)
	b.urgent = b.urgent || !t.patient
	t.change(b)
}

// add takes as much of a page as the step has room for: its unseen events and,
// with the end of the last page, the news that the interval has been read. What
// does not fit goes to rest.
func (b *stepBuilder) add(rest **delivery, d *delivery) {
	stream := d.read.Stream
	published := 0
	for ; d.taken < len(d.page.Events) && b.room(); d.taken++ {
		if b.event(d, &d.page.Events[d.taken]) {
			published++
		}
	}
	b.published[stream] += published
	if d.fresh != nil {
		*d.fresh += published
	}
	whole := d.taken == len(d.page.Events)
	*rest = d
	if whole {
		*rest = nil
		b.pages = append(b.pages, d)
		if d.pages != nil {
			*d.pages++
		}
	}
	switch {
	case whole && d.last && d.note != nil:
		b.change(stream, func(l offsets.Ledger) offsets.Ledger { return d.note(l, d.read.Interval) })
	case published > 0:
		if l := b.ledger(stream); !l.Covered.Union(l.Begun).Covers(d.read.Interval) {
			b.change(stream, func(l offsets.Ledger) offsets.Ledger { return l.Begin(d.read.Interval) })
		}
	}
}

// event takes an event into the step unless it is there already, or is known to
// be refused. It reports whether it did.
func (b *stepBuilder) event(d *delivery, e *audit.Event) bool {
	p, stream := b.p, d.read.Stream
	if d.repair != nil && !d.repair.missing[e.ID] {
		return false
	}
	at := e.Time
	if at.IsZero() {
		at = d.read.Interval.From
	}
	_, twice := b.pending[e.ID]
	if twice { // a topic may still refuse it
		b.shared = append(b.shared, refusal{e.ID, stream, clamp(at, d.read.Interval)})
	}
	if lead, ok := p.sooner.meet(e.ID, d.read.Preview != ""); ok {
		p.stats.led(d.read.Preview == "", lead)
	}
	if twice || p.erased.Has(e.ID) || p.ids.Has(e.ID) && (d.repair == nil || !d.repair.forced[e.ID]) {
		b.duplicates[stream]++
		return false
	}
	refused := p.refused[e.ID]
	if len(refused) > 0 && !d.again && slices.Contains(refused, stream) {
		return false
	}
	pub := Publication{Event: e, At: at, Remember: at, from: d, slot: clamp(at, d.read.Interval)}
	if e.Time.IsZero() {
		pub.Remember = forever
	} else if !pub.slot.Equal(at) {
		pub.Remember = forever
		e.Problem = cmp.Or(e.Problem, Astray)
	}
	if b.ledger(stream).Covered.Contains(pub.slot) && d.read.Purpose != audit.Backfill {
		b.late[stream] = append(b.late[stream], min(d.lateness, p.now().Sub(at)))
	}
	for _, s := range refused {
		b.change(s, func(l offsets.Ledger) offsets.Ledger { return l.Heal(e.ID) })
	}
	if d.repair != nil {
		delete(d.repair.missing, e.ID)
	}
	b.pending[e.ID] = struct{}{}
	b.step.Events = append(b.step.Events, pub)
	b.bytes += len(e.Raw)
	return true
}

// Astray is the Problem of an event that the API shows in an interval which does
// not hold the event's own time: any reading may meet it again.
const Astray = "shown in an interval that does not hold its time"

// forever is the time under which the id of an event is remembered of which no
// reading can be said to be the last that meets it.
var forever = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)

// clamp moves t into i, which is not empty.
func clamp(t time.Time, i audit.Interval) time.Time {
	return latest(i.From, earliest(t, i.To.Add(-time.Millisecond)))
}

// ledger is the stream's ledger as this step leaves it.
func (b *stepBuilder) ledger(stream string) offsets.Ledger {
	if l, ok := b.step.Ledgers[stream]; ok {
		return l
	}
	l, _ := b.p.ledger(stream)
	return l
}

func (b *stepBuilder) change(stream string, f func(offsets.Ledger) offsets.Ledger) {
	b.step.Ledgers[stream] = f(b.ledger(stream))
}

// remember takes ids in that were published before and forgotten.
func (b *stepBuilder) remember(ids []Remembered) {
	for _, r := range ids {
		if _, pending := b.pending[r.ID]; !pending && !b.p.ids.Has(r.ID) {
			b.step.Remember = append(b.step.Remember, r)
		}
	}
}

// leaveOut takes the refused event out of the step, and enters it as a gap in
// every ledger that has it. false means that it is not there.
func (b *stepBuilder) leaveOut(r *RefusedError) bool {
	at := slices.IndexFunc(b.step.Events, func(e Publication) bool { return e.Event.ID == r.ID })
	if at < 0 {
		return false
	}
	e := b.step.Events[at]
	b.step.Events = slices.Delete(b.step.Events, at, at+1)
	delete(b.pending, r.ID)
	stream := e.from.read.Stream
	b.published[stream]--
	if e.from.fresh != nil {
		*e.from.fresh--
	}
	if e.from.refused != nil {
		*e.from.refused++
	}
	if e.from.repair != nil {
		e.from.repair.missing[r.ID] = true
	}
	known := b.p.refused[r.ID]
	met := map[string]time.Time{} // by stream
	for _, s := range append(b.shared, refusal{r.ID, stream, e.slot}) {
		if s.id == r.ID {
			met[s.stream] = s.slot
		}
	}
	for s, slot := range met {
		gap := offsets.Gap{
			Interval: audit.Interval{From: slot, To: slot.Add(time.Millisecond)}, Kind: offsets.Refused, ID: r.ID, Size: r.Size,
			Reason: fmt.Sprintf("topic %s refuses event %.80q of %d bytes: %s", r.Topic, r.ID, r.Size, cure(r)),
		}
		b.change(s, func(l offsets.Ledger) offsets.Ledger { return l.AddGap(gap) })
		if !slices.Contains(known, s) {
			b.refused = append(b.refused, refusal{r.ID, s, slot})
		}
	}
	for _, s := range known {
		committed, _ := b.p.ledger(s)
		for _, g := range committed.Gaps {
			if _, entered := met[s]; g.ID == r.ID && !entered {
				b.change(s, func(l offsets.Ledger) offsets.Ledger { return l.AddGap(g) })
			}
		}
	}
	return true
}

// dropRefused forgets which events a stream's ledger has as gaps of their own,
// where that is not so any more: they were merged.
func (b *stepBuilder) dropRefused(stream string) {
	kept := make(map[string]bool)
	for _, g := range b.ledger(stream).Gaps {
		kept[g.ID] = true
	}
	for id, streams := range b.p.refused {
		if kept[id] {
			continue
		}
		streams = slices.DeleteFunc(slices.Clone(streams), func(s string) bool { return s == stream })
		if b.p.refused[id] = streams; len(streams) == 0 {
			delete(b.p.refused, id)
		}
	}
}

// release gives the memory of the pages back.
func (b *stepBuilder) release() {
	for _, d := range b.pages {
		d.page.Release()
	}
}

// abandon gives back the memory of what will not be committed any more. Nobody
// hands anything in by then.
func (b *stepBuilder) abandon() {
	for _, d := range []*delivery{b.restUrgent, b.restBulk} {
		if d != nil {
			d.page.Release()
		}
	}
	for {
		select {
		case d := <-b.p.bulk:
			d.page.Release()
		default:
			return
		}
	}
}

// announce tells those who wait that the step is durable.
func (b *stepBuilder) announce() {
	for _, d := range b.pages {
		close(d.done)
	}
	for _, t := range b.tasks {
		close(t.done)
	}
}
