package genesys

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"genesys-audit-connector/internal/audit"
	"genesys-audit-connector/internal/names"
	"genesys-audit-connector/internal/sandbox"
)

// Every kind is listed to its end, users are found by id, whoever has left too, and
// an id that is nobody's is called so.
func TestNamesOfTheSandbox(t *testing.T) {
	inOrg(t, Query, sandbox.Options{Seed: 5, Odd: -1}, nil, func(l *lab, org *sandbox.Org) {
		for _, kind := range audit.Kinds[1:] {
			listed := map[string]string{}
			if err := l.client.ListNames(l.t.Context(), kind, func(id, name string) { listed[id] = name }); err != nil || len(listed) < 2 {
				l.t.Errorf("%s: %v, %v", kind, listed, err)
			}
		}
		users := map[string]string{}
		if err := l.client.ListNames(l.t.Context(), audit.UserKind, func(id, name string) { users[id] = name }); err != nil || len(users) < 150 {
			l.t.Fatalf("%d users, %v", len(users), err)
		}
		ids := append(slices.Sorted(maps.Keys(users))[:98], "nobody", "nobody-else")
		found, nobody := map[string]string{}, []string(nil)
		err := l.client.UserNames(l.t.Context(), ids, func(id, name string) { found[id] = name }, func(id string) { nobody = append(nobody, id) })
		if err != nil || len(found) != 98 || !slices.Equal(nobody, ids[98:]) {
			l.t.Errorf("%d users, %q are nobody's, %v", len(found), nobody, err)
		}
		for id, name := range found {
			if users[id] != name {
				l.t.Errorf("%s is called %q and %q", id, users[id], name)
			}
		}
	})
}

// A refusal names the kind, and the permission that would bring it.
func TestNamesThatAreForbidden(t *testing.T) {
	inOrg(t, Query, sandbox.Options{Seed: 5, Forbidden: []string{sandbox.PermissionRoles, sandbox.PermissionUsers}}, nil, func(l *lab, _ *sandbox.Org) {
		nothing := func(string, string) { l.t.Error("a name came") }
		for permission, err := range map[string]error{
			sandbox.PermissionRoles: l.client.ListNames(l.t.Context(), audit.RoleKind, nothing),
			sandbox.PermissionUsers: l.client.UserNames(l.t.Context(), []string{"a"}, nothing, func(string) { l.t.Error("nobody's") }),
		} {
			var forbidden *NamesForbiddenError
			if !errors.Is(err, names.ErrForbidden) || !errors.As(err, &forbidden) || forbidden.Permission != permission ||
				!strings.Contains(err.Error(), permission) || strings.Contains(err.Error(), "audits") {
				l.t.Errorf("%s: %v", permission, err)
			}
		}
		if err := l.client.TryNames(l.t.Context(), audit.QueueKind); err != nil {
			l.t.Error(err)
		}
	})
}

// Listings end where they say, or where they cannot go on.
func TestPagesOfListings(t *testing.T) {
	entities := func(from, n int) string {
		var all []string
		for i := range n {
			all = append(all, fmt.Sprintf(`{"id":"r%d","name":"Role %d"}`, from+i, from+i))
		}
		return strings.Join(all, ",")
	}
	for name, tc := range map[string]struct {
		answer       func(page int) string
		names, pages int
		whole        bool
	}{
		"by pageCount": {func(p int) string { return `{"entities":[` + entities(p*10, 10) + `],"pageCount":3}` }, 30, 3, true},
		"by nextUri": {func(p int) string {
			return `{"entities":[` + entities(p*10, 10) + `]` + map[bool]string{true: `,"nextUri":"/x"`}[p < 4] + `}`
		}, 40, 4, true},
		"by a short page": {func(p int) string {
			return `{"entities":[` + entities(p*100, map[bool]int{true: 100, false: 1}[p < 3]) + `]}`
		}, 201, 3, true},
		"no pages": {func(int) string { return `{"entities":[` + entities(0, 100) + `]}` }, 100, 2, true},
		"a pageCount too high": {func(p int) string {
			return `{"entities":[` + map[bool]string{true: entities(p*10, 5)}[p < 3] + `],"pageCount":1000}`
		}, 10, 4, true},
		"nothing":    {func(int) string { return `{"entities":[]}` }, 0, 1, true},
		"no listing": {func(int) string { return `{"message":"hello"}` }, 0, 1, false},
		"odd entities": {func(int) string {
			return `{"entities":[null,1,{"id":5,"name":"x"},{"id":"a"},{"id":"b","name":null},{"id":"c","name":"C"}]}`
		}, 1, 1, true},
	} {
		t.Run(name, func(t *testing.T) {
			var asked atomic.Int32
			handler := func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == tokenPath {
					grants("access", time.Hour)(w, r)
					return
				}
				asked.Add(1)
				page, _ := strconv.Atoi(r.URL.Query().Get("pageNumber"))
				say(200, tc.answer(page))(w, r)
			}
			inLab(t, http.HandlerFunc(handler), nil, func(l *lab) {
				got := map[string]string{}
				err := l.client.ListNames(l.t.Context(), audit.RoleKind, func(id, name string) { got[id] = name })
				if len(got) != tc.names || int(asked.Load()) != tc.pages || (err == nil) != tc.whole {
					l.t.Errorf("%d names of %d pages, %v", len(got), asked.Load(), err)
				}
			})
		})
	}
}

// A user whom a search by ids does not show is looked at alone, for it may hide who
// has left; not all of them at once.
func TestUsersThatASearchHides(t *testing.T) {
	var singles atomic.Int32
	handler := func(w http.ResponseWriter, r *http.Request) {
		id := strings.TrimPrefix(r.URL.Path, usersPath+"/")
		switch {
		case r.URL.Path == tokenPath:
			grants("access", time.Hour)(w, r)
		case r.URL.Path == usersPath:
			if r.URL.Query().Get("state") != "any" {
				panic("a search without those who have left")
			}
			say(200, `{"entities":[{"id":"here","name":"Ann"}]}`)(w, r)
		case strings.HasPrefix(id, "gone"):
			singles.Add(1)
			say(200, `{"id":"`+id+`","name":"Left","state":"deleted"}`)(w, r)
		default:
			singles.Add(1)
			failing(404, "not.found")(w, r)
		}
	}
	inLab(t, http.HandlerFunc(handler), nil, func(l *lab) {
		found, nobody := map[string]string{}, []string(nil)
		ids := []string{"here", "gone1", "nobody", "gone2", "gone3", "gone4", "gone5", "gone6"}
		err := l.client.UserNames(l.t.Context(), ids, func(id, name string) { found[id] = name }, func(id string) { nobody = append(nobody, id) })
		if err != nil || len(found) != 5 || found["gone4"] != "Left" || !slices.Equal(nobody, []string{"nobody"}) || singles.Load() != mostSingles {
			l.t.Errorf("found %v, nobody %q, %d singles, %v", found, nobody, singles.Load(), err)
		}
	})
}

// TestIDThatNoUserCanHave: an id that the API calls malformed is nobody's, and keeps no
// other one's name back.
func TestIDThatNoUserCanHave(t *testing.T) {
	var asked atomic.Int32
	handler := func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == tokenPath {
			grants("access", time.Hour)(w, r)
			return
		}
		asked.Add(1)
		if strings.Contains(r.URL.RequestURI(), "bad") {
			failing(400, "invalid.value")(w, r)
			return
		}
		var entities []string
		for id := range strings.SplitSeq(r.URL.Query().Get("id"), ",") {
			entities = append(entities, fmt.Sprintf(`{"id":%q,"name":"Ann"}`, id))
		}
		say(200, `{"entities":[`+strings.Join(entities, ",")+`]}`)(w, r)
	}
	inLab(t, http.HandlerFunc(handler), nil, func(l *lab) {
		ids := []string{"bad0"}
		for i := range 99 {
			ids = append(ids, fmt.Sprint("id", i))
		}
		found, nobody := 0, []string(nil)
		err := l.client.UserNames(l.t.Context(), ids, func(string, string) { found++ }, func(id string) { nobody = append(nobody, id) })
		if err != nil || found != 99 || !slices.Equal(nobody, ids[:1]) || asked.Load() > 15 {
			l.t.Errorf("%d found, nobody %q, %d requests, %v", found, nobody, asked.Load(), err)
		}
	})
}

// asker asks for turns of a purpose until ctx ends, and counts them.
func asker(ctx context.Context, p *pacer, f family, purpose audit.Purpose, n *atomic.Int32) func() {
	return func() {
		for {
			turn, err := p.wait(ctx, f, purpose)
			if err != nil {
				return
			}
			n.Add(1)
			p.done(turn, outcome{status: 200})
		}
	}
}

// Lookups take a tenth of our share at most after a first burst, whatever else there
// is to do or not.
func TestLookupsTakeATenth(t *testing.T) {
	for _, busy := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			p := newPacer(RateLimit{300, time.Minute}, 0.7, 10, 0)
			ctx, stop := context.WithTimeout(t.Context(), 5*time.Minute)
			defer stop()
			var running sync.WaitGroup
			var lookups, others atomic.Int32
			running.Go(asker(ctx, p, namesFamily, audit.Lookup, &lookups))
			if busy {
				running.Go(asker(ctx, p, queryFamily, audit.Backfill, &others))
			}
			running.Wait()
			all := int(lookups.Load())
			if most := lookupBurst + 5*21 + 1; all > most || all < most/2 {
				t.Errorf("busy %t: %d lookups in 5 minutes, at most %d are allowed", busy, all, most)
			}
			if busy && others.Load() < 4*21*9 {
				t.Errorf("%d others", others.Load())
			}
		})
	}
}

// A tail that takes all there is leaves lookups no turn, though a quarter goes to
// what is less urgent otherwise.
func TestLookupsNeverGoPastTheTail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPacer(RateLimit{300, time.Minute}, 0.7, 10, 0)
		ctx, stop := context.WithTimeout(t.Context(), time.Minute)
		defer stop()
		var running sync.WaitGroup
		var tails, lookups, sweeps atomic.Int32
		for range 3 {
			running.Go(asker(ctx, p, realtimeFamily, audit.Tail, &tails))
		}
		time.Sleep(time.Second)
		running.Go(asker(ctx, p, namesFamily, audit.Lookup, &lookups))
		running.Go(asker(ctx, p, queryFamily, audit.Sweep, &sweeps))
		running.Wait()
		if lookups.Load() > 0 || sweeps.Load() == 0 || tails.Load() < 100 {
			t.Errorf("%d lookups, %d sweeps, %d polls", lookups.Load(), sweeps.Load(), tails.Load())
		}
	})
}

// A lookup that is refused holds no reading back, unless the server says that nothing
// is left of the limit of all.
func TestRefusedLookupHoldsNoReading(t *testing.T) {
	for remaining, held := range map[int]bool{200: false, 0: true} {
		synctest.Test(t, func(t *testing.T) {
			p := newPacer(RateLimit{300, time.Minute}, 0.7, 10, 0)
			one := func(f family, purpose audit.Purpose, remaining int, o outcome) time.Duration {
				began := time.Now()
				turn, err := p.wait(t.Context(), f, purpose)
				if err != nil {
					t.Fatal(err)
				}
				o.limit = limitReport{known: true, allowed: 300, remaining: remaining, reset: 10 * time.Second}
				p.done(turn, o)
				return time.Since(began)
			}
			one(realtimeFamily, audit.Tail, 200, outcome{status: 200})
			one(namesFamily, audit.Lookup, remaining, outcome{status: 429, retryAfter: 20 * time.Second, hasRetry: true})
			if waited := one(realtimeFamily, audit.Tail, 200, outcome{status: 200}); held != (waited > 15*time.Second) {
				t.Errorf("%d remaining: a poll waits %s", remaining, waited)
			}
			if waited := one(namesFamily, audit.Lookup, 200, outcome{status: 200}); !held && waited < 19*time.Second {
				t.Errorf("the next lookup waits %s", waited)
			}
		})
	}
}
