//go:build kafka

package replica

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/zap"

	"genesys-audit-connector/internal/audit"
	"genesys-audit-connector/internal/codec"
	"genesys-audit-connector/internal/health"
	"genesys-audit-connector/internal/kafkatest"
	"genesys-audit-connector/internal/offsets"
	"genesys-audit-connector/internal/poller"
	"genesys-audit-connector/internal/sink"
	"genesys-audit-connector/internal/txn"
)

const (
	loadOrg, loadTopic = "org", "offsets"
	// stepIDs is how many ids a step holds, which is as many as in a backfill (poller: stepEvents).
	stepIDs = 4000
	// bytesAllowed is the memory for an id when all are loaded.
	bytesAllowed = 64
	// loadVariable makes the test binary load the topic of the brokers that it names, and print what that took.
	loadVariable = "REPLICA_TEST_LOAD"
)

func TestMain(m *testing.M) {
	if brokers := os.Getenv(loadVariable); brokers != "" {
		if err := json.NewEncoder(os.Stdout).Encode(loadOnce(strings.Split(brokers, ","))); err != nil {
			panic(err)
		}
		return
	}
	os.Exit(m.Run())
}

// loaded is what the start of a replica took.
type loaded struct {
	IDs   int
	Took  time.Duration
	CPU   time.Duration
	Bytes float64 // of heap for each id
}

// load reads the offsets topic as a replica that starts.
func loadOnce(brokers []string) loaded {
	cluster := txn.Dial(txn.Config{Brokers: brokers, ClientID: "load"})
	defer cluster.Close()
	r := New(Config{Org: loadOrg, Cluster: cluster, Offsets: loadTopic, Health: new(health.Monitor), Logger: zap.NewNop()})
	f := r.newFollower()
	defer f.reader.Close()
	base, cpu, began := heap(), cpuTime(), time.Now()
	if err := f.catchUp(context.Background()); err != nil {
		panic(err)
	}
	l := loaded{IDs: f.state.IDs.Len(), Took: time.Since(began), CPU: cpuTime() - cpu}
	l.Bytes = float64(heap()-base) / float64(l.IDs)
	runtime.KeepAlive(f)
	return l
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkLoad loads the ids that a replica finds in the offsets topic when it
// starts, from Apache Kafka into a process of its own. It fails where an id takes
// more memory, or the load more time, than is promised.
func BenchmarkLoad(b *testing.B) {
	for _, test := range []struct {
		ids    int
		within time.Duration
	}{
		{1_000_000, 2 * time.Second},
		{10_000_000, 15 * time.Second},
	} {
		b.Run(fmt.Sprint("ids=", test.ids), func(b *testing.B) {
			kafka := kafkatest.Start(b, kafkatest.Options{})
			began := time.Now()
			fill(b, kafka.Brokers(), test.ids)
			b.Logf("written in %v", time.Since(began).Round(time.Millisecond))
			fastest, rss := loaded{Took: time.Hour}, 0.0
			for b.Loop() {
				l, peak := loadElsewhere(b, kafka.Brokers())
				if l.IDs != test.ids {
					b.Fatalf("%d ids are loaded", l.IDs)
				}
				if rss = max(rss, peak); l.Took < fastest.Took {
					fastest = l
				}
			}
			if fastest.Bytes > bytesAllowed {
				b.Errorf("%.1f bytes for each id", fastest.Bytes)
			}
			if fastest.Took > test.within {
				b.Errorf("loaded in %v, not %v", fastest.Took, test.within)
			}
			b.ReportMetric(0, "ns/op") // it would be that of starting a process, too
			b.ReportMetric(fastest.Took.Seconds(), "s/load")
			b.ReportMetric(fastest.CPU.Seconds(), "CPU-s/load")
			b.ReportMetric(float64(test.ids)/fastest.Took.Seconds(), "ids/s")
			b.ReportMetric(fastest.Bytes, "B/id")
			b.ReportMetric(rss/(1<<20), "peak-RSS-MiB")
		})
	}
}

// loadElsewhere loads in a process of its own and tells its largest resident size.
func loadElsewhere(b *testing.B, brokers []string) (l loaded, rss float64) {
	b.Helper()
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), loadVariable+"="+strings.Join(brokers, ","))
	c.Stderr = os.Stderr
	out, err := c.Output()
	if err != nil {
		b.Fatal(err)
	}
	if err := json.Unmarshal(out, &l); err != nil {
		b.Fatalf("%v: %s", err, out)
	}
	return l, float64(c.ProcessState.SysUsage().(*syscall.Rusage).Maxrss << 10) // kilobytes on Linux
}

// fill writes ids as the connector does: a step's with the ledger that covers it.
func fill(b *testing.B, brokers []string, ids int) {
	b.Helper()
	ctx := b.Context()
	cluster := txn.Dial(txn.Config{Brokers: brokers, ClientID: "remember"})
	defer cluster.Close()
	_, err := cluster.EnsureTopics(ctx, []txn.TopicSpec{{Name: loadTopic, Partitions: 1, Configs: map[string]string{"cleanup.policy": "compact"}}}, true)
	if err != nil {
		b.Fatal(err)
	}
	producer, err := cluster.NewProducer(txn.ProducerConfig{TransactionalID: "load", Compression: txn.LZ4})
	if err != nil {
		b.Fatal(err)
	}
	defer producer.Close()
	if err := producer.Init(ctx); err != nil {
		b.Fatal(err)
	}
	encoder, err := codec.NewEncoder(codec.Options{})
	if err != nil {
		b.Fatal(err)
	}
	out := sink.New(sink.Config{Org: loadOrg, Offsets: loadTopic}, producer, encoder)
	rnd, end := rand.New(rand.NewPCG(1, 2)), time.Now().UTC()
	covered := offsets.Ledger{Start: end.Add(-24 * time.Hour)}
	step := &poller.Step{Remember: make([]poller.Remembered, 0, stepIDs), Ledgers: map[string]offsets.Ledger{}}
	for written := 0; written < ids; written += stepIDs {
		at := covered.Start.Add(time.Duration(float64(24*time.Hour) * float64(written) / float64(ids))).Truncate(time.Millisecond)
		step.Remember = step.Remember[:0]
		for range min(stepIDs, ids-written) {
			step.Remember = append(step.Remember, poller.Remembered{ID: uuid(rnd), At: at})
		}
		step.Ledgers["type=configuration"] = covered.Cover(audit.Interval{From: covered.Start, To: at.Add(time.Millisecond)})
		if err := out.Commit(ctx, step); err != nil {
			b.Fatal(err)
		}
	}
}

// uuid is a random one, as the API's ids are.
func uuid(rnd *rand.Rand) string {
	s := strconv.AppendUint(make([]byte, 0, 36), rnd.Uint64()|1<<63, 16)
	t := strconv.AppendUint(nil, rnd.Uint64()|1<<63, 16)
	return fmt.Sprintf("%s-%s-%s-%s-%s", s[:8], s[8:12], s[12:], t[:4], t[4:])
}
