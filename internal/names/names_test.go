package names

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"genesys-audit-connector/internal/audit"
)

// fakeSource is an organisation that tells names, slowly or not at all.
type fakeSource struct {
	mu    sync.Mutex
	of    map[audit.Kind]map[string]string
	users map[string]string
	delay map[audit.Kind]time.Duration
	errs  map[audit.Kind]error
	lists map[audit.Kind][]time.Time // when each was asked for
	asked [][]string                 // users, each time
}

func (s *fakeSource) begin(kind audit.Kind) (time.Duration, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.delay[kind], s.errs[kind]
}

func (s *fakeSource) wait(ctx context.Context, kind audit.Kind) error {
	delay, err := s.begin(kind)
	select {
	case <-time.After(delay):
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *fakeSource) ListNames(ctx context.Context, kind audit.Kind, add func(id, name string)) error {
	s.mu.Lock()
	if s.lists == nil {
		s.lists = make(map[audit.Kind][]time.Time)
	}
	s.lists[kind] = append(s.lists[kind], time.Now())
	s.mu.Unlock()
	if err := s.wait(ctx, kind); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, name := range s.of[kind] {
		add(id, name)
	}
	return nil
}

func (s *fakeSource) UserNames(ctx context.Context, ids []string, add func(id, name string), none func(id string)) error {
	s.mu.Lock()
	s.asked = append(s.asked, slices.Clone(ids))
	s.mu.Unlock()
	if err := s.wait(ctx, audit.UserKind); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range ids {
		if name, ok := s.users[id]; ok {
			add(id, name)
		} else {
			none(id)
		}
	}
	return nil
}

func (s *fakeSource) set(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

// fakeReader reads what an event's id says: "kinds:id" asks, "kind:id=name" tells.
type fakeReader struct{}

func (fakeReader) Ask(ev *audit.Event, names audit.Names, tell func(kind audit.Kind, id, name []byte)) {
	for word := range strings.FieldsSeq(ev.ID) {
		var kinds audit.Kind
		of, id, _ := strings.Cut(word, ":")
		for _, c := range of {
			kinds |= map[rune]audit.Kind{'u': audit.UserKind, 'c': audit.ClientKind, 'g': audit.GroupKind,
				'r': audit.RoleKind, 'q': audit.QueueKind, 'd': audit.DivisionKind}[c]
		}
		if id, name, tells := strings.Cut(id, "="); tells {
			tell(kinds, []byte(id), []byte(name))
		} else {
			names.NameOf(kinds, []byte(id))
		}
	}
}

// desk is a Resolver that runs, in a synctest bubble.
type desk struct {
	*testing.T
	source   *fakeSource
	resolver *Resolver
	logs     *observer.ObservedLogs
}

func atDesk(t *testing.T, source *fakeSource, test func(*desk)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zapcore.InfoLevel)
		d := &desk{t, source, New(source, fakeReader{}, zap.New(core)), logs}
		ctx, stop := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { d.resolver.Run(ctx) })
		defer running.Wait()
		defer stop()
		test(d)
	})
}

// resolve resolves a step of one event, and returns the names of what it asks for,
// and how long that took.
func (d *desk) resolve(event string) (string, time.Duration) {
	began := time.Now()
	names := d.resolver.Resolve(d.Context(), slices.Values([]*audit.Event{{ID: event, Time: began}}))
	took := time.Since(began)
	var got []string
	fakeReader{}.Ask(&audit.Event{ID: event}, telling{names, &got}, func(audit.Kind, []byte, []byte) {})
	return strings.Join(got, " "), took
}

// telling notes the answers.
type telling struct {
	names audit.Names
	got   *[]string
}

func (t telling) NameOf(kinds audit.Kind, id []byte) (audit.Name, bool) {
	name, ok := t.names.NameOf(kinds, id)
	text := "-"
	if ok {
		text = name.Text
		if kinds != name.Kind {
			text += " of " + name.Kind.String()
		}
	}
	*t.got = append(*t.got, text)
	return name, ok
}

func (d *desk) want(event, names string, within time.Duration) {
	d.Helper()
	if got, took := d.resolve(event); got != names || took > within {
		d.Errorf("%s: %q after %s, want %q within %s", event, got, took, names, within)
	}
}

// Lists are read at the start, users when one is asked for, and both are remembered.
func TestNamesOfEachKind(t *testing.T) {
	source := &fakeSource{
		of: map[audit.Kind]map[string]string{
			audit.RoleKind: {"r1": "Admin"}, audit.GroupKind: {"g1": "Team"}, audit.QueueKind: {"q1": "Support"},
			audit.DivisionKind: {"d1": "Home"}, audit.ClientKind: {"c1": "Robot"},
		},
		users: map[string]string{"u1": "Ana", "u2": "Ben"},
		delay: map[audit.Kind]time.Duration{audit.UserKind: 100 * time.Millisecond, audit.RoleKind: 100 * time.Millisecond},
	}
	atDesk(t, source, func(d *desk) {
		d.want("r:r1 g:g1 q:q1 d:d1 c:c1 u:u1", "Admin Team Support Home Robot Ana", 200*time.Millisecond)
		// Who acts is tried as a user, then as a client; a member may be a group, too.
		d.want("uc:u2 uc:c1 ugc:g1 ugc:u1", "Ben of users Robot of OAuth clients Team of groups Ana of users", 100*time.Millisecond)
		d.want("uc:u2 r:r1", "Ben of users Admin", 0)
		source.set(func() {
			if len(source.asked) != 2 || len(source.lists[audit.RoleKind]) != 1 {
				d.Errorf("asked for users %q, for roles %d times", source.asked, len(source.lists[audit.RoleKind]))
			}
		})
	})
}

// Users are asked for in batches, and an id that is nobody's only once.
func TestUsersInBatches(t *testing.T) {
	source := &fakeSource{users: map[string]string{}}
	var event []string
	for i := range 250 {
		event = append(event, fmt.Sprintf("u:u%d", i))
		if i > 0 {
			source.users[fmt.Sprintf("u%d", i)] = "name"
		}
	}
	atDesk(t, source, func(d *desk) {
		for range 2 {
			got, _ := d.resolve(strings.Join(event, " "))
			if n := strings.Count(got, "name"); n != 249 {
				d.Errorf("%d names", n)
			}
			source.set(func() {
				if len(source.asked) < 3 || len(source.asked) > 4 { // one may have been on its way already
					d.Errorf("%d requests", len(source.asked))
				}
			})
		}
	})
}

// Names that events have are taken in for nothing, the newest counts, and a list
// that is read later does not forget them.
func TestNamesOfEventsAreTakenIn(t *testing.T) {
	source := &fakeSource{of: map[audit.Kind]map[string]string{audit.RoleKind: {"r1": "Admin"}}}
	atDesk(t, source, func(d *desk) {
		d.resolve("u:u1=Ana u:u1=Ana r:r9=Gone")
		d.want("uc:u1 r:r9 r:r1", "Ana of users Gone Admin", time.Second)
		time.Sleep(time.Minute)
		d.resolve("u:u1=Ann")
		d.want("u:u1", "Ann", 0)
		old := &audit.Event{ID: "u:u1=Anna", Time: time.Now().Add(-time.Hour)}
		d.resolver.Resolve(d.Context(), slices.Values([]*audit.Event{old}))
		d.want("u:u1", "Ann", 0)
		time.Sleep(2 * refreshEvery)
		d.want("r:r9", "Gone", 0)
		source.set(func() {
			if len(source.asked) != 0 {
				d.Errorf("users were asked for: %q", source.asked)
			}
		})
	})
}

// An id that a list lacks has it read again, once a minute at most; one that is not
// found is not asked for until the next regular reading, every ten minutes.
func TestListsAreReadAgain(t *testing.T) {
	source := &fakeSource{of: map[audit.Kind]map[string]string{audit.RoleKind: {"r1": "Admin"}}}
	atDesk(t, source, func(d *desk) {
		d.want("r:r1", "Admin", 0)
		count := func() (n int) { source.set(func() { n = len(source.lists[audit.RoleKind]) }); return n }
		source.set(func() { source.of[audit.RoleKind]["r2"] = "New" })
		d.want("r:r2", "-", 0) // read a moment ago
		for range 59 {
			time.Sleep(time.Second)
			d.resolve("r:r2 r:r3")
		}
		if n := count(); n != 1 {
			d.Fatalf("%d readings in the first minute", n)
		}
		time.Sleep(2 * time.Second)
		d.want("r:r2", "New", 0)
		if n := count(); n != 2 {
			d.Fatalf("%d readings after a minute", n)
		}
		time.Sleep(2 * time.Minute)
		d.want("r:r3", "-", 0) // was not found
		source.set(func() { source.of[audit.RoleKind]["r4"] = "Newer" })
		d.want("r:r4", "Newer", time.Second) // at once, for the last reading is long ago
		if n := count(); n != 3 {
			d.Fatalf("%d readings, a new id after minutes", n)
		}
		source.set(func() { delete(source.of[audit.RoleKind], "r1"); source.of[audit.RoleKind]["r3"] = "Back" })
		time.Sleep(refreshEvery)
		d.want("r:r1 r:r3", "Admin Back", 0) // what is gone keeps its name
	})
}

// A kind that is forbidden is switched off, which is said once, and asked for again
// after an hour; the others go on.
func TestForbiddenKindIsSwitchedOff(t *testing.T) {
	refused := fmt.Errorf("no: %w", ErrForbidden)
	source := &fakeSource{
		of:    map[audit.Kind]map[string]string{audit.RoleKind: {"r1": "Admin"}, audit.GroupKind: {"g1": "Team"}},
		users: map[string]string{"u1": "Ana"},
		errs:  map[audit.Kind]error{audit.RoleKind: refused, audit.UserKind: refused},
	}
	atDesk(t, source, func(d *desk) {
		d.resolve("r:r1 u:u1")
		for range 50 {
			time.Sleep(time.Minute)
			d.want("r:r1 u:u1 g:g1 ugc:u1", "- - Team -", 0)
		}
		source.set(func() {
			if len(source.lists[audit.RoleKind]) != 1 || len(source.asked) != 1 || len(source.lists[audit.GroupKind]) < 4 {
				d.Errorf("roles were asked for %d times, users %d, groups %d", len(source.lists[audit.RoleKind]), len(source.asked), len(source.lists[audit.GroupKind]))
			}
			source.errs = nil
		})
		said := func(text string) int { return d.logs.FilterMessageSnippet(text).Len() }
		if said("cannot be looked up") != 2 {
			d.Errorf("it is said %d times", said("cannot be looked up"))
		}
		time.Sleep(11 * time.Minute)
		d.want("r:r1 u:u1", "Admin Ana", 0)
		if said("can be looked up now") != 2 {
			d.Errorf("that it works is said %d times", said("can be looked up now"))
		}
	})
}

// Slow lookups hold a step up by a second, and from then on none, until they are fast
// again; what comes late is there for later steps.
func TestSlowLookups(t *testing.T) {
	source := &fakeSource{
		of:    map[audit.Kind]map[string]string{audit.RoleKind: {"r1": "Admin"}},
		users: map[string]string{"u1": "Ana", "u2": "Ben", "u3": "Cai", "u4": "Dan", "u5": "Eve"},
		delay: map[audit.Kind]time.Duration{audit.UserKind: 5 * time.Second},
	}
	atDesk(t, source, func(d *desk) {
		d.want("r:r1 u:u1", "Admin -", longestWait)
		d.want("u:u2", "-", 0)
		time.Sleep(5 * time.Second)
		d.want("u:u1", "Ana", 0)
		time.Sleep(6 * time.Second)
		d.want("u:u2", "Ben", 0)
		d.want("u:u3", "-", 0)
		synctest.Wait() // it is on its way
		source.set(func() { source.delay[audit.UserKind] = 300 * time.Millisecond })
		time.Sleep(6 * time.Second)
		d.want("u:u4", "-", 0) // nobody knows yet that it is fast again
		time.Sleep(time.Second)
		d.want("u:u5", "Eve", 300*time.Millisecond)
	})
}

// A fault is tried again later, and holds nobody up meanwhile.
func TestFaultsHoldNobodyUp(t *testing.T) {
	broken := errors.New("broken")
	source := &fakeSource{
		of:    map[audit.Kind]map[string]string{audit.RoleKind: {"r1": "Admin"}},
		users: map[string]string{"u1": "Ana"},
		errs:  map[audit.Kind]error{audit.RoleKind: broken, audit.UserKind: broken},
	}
	atDesk(t, source, func(d *desk) {
		for range 30 {
			d.want("r:r1 u:u1", "- -", 0)
			time.Sleep(time.Second)
		}
		source.set(func() {
			if n, m := len(source.lists[audit.RoleKind]), len(source.asked); n > 3 || m > 4 {
				d.Errorf("%d and %d requests in 30 s", n, m)
			}
			source.errs = nil
		})
		time.Sleep(2 * time.Minute)
		d.resolve("u:u1")
		d.want("r:r1 u:u1", "Admin Ana", 0)
	})
}

// What a step was told does not change, whatever is learned after that.
func TestStepDoesNotChange(t *testing.T) {
	source := &fakeSource{users: map[string]string{"u1": "Ana"}}
	atDesk(t, source, func(d *desk) {
		names := d.resolver.Resolve(d.Context(), slices.Values([]*audit.Event{{ID: "u:u1 u:u2"}}))
		time.Sleep(time.Second)
		d.resolve("u:u1=Ann u:u2=Ben")
		d.want("u:u1 u:u2", "Ann Ben", 0)
		if name, _ := names.NameOf(audit.UserKind, []byte("u1")); name.Text != "Ana" {
			d.Errorf("u1 is %q now", name.Text)
		}
		if _, known := names.NameOf(audit.UserKind, []byte("u2")); known {
			d.Error("u2 is known now")
		}
	})
}

// What is no id is asked for by nobody, and a name has a greatest length.
func TestIDsAndNamesAreBounded(t *testing.T) {
	long := strings.Repeat("é", 200)
	source := &fakeSource{users: map[string]string{"u1": long}}
	atDesk(t, source, func(d *desk) {
		d.want("u:"+strings.Repeat("x", 65)+" u:a/../b u:a,b", "- - -", 0)
		got, _ := d.resolve("u:u1")
		if len(got) > longestName || !strings.HasSuffix(got, "é…") {
			d.Errorf("%d bytes: %q", len(got), got)
		}
		source.set(func() {
			if len(source.asked) != 1 || len(source.asked[0]) != 1 {
				d.Errorf("asked for %q", source.asked)
			}
		})
	})
}

// The memory of users forgets those that were not met for longest.
func TestRecentIsBounded(t *testing.T) {
	r := recent[int]{most: 100}
	for i := range 10_000 {
		r.put(fmt.Sprint(i), i)
		r.get("0") // used all the time
		if r.len() > 100 {
			t.Fatalf("%d values", r.len())
		}
	}
	for _, id := range []string{"0", "9999", "9970"} {
		if _, ok := r.get(id); !ok {
			t.Errorf("%s is forgotten", id)
		}
	}
	if _, ok := r.get("5000"); ok {
		t.Error("5000 is remembered", slices.Sorted(maps.Keys(r.young)))
	}
}
