// Package names knows what users, roles, groups, queues, divisions and OAuth clients
// are called, of which an audit event often has the id alone.
//
// It promises that a step waits for a second at most, so that an event, which may
// have to wait for the step before its own, is held up by two; that what it answers
// for a step never changes; that its memory is bounded (see the constants); and that
// what may not be looked up is asked for once an hour, not once an event. It refuses
// to know HTTP and records, and what is done with a name.
//
// Roles, groups, queues, divisions and OAuth clients are listed as a whole: lists.go.
// Users, of whom there may be too many, are asked for by id: users.go.
package names

import (
	"context"
	"errors"
	"iter"
	"sync"
	"time"

	"go.uber.org/zap"

	"genesys-audit-connector/internal/audit"
)

// ErrForbidden is wrapped by a Source's error that says that this kind may not be
// looked up at all. Whoever tries again after an hour is early enough.
var ErrForbidden = errors.New("names of this kind may not be looked up")

// Source looks names up. It paces itself, and tries once.
type Source interface {
	// ListNames adds the name of everything of a kind.
	ListNames(ctx context.Context, kind audit.Kind, add func(id, name string)) error
	// UserNames adds the names of those of the ids that are users', deleted or not, and
	// calls none of those that are surely nobody's. It may leave some ids for later.
	UserNames(ctx context.Context, ids []string, add func(id, name string), none func(id string)) error
}

// Reader finds the ids without a name in an event, and the names that it has.
type Reader interface {
	Ask(ev *audit.Event, names audit.Names, tell func(kind audit.Kind, id, name []byte))
}

const (
	// longestWait is how long a step waits for lookups.
	longestWait = time.Second

	refreshEvery  = 10 * time.Minute
	refreshAtMost = time.Minute    // after the last try, for an id that is not in the list
	offFor        = time.Hour      // after a refusal
	staleAfter    = 24 * time.Hour // a user's name is looked up again, and used meanwhile

	// Bounds of the memory. Full, with names of a usual length, it takes 22 MiB, with
	// names of the greatest length 50 MiB: BenchmarkMemory.
	mostUsers     = 32_768
	mostStrangers = 8_192  // ids that are no user's
	mostListed    = 20_000 // of each kind
	mostUnknown   = 4_096  // ids that a list lacks, of each kind
	mostQueued    = 4_096  // users to be asked for
	longestID     = 64
	longestName   = 256 // bytes
)

// Resolver is the memory of names, and what fills it. It is safe for concurrent use.
type Resolver struct {
	source Source
	reader Reader
	log    *zap.Logger

	reading sync.Mutex // protects reader

	mu    sync.Mutex
	users users
	lists map[audit.Kind]*list
	// changed is closed, and made anew, when a lookup has ended.
	changed chan struct{}

	wakeUsers, wakeLists chan struct{}
}

// New makes a Resolver that has not looked anything up yet.
func New(source Source, reader Reader, log *zap.Logger) *Resolver {
	r := &Resolver{
		source: source, reader: reader, log: log,
		users: newUsers(), lists: make(map[audit.Kind]*list), changed: make(chan struct{}),
		wakeUsers: make(chan struct{}, 1), wakeLists: make(chan struct{}, 1),
	}
	for _, kind := range audit.Kinds {
		if kind != audit.UserKind {
			r.lists[kind] = newList(kind)
		}
	}
	return r
}

// Run looks names up until ctx ends.
func (r *Resolver) Run(ctx context.Context) {
	var workers sync.WaitGroup
	workers.Go(func() { r.readUsers(ctx) })
	workers.Go(func() { r.readLists(ctx) })
	workers.Wait()
}

// want is an id that a step needs the name of, and what it may be.
type want struct {
	kinds audit.Kind
	id    string
}

// step is what the ids of one step are called. Nothing changes it once it is handed out.
type step struct {
	wanted map[want]struct{} // not known yet
	names  map[want]audit.Name
}

// NameOf returns what an id of the step is called.
func (s *step) NameOf(kinds audit.Kind, id []byte) (audit.Name, bool) {
	name, ok := s.names[want{kinds, string(id)}]
	return name, ok
}

// asking notes what an event asks for, and answers nothing.
type asking struct{ *step }

func (a asking) NameOf(kinds audit.Kind, id []byte) (audit.Name, bool) {
	if !isID(id) {
		return audit.Name{}, false
	}
	if _, twice := a.wanted[want{kinds, string(id)}]; !twice {
		a.wanted[want{kinds, string(id)}] = struct{}{}
	}
	return audit.Name{}, false
}

// Resolve returns the names of the ids in the events. It waits for a second at most;
// what is not known by then stays without a name. It takes in the names that the
// events have themselves.
func (r *Resolver) Resolve(ctx context.Context, events iter.Seq[*audit.Event]) audit.Names {
	s := &step{wanted: make(map[want]struct{}), names: make(map[want]audit.Name)}
	r.read(s, events)
	patience := time.NewTimer(longestWait)
	defer patience.Stop()
	for {
		r.mu.Lock()
		waits := r.settle(s)
		changed := r.changed
		r.mu.Unlock()
		if waits == 0 {
			return s
		}
		select {
		case <-changed:
		case <-patience.C:
			r.tooSlow(waits)
			return s
		case <-ctx.Done():
			return s
		}
	}
}

// tooSlow has no step wait for names of these kinds, until a lookup of the kind is fast.
func (r *Resolver) tooSlow(kinds audit.Kind) {
	r.log.Debug("names take too long, events go on with ids", zap.Stringer("of", kinds))
	r.mu.Lock()
	defer r.mu.Unlock()
	if kinds&audit.UserKind != 0 {
		r.users.slow = true
	}
	for kind, l := range r.lists {
		if kinds&kind != 0 {
			l.slow = true
		}
	}
}

func (r *Resolver) read(s *step, events iter.Seq[*audit.Event]) {
	r.reading.Lock()
	defer r.reading.Unlock()
	var at time.Time // of the event that is read
	tell := func(kind audit.Kind, id, name []byte) { r.told(kind, id, name, at) }
	for ev := range events {
		at = ev.Time
		r.reader.Ask(ev, asking{s}, tell)
	}
}

// told takes in a name that an event of some time has. Of several kinds it is not sure
// which one it is: who acts may be a user or a client.
func (r *Resolver) told(kinds audit.Kind, id, name []byte, at time.Time) {
	if len(name) == 0 {
		return
	}
	since := min(at.Unix(), time.Now().Unix()) // an event may say that it is of tomorrow
	r.mu.Lock()
	defer r.mu.Unlock()
	for kind, l := range r.lists {
		if _, there := l.names[string(id)]; there && kinds&kind != 0 || kinds == kind {
			l.told(id, name, since)
			return
		}
	}
	if kinds&audit.UserKind != 0 {
		r.users.told(kinds, id, name, since)
	}
}

// settle moves what is known by now from wanted to names, and has the rest looked
// up. It returns the kinds of which waiting may bring more. Needs mu.
func (r *Resolver) settle(s *step) (waits audit.Kind) {
	now := time.Now()
	for w := range s.wanted {
		name, ok, coming := r.lookUp(w, now)
		if name.Text != "" {
			s.names[w] = name
		}
		if ok || coming == 0 {
			delete(s.wanted, w)
			continue
		}
		waits |= r.worthWaiting(coming)
	}
	return waits
}

// worthWaiting returns those of the kinds whose lookups are not too slow. Needs mu.
func (r *Resolver) worthWaiting(kinds audit.Kind) audit.Kind {
	if r.users.slow {
		kinds &^= audit.UserKind
	}
	for kind, l := range r.lists {
		if l.slow {
			kinds &^= kind
		}
	}
	return kinds
}

// lookUp returns the name of an id; where that is not ok there may be a better one, and
// coming are the kinds that are being asked. All lists are looked at before anybody is
// asked, and users are asked before lists. Needs mu.
func (r *Resolver) lookUp(w want, now time.Time) (name audit.Name, ok bool, coming audit.Kind) {
	ofUser := w.kinds&audit.UserKind != 0
	u, known := r.users.known.get(w.id)
	if known = known && ofUser; known {
		name = audit.Name{Text: u.name, Kind: u.kinds}
		if u.stale(now) {
			r.askUser(w.id, now)
		}
	}
	if known && u.kinds == audit.UserKind {
		return name, true, 0
	}
	var of []*list
	for _, kind := range audit.Kinds {
		if l := r.lists[kind]; l != nil && w.kinds&kind != 0 {
			if is, ok := l.names[w.id]; ok {
				return audit.Name{Text: is.name, Kind: kind}, true, 0
			}
			if of = append(of, l); l.coming(now) {
				coming |= kind
			}
		}
	}
	if known && w.kinds == u.kinds { // whoever asks does not mind which of them it is
		return name, true, 0
	}
	if ofUser && r.askUser(w.id, now) {
		coming |= audit.UserKind
	}
	if coming != 0 {
		return name, false, coming
	}
	for _, l := range of { // it is nobody's, or may not be asked for: a list may be too old
		if l.ask(w.id, now) {
			coming |= l.kind
			wake(r.wakeLists)
		}
	}
	return name, false, coming
}

// ended tells whoever waits that a lookup has ended, which took so long. Needs mu.
func (r *Resolver) ended(of *access, took time.Duration, err error) {
	if err == nil && took < longestWait {
		of.slow = false
	}
	close(r.changed)
	r.changed = make(chan struct{})
}

func wake(worker chan struct{}) {
	select {
	case worker <- struct{}{}:
	default:
	}
}

// sleep waits until something is to be done. It reports whether ctx goes on.
func sleep(ctx context.Context, woken <-chan struct{}, in time.Duration) bool {
	timer := time.NewTimer(in)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-woken:
	case <-ctx.Done():
	}
	return ctx.Err() == nil
}

// isID reports whether a text may be the id of something that has a name.
func isID(id []byte) bool {
	for _, c := range id {
		switch {
		case c == '-', c == '_', '0' <= c && c <= '9', 'A' <= c && c <= 'Z', 'a' <= c && c <= 'z':
		default:
			return false
		}
	}
	return len(id) > 0 && len(id) <= longestID
}

// clip bounds what a name takes.
func clip(name string) string {
	if len(name) <= longestName {
		return name
	}
	end := longestName - len("…")
	for end > 0 && name[end]&0xC0 == 0x80 { // within a character
		end--
	}
	return name[:end] + "…"
}

// Known is how many names are known of each kind.
func (r *Resolver) Known() map[audit.Kind]int {
	r.mu.Lock()
	defer r.mu.Unlock()
	known := map[audit.Kind]int{audit.UserKind: r.users.known.len()}
	for kind, l := range r.lists {
		known[kind] = len(l.names)
	}
	return known
}
