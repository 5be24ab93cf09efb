package txn

import (
	"context"
	"testing"
	"time"
)

// TestSettledWaitsUntilAllBeforeTheEndIsDecided, and what is read up to there is what was
// committed when it returned, not what came since.
func TestSettledWaitsUntilAllBeforeTheEndIsDecided(t *testing.T) {
	fake, _ := fakeKafka(t, 1)
	cluster := dialFake(t, fake)
	blocking, other := newProducer(t, cluster, ProducerConfig{TransactionalID: "blocking"}), newProducer(t, cluster, ProducerConfig{})
	ready(t, blocking)
	ready(t, other)
	ctx := within(t, 60*time.Second)
	write(t, other, "before")
	commit(t, other)
	reader := cluster.NewReader(topicLog, 0, First)
	defer reader.Close()
	before, err := reader.Settled(ctx)
	if stable, stableErr := reader.Stable(ctx); err != nil || stableErr != nil || stable != before {
		t.Fatalf("nothing is open: stable at %d, settled at %d, %v, %v", stable, before, stableErr, err)
	}
	write(t, blocking, "blocking")
	for _, do := range []func(context.Context) error{blocking.sealAll, blocking.addPartitions, blocking.sendAll} {
		if err := do(ctx); err != nil {
			t.Fatal(err)
		}
	}
	write(t, other, "behind")
	commit(t, other)
	if stable, err := reader.Stable(ctx); err != nil || stable != before {
		t.Errorf("stable at %d, %v; an open transaction begins at %d", stable, err, before)
	}
	settled := make(chan int64, 1)
	go func() {
		probe := cluster.NewReader(topicLog, 0, First)
		defer probe.Close()
		end, err := probe.Settled(ctx)
		if err != nil {
			end = -1
		}
		settled <- end
	}()
	select {
	case end := <-settled:
		t.Fatalf("settled at %d while a transaction before it was open", end)
	case <-time.After(500 * time.Millisecond):
	}
	if err := blocking.Abort(ctx); err != nil {
		t.Fatal(err)
	}
	end := <-settled
	write(t, other, "since")
	commit(t, other)
	var read []string
	if err := reader.ReadTo(ctx, end, func(r *Record) error { read = append(read, string(r.Key)); return nil }); err != nil {
		t.Fatal(err)
	}
	if len(read) != 2 || read[0] != "before" || read[1] != "behind" {
		t.Errorf("read %q", read)
	}
}
