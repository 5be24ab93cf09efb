package txn

import (
	"sync/atomic"
	"time"
)

// CommitBounds are the upper bounds, in seconds, of the buckets of Stats.CommitBuckets; the last bucket has none.
var CommitBounds = [...]float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}

// Stats are what a Producer has done since it was made.
type Stats struct {
	Commits, Aborts, Retries uint64
	Records                  uint64 // committed
	Bytes                    uint64 // of committed batches, as sent
	CommitSeconds            float64
	Renewals                 uint64                        // new epochs without a new term: see Producer.renew
	ThrottledSeconds         float64                       // for which brokers' quotas wanted nothing to be sent
	CommitBuckets            [len(CommitBounds) + 1]uint64 // commits by how long they took, not cumulative
}

// counters are the live form of Stats: a status page reads them while the producer works.
type counters struct {
	commits, aborts, retries, records, bytes, nanos, renewals atomic.Uint64
	buckets                                                   [len(CommitBounds) + 1]atomic.Uint64
}

func (c *counters) committed(records, bytes int, took time.Duration) {
	c.commits.Add(1)
	c.records.Add(uint64(records))
	c.bytes.Add(uint64(bytes))
	c.nanos.Add(uint64(took))
	i := 0
	for i < len(CommitBounds) && took.Seconds() > CommitBounds[i] {
		i++
	}
	c.buckets[i].Add(1)
}

func (c *counters) snapshot() Stats {
	s := Stats{
		Commits: c.commits.Load(), Aborts: c.aborts.Load(), Retries: c.retries.Load(), Records: c.records.Load(),
		Bytes: c.bytes.Load(), CommitSeconds: time.Duration(c.nanos.Load()).Seconds(),
		Renewals: c.renewals.Load(),
	}
	for i := range s.CommitBuckets {
		s.CommitBuckets[i] = c.buckets[i].Load()
	}
	return s
}
