package names

import (
	"context"
	"time"

	"genesys-audit-connector/internal/audit"
)

// batch is how many users are asked for at once.
const batch = 100

// users are those that were met lately.
type users struct {
	access
	known     recent[user]
	strangers recent[stranger]
	queue     []string
	asked     map[string]struct{} // queued, or on their way
}

type user struct {
	name string
	at   int64 // when it was called so, in Unix seconds
	// kinds are UserKind, and others where nobody has looked: it may be one of those.
	kinds audit.Kind
}

// stranger is an id that is no user's. One that was seen once may be that of somebody
// who was made a moment ago.
type stranger struct {
	at    time.Time
	again bool // it was seen before
}

func (s stranger) over(now time.Time) bool {
	if s.again {
		return now.Sub(s.at) >= refreshEvery
	}
	return now.Sub(s.at) >= refreshAtMost
}

func newUsers() users {
	return users{
		access: access{kind: audit.UserKind},
		known:  recent[user]{most: mostUsers}, strangers: recent[stranger]{most: mostStrangers},
		asked: make(map[string]struct{}),
	}
}

// told takes in what an event calls a user, unless something newer is known.
func (u *users) told(kinds audit.Kind, id, name []byte, at int64) {
	known, ok := u.known.young[string(id)] // nearly all; this allocates nothing
	if !ok {
		known, ok = u.known.get(string(id))
	}
	switch {
	case !ok && !isID(id):
	case !ok:
		u.known.put(string(id), user{clip(string(name)), at, kinds})
	case known.kinds&kinds == known.kinds && (known.at >= at || known.name == string(name) && at-known.at < confirmedAfter):
	case known.at >= at || known.name == string(name):
		u.known.put(string(id), user{known.name, max(at, known.at), known.kinds & kinds})
	default:
		u.known.put(string(id), user{clip(string(name)), at, known.kinds & kinds})
	}
}

// confirmedAfter is how many seconds later than before an event has to say the same for
// that to be noted.
const confirmedAfter = 3600

// stale reports whether a user may be called otherwise by now.
func (u user) stale(now time.Time) bool { return now.Unix()-u.at > int64(staleAfter/time.Second) }

// askUser has an id asked for. It reports whether an answer is to come. Needs mu.
func (r *Resolver) askUser(id string, now time.Time) bool {
	u := &r.users
	if _, asked := u.asked[id]; asked {
		return true
	}
	if seen, ok := u.strangers.get(id); ok && !seen.over(now) {
		return false
	}
	if now.Before(u.until) || len(u.queue) >= mostQueued {
		return false
	}
	u.queue = append(u.queue, id)
	u.asked[id] = struct{}{}
	wake(r.wakeUsers)
	return true
}

// readUsers asks for the users that are queued, until ctx ends.
func (r *Resolver) readUsers(ctx context.Context) {
	for {
		ids := r.nextUsers()
		if len(ids) > 0 {
			r.readBatch(ctx, ids)
		}
		if len(ids) == 0 && !sleep(ctx, r.wakeUsers, time.Hour) || ctx.Err() != nil {
			return
		}
	}
}

func (r *Resolver) nextUsers() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := min(len(r.users.queue), batch)
	ids := r.users.queue[:n:n]
	r.users.queue = r.users.queue[n:]
	return ids
}

func (r *Resolver) readBatch(ctx context.Context, ids []string) {
	began := time.Now()
	named, strangers := make(map[string]string, len(ids)), []string(nil)
	err := r.source.UserNames(ctx, ids, func(id, name string) { named[id] = name }, func(id string) { strangers = append(strangers, id) })

	r.mu.Lock()
	defer r.mu.Unlock()
	u := &r.users
	for _, id := range ids {
		delete(u.asked, id)
	}
	for id, name := range named {
		if len(id) <= longestID && name != "" {
			u.known.put(id, user{clip(name), began.Unix(), audit.UserKind})
		}
	}
	for _, id := range strangers {
		_, again := u.strangers.get(id)
		u.strangers.put(id, stranger{began, again})
	}
	if ctx.Err() == nil {
		r.noteAccess(&u.access, err)
	}
	if err != nil { // those who wait are not to wait on
		for _, id := range u.queue {
			delete(u.asked, id)
		}
		u.queue = nil
	}
	r.ended(&u.access, time.Since(began), err)
}

// recent holds the values that were used last: between half of most and most.
type recent[V any] struct {
	most       int
	young, old map[string]V
}

func (r *recent[V]) len() int { return len(r.young) + len(r.old) }

func (r *recent[V]) get(id string) (v V, ok bool) {
	if v, ok = r.young[id]; ok {
		return v, true
	}
	if v, ok = r.old[id]; ok {
		delete(r.old, id)
		r.put(id, v)
	}
	return v, ok
}

func (r *recent[V]) put(id string, v V) {
	if len(r.young) >= r.most/2 {
		if _, there := r.young[id]; !there {
			r.young, r.old = nil, r.young
		}
	}
	if r.young == nil {
		r.young = make(map[string]V)
	}
	delete(r.old, id)
	r.young[id] = v
}
