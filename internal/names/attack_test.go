package names

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"genesys-audit-connector/internal/audit"
)

// tellAt takes in what an event of some time tells.
func (d *desk) tellAt(event string, at time.Time) {
	d.resolver.Resolve(d.Context(), slices.Values([]*audit.Event{{ID: event, Time: at}}))
}

// An event whose time lies in the future does not keep newer names out for ever.
func TestNameFromTheFutureIsReplaced(t *testing.T) {
	source := &fakeSource{users: map[string]string{"u1": "Ana"}}
	atDesk(t, source, func(d *desk) {
		d.tellAt("u:u1=Wrong r:r1=Wrong", time.Now().AddDate(5000, 0, 0))
		time.Sleep(time.Minute)
		d.tellAt("u:u1=Ann r:r1=Admin", time.Now())
		d.want("u:u1 r:r1", "Ann Admin", 0)
		time.Sleep(staleAfter + time.Minute)
		d.resolve("u:u1")
		time.Sleep(time.Second)
		d.want("u:u1", "Ana", 0)
	})
}

// Where a kind may not be listed, events are all there is: the newest of them counts,
// in whatever order they come.
func TestNewestNameOfAnEventCounts(t *testing.T) {
	source := &fakeSource{errs: map[audit.Kind]error{audit.RoleKind: ErrForbidden}, of: map[audit.Kind]map[string]string{audit.QueueKind: {"q1": "Listed"}}}
	atDesk(t, source, func(d *desk) {
		d.resolve("q:q1") // the list is read
		now := time.Now()
		d.tellAt("r:r1=Old", now.Add(-time.Hour))
		d.want("r:r1", "Old", 0)
		d.tellAt("r:r1=New", now)
		d.tellAt("r:r1=Older q:q1=Older", now.Add(-2*time.Hour))
		d.want("r:r1 q:q1", "New Listed", 0)
		time.Sleep(time.Minute)
		d.tellAt("q:q1=Renamed", time.Now())
		d.want("q:q1", "Renamed", 0)
	})
}

// Who acts is called a user, and may be a client: that does not make a client a user
// where the kind of a member is told.
func TestActorIsNoProofOfAUser(t *testing.T) {
	source := &fakeSource{of: map[audit.Kind]map[string]string{audit.ClientKind: {"c1": "Robot"}}, users: map[string]string{"u1": "Ana"}}
	atDesk(t, source, func(d *desk) {
		d.resolve("uc:c1=Robot uc:c2=Ghost uc:u1=Ann")
		d.want("ugc:c1", "Robot of OAuth clients", time.Second)
		d.want("ugc:u1", "Ana of users", time.Second) // asked for, to be sure
		d.want("ugc:c2", "Ghost of things of several kinds", time.Second)
		d.want("uc:c2", "Ghost", 0)
	})
}

// One kind whose lookups hang holds steps up once, though others answer at once.
func TestOneSlowKindHoldsStepsUpOnce(t *testing.T) {
	source := &fakeSource{
		users: map[string]string{}, of: map[audit.Kind]map[string]string{audit.QueueKind: {"q1": "Support"}},
		delay: map[audit.Kind]time.Duration{audit.RoleKind: 30 * time.Second}, errs: map[audit.Kind]error{audit.RoleKind: errors.New("it hangs")},
	}
	for i := range 100 {
		source.users[fmt.Sprint("u", i)] = "Ana"
	}
	atDesk(t, source, func(d *desk) {
		var waited time.Duration
		for i := range 100 {
			got, took := d.resolve(fmt.Sprintf("r:r%d u:u%d", i, i))
			waited += took
			if got != "- Ana" {
				d.Fatalf("%q", got)
			}
			time.Sleep(2 * time.Second)
		}
		if waited > 2*longestWait {
			d.Errorf("steps were held up for %s", waited)
		}
	})
}

// Somebody who was made a moment ago may not be there yet: they are asked for again
// after a minute, and then as seldom as whoever is nobody.
func TestNewUserIsAskedForAgainSoon(t *testing.T) {
	source := &fakeSource{users: map[string]string{}}
	atDesk(t, source, func(d *desk) {
		d.want("u:u1 u:u2", "- -", time.Second)
		source.set(func() { source.users["u1"] = "New" })
		time.Sleep(refreshAtMost + time.Second)
		d.want("u:u1 u:u2", "New -", time.Second)
		for range 60 {
			time.Sleep(10 * time.Second)
			d.resolve("u:u2")
		}
		source.set(func() {
			if n := len(source.asked); n < 3 || n > 5 {
				d.Errorf("asked %d times: %q", n, source.asked)
			}
		})
	})
}
