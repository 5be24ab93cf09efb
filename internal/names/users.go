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
	strangers recent[time.Time] // ids that are no user's, and when that was seen
	queue     []string
	asked     map[string]struct{} // queued, or on their way
}

type user struct {
	name string
	at   int64 // when it was called so, in Unix seconds
}

func newUsers() users {
	return users{
		access: access{kind: audit.UserKind},
		known:  recent[user]{most: mostUsers}, strangers: recent[time.Time]{most: mostStrangers},
		asked: make(map[string]struct{}),
	}
}

// told takes in what an event calls a user, unless something newer is known.
func (u *users) told(id, name []byte, at time.Time) {
	known, ok := u.known.young[string(id)] // nearly all; this allocates nothing
	if !ok {
		known, ok = u.known.get(string(id))
	}
	switch {
	case ok && known.at >= at.Unix():
	case ok && known.name == string(name):
	case isID(id):
		u.known.put(string(id), user{clip(string(name)), at.Unix()})
	}
}

// stale reports whether a user may be called otherwise by now.
func (u user) stale(now time.Time) bool { return now.Unix()-u.at > int64(staleAfter/time.Second) }

// askUser has an id asked for. It reports whether an answer is to come. Needs mu.
func (r *Resolver) askUser(id string, now time.Time) bool {
	u := &r.users
	if _, asked := u.asked[id]; asked {
		return true
	}
	if seen, stranger := u.strangers.get(id); stranger && now.Sub(seen) < refreshEvery {
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
			u.known.put(id, user{clip(name), began.Unix()})
		}
	}
	for _, id := range strangers {
		u.strangers.put(id, began)
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
	r.ended(time.Since(began), err)
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
