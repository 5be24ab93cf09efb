package names

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"

	"genesys-audit-connector/internal/audit"
)

// list is everything of one kind. It is read at the start, every ten minutes, and,
// where an id is asked for that it lacks, once a minute.
type list struct {
	access
	names map[string]listed
	read  bool // at least once
	tried time.Time
	busy  bool
	// unknown are ids that were asked for and are not there, missing those that a
	// reading has not found: they are not asked for until the next regular one.
	unknown, missing map[string]struct{}
	regular          time.Time // when everything was last read because it was due
}

// listed is what something is called, and since when that is known, in Unix seconds.
type listed struct {
	name string
	at   int64
}

func newList(kind audit.Kind) *list {
	return &list{
		access: access{kind: kind}, names: make(map[string]listed),
		unknown: make(map[string]struct{}), missing: make(map[string]struct{}),
	}
}

// told takes in what an event calls something, unless something newer is known.
func (l *list) told(id, name []byte, at int64) {
	known, ok := l.names[string(id)]
	if ok && (known.at >= at || known.name == string(name)) || !ok && (len(l.names) >= mostListed || !isID(id)) {
		return
	}
	l.names[string(id)] = listed{clip(string(name)), at}
	delete(l.unknown, string(id))
	delete(l.missing, string(id))
}

// due is when it is to be read next.
func (l *list) due() time.Time {
	at := l.regular.Add(refreshEvery)
	if !l.read || len(l.unknown) > 0 {
		at = l.tried.Add(refreshAtMost) // in the past where it was never tried
	}
	if at.Before(l.until) {
		return l.until
	}
	return at
}

// coming reports whether its first reading is under way, or about to be.
func (l *list) coming(now time.Time) bool {
	return !l.read && (l.busy || !now.Before(l.due()))
}

// ask notes that an id is asked for which is not there. It reports whether a reading
// that may find it is under way, or about to be.
func (l *list) ask(id string, now time.Time) bool {
	if now.Before(l.until) {
		return false
	}
	if _, missing := l.missing[id]; missing || len(l.unknown) >= mostUnknown {
		return false
	}
	l.unknown[id] = struct{}{}
	return l.busy || !now.Before(l.due())
}

// readLists reads each list when it is due, until ctx ends.
func (r *Resolver) readLists(ctx context.Context) {
	for {
		l, in := r.nextList()
		if in > 0 {
			if !sleep(ctx, r.wakeLists, in) {
				return
			}
			continue
		}
		r.readList(ctx, l)
		if ctx.Err() != nil {
			return
		}
	}
}

func (r *Resolver) nextList() (next *list, in time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, kind := range audit.Kinds {
		if l := r.lists[kind]; l != nil && (next == nil || l.due().Before(next.due())) {
			next = l
		}
	}
	return next, time.Until(next.due())
}

func (r *Resolver) readList(ctx context.Context, l *list) {
	began := time.Now()
	r.mu.Lock()
	asked := l.unknown
	l.unknown, l.busy, l.tried = make(map[string]struct{}), true, began
	r.mu.Unlock()

	fresh, more := make(map[string]listed), false
	err := r.source.ListNames(ctx, l.kind, func(id, name string) {
		switch {
		case len(id) > longestID || name == "":
		case len(fresh) >= mostListed:
			more = true
		default:
			fresh[id] = listed{clip(name), began.Unix()}
		}
	})

	r.mu.Lock()
	defer r.mu.Unlock()
	l.busy = false
	if ctx.Err() == nil {
		r.noteAccess(&l.access, err)
	}
	if err == nil {
		r.take(l, fresh, asked, began)
		if more {
			r.log.Debug("there are more names than are kept", zap.Stringer("of", l.kind), zap.Int("kept", mostListed))
		}
	}
	r.ended(&l.access, time.Since(began), err)
}

// take takes in a whole reading. What is gone keeps its name: it may be asked for
// yet; and what an event has told since it began stays. Needs mu.
func (r *Resolver) take(l *list, fresh map[string]listed, asked map[string]struct{}, began time.Time) {
	for id, known := range l.names {
		if f, there := fresh[id]; there && known.at > f.at || !there && len(fresh) < mostListed {
			fresh[id] = known
		}
	}
	l.names, l.read = fresh, true
	if began.Sub(l.regular) >= refreshEvery {
		l.regular = began
		clear(l.missing)
	}
	for id := range asked {
		if _, there := fresh[id]; !there && len(l.missing) < mostUnknown {
			l.missing[id] = struct{}{}
		}
	}
	for id := range l.unknown {
		if _, there := fresh[id]; there {
			delete(l.unknown, id)
		}
	}
}

// access is whether names of a kind may be looked up. The Resolver's mu protects it.
type access struct {
	kind  audit.Kind
	until time.Time // nothing is asked before
	told  bool      // that it is forbidden
	fails int       // in a row
	// slow says that a lookup took too long: no step waits for one until one does not.
	slow bool
}

// noteAccess takes note of how a lookup ended. That a kind is forbidden is said once.
// Needs mu.
func (r *Resolver) noteAccess(a *access, err error) {
	now := time.Now()
	switch {
	case err == nil:
		if a.told {
			r.log.Info("names can be looked up now", zap.Stringer("of", a.kind))
		}
		a.told, a.fails, a.until = false, 0, time.Time{}
	case errors.Is(err, ErrForbidden):
		if !a.told {
			r.log.Warn("names cannot be looked up, events keep ids", zap.Stringer("of", a.kind), zap.Error(err))
		}
		a.told, a.until = true, now.Add(offFor)
	default:
		r.log.Debug("lookup of names failed", zap.Stringer("of", a.kind), zap.Error(err))
		a.until = now.Add(min(refreshAtMost, 5*time.Second<<min(a.fails, 10)))
		a.fails++
	}
}
