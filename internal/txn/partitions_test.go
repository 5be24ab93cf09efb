package txn

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kfake"

	"genesys-audit-connector/internal/health"
)

// begun is a lead that has begun, and whose end the test chooses.
type begun struct {
	partition int32
	at        time.Time
	end       chan error // makes it return by itself
	lost      <-chan struct{}
}

// sharing runs an election of several partitions in the background. Leads end with their context, but for those of
// which deaf is true.
func sharing(t *testing.T, c *Cluster, config ElectionConfig, deaf func(int32) bool) (*Election, chan begun, context.CancelFunc) {
	t.Helper()
	config.GroupID, config.Topic = "sharing", topicLog
	e := c.NewElection(config)
	ctx, stop := context.WithCancel(context.Background())
	done, begins, over := make(chan struct{}), make(chan begun, 100), make(chan struct{})
	go func() {
		defer close(done)
		if err := e.Run(ctx, func(ctx context.Context, partition int32) error {
			b := begun{partition, time.Now(), make(chan error), ctx.Done()}
			begins <- b
			select {
			case err := <-b.end:
				return err
			case <-ctx.Done():
			}
			if deaf != nil && deaf(partition) {
				<-over
			}
			return ctx.Err()
		}); err != nil {
			t.Error(err)
		}
	}()
	t.Cleanup(func() { stop(); close(over); <-done })
	return e, begins, stop
}

func owns(t *testing.T, e *Election, limit time.Duration, want ...int32) {
	t.Helper()
	for began := time.Now(); !slices.Equal(e.Owned(), want); time.Sleep(5 * time.Millisecond) {
		if time.Since(began) > limit {
			t.Fatalf("%s owns %v, not %v within %v", e.config.Name, e.Owned(), want, limit)
		}
	}
	role := RoleActive
	if len(want) == 0 {
		role = RoleStandby
	}
	if e.Role() != role {
		t.Errorf("%s owns %v and is %s", e.config.Name, want, e.Role())
	}
}

// A partition that fails is tried again after pauses that grow, by others where that leaves all even; the other
// partitions go on untouched.
func TestElectionOfAFailingPartition(t *testing.T) {
	t.Parallel()
	fake, _ := fakeKafka(t, 1, kfake.GroupMinSessionTimeout(100*time.Millisecond))
	const limit = 10 * time.Second
	config := ElectionConfig{Name: "a", Partitions: 5, SessionTimeout: 2 * time.Second}
	a, ofA, _ := sharing(t, dialFake(t, fake), config, nil)
	owns(t, a, limit, 0, 1, 2, 3, 4)
	leads := map[int32]begun{}
	for range 5 {
		b := await(t, ofA, limit, "leads")
		leads[b.partition] = b
	}
	for range 4 {
		leads[1].end <- errors.New("test: poisoned")
		again := await(t, ofA, limit, "tries again")
		if again.partition != 1 {
			t.Fatalf("partition %d began again", again.partition)
		}
		leads[1] = again
	}

	config.Name = "b"
	b, ofB, _ := sharing(t, dialFake(t, fake), config, nil)
	owns(t, b, limit, 2, 3, 4)
	owns(t, a, limit, 0, 1)
	for range 3 {
		b := await(t, ofB, limit, "the newcomer leads")
		leads[b.partition] = b
	}
	leads[3].end <- errors.New("test: poisoned")
	if got := await(t, ofA, limit, "the other tries"); got.partition != 3 {
		t.Errorf("partition %d began", got.partition)
	}
	owns(t, a, limit, 0, 1, 3)
	owns(t, b, limit, 2, 4)
	for _, p := range []int32{0, 1, 2, 4} {
		select {
		case <-leads[p].lost:
			t.Errorf("partition %d was interrupted", p)
		default:
		}
	}
	if len(ofA)+len(ofB) > 0 {
		t.Errorf("%d others began again", len(ofA)+len(ofB))
	}
}

// A lead that does not stop keeps its partition for a session, and no other partition waits for it.
func TestElectionOfAPartitionThatDoesNotStop(t *testing.T) {
	t.Parallel()
	fake, _ := fakeKafka(t, 1, kfake.GroupMinSessionTimeout(100*time.Millisecond))
	const session, limit = time.Second, 10 * time.Second
	config := ElectionConfig{Name: "a", Partitions: 4, SessionTimeout: session}
	a, ofA, _ := sharing(t, dialFake(t, fake), config, func(p int32) bool { return p == 3 })
	owns(t, a, limit, 0, 1, 2, 3)
	var deaf begun
	for range 4 {
		if b := await(t, ofA, limit, "leads"); b.partition == 3 {
			deaf = b
		}
	}
	config.Name = "b"
	b, ofB, _ := sharing(t, dialFake(t, fake), config, nil)
	first, second := await(t, ofB, limit, "one"), await(t, ofB, limit, "the other")
	if first.partition != 2 || second.partition != 3 {
		t.Errorf("partition %d, then %d", first.partition, second.partition)
	}
	if waited := second.at.Sub(first.at); waited < session/2 || waited > 3*session {
		t.Errorf("the other waited %v for it, session %v", waited, session)
	}
	<-deaf.lost
	owns(t, a, limit, 0, 1)
	owns(t, b, limit, 2, 3)
}

// A replica with another number of partitions cannot join, and is told why.
func TestElectionOfAnotherNumberOfPartitions(t *testing.T) {
	t.Parallel()
	fake, _ := fakeKafka(t, 1, kfake.GroupMinSessionTimeout(100*time.Millisecond))
	const limit = 10 * time.Second
	one, _, leave := sharing(t, dialFake(t, fake), ElectionConfig{Name: "one", SessionTimeout: time.Second}, nil)
	owns(t, one, limit, 0)
	var mu sync.Mutex
	var last error
	many, _, _ := sharing(t, dialFake(t, fake), ElectionConfig{Name: "many", Partitions: 2, SessionTimeout: time.Second, Report: func(_ health.Subject, err error) {
		mu.Lock()
		defer mu.Unlock()
		last = err
	}}, nil)
	refused := func() error { mu.Lock(); defer mu.Unlock(); return last }
	for began := time.Now(); refused() == nil; time.Sleep(5 * time.Millisecond) {
		if time.Since(began) > limit {
			t.Fatal("it is not refused")
		}
	}
	if err := refused(); !errors.Is(err, kafka.InconsistentGroupProtocol) || !strings.Contains(err.Error(), "group sharing has members that share another number of partitions") {
		t.Error(err)
	}
	owns(t, one, 0, 0)
	leave()
	owns(t, many, 15*time.Second, 0, 1)
}
