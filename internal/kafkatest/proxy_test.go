package kafkatest_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"genesys-audit-connector/internal/kafkatest"
)

// fakeBehindProxy starts an embedded broker and counts the metadata requests that reach it.
func fakeBehindProxy(t *testing.T) (*kafkatest.Proxy, *kfake.Cluster, *atomic.Int32) {
	t.Helper()
	proxy := kafkatest.NewProxy(t)
	fake, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.ListenFn(proxy.Listen))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(fake.Close)
	var count atomic.Int32
	fake.ControlKey(int16(kmsg.Metadata), func(kmsg.Request) (kmsg.Response, error, bool) {
		fake.KeepControl()
		count.Add(1)
		return nil, nil, false
	})
	return proxy, fake, &count
}

// request sends one metadata request, without retries, on a connection of its own.
func request(t *testing.T, fake *kfake.Cluster) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	client, err := kgo.NewClient(kgo.SeedBrokers(fake.ListenAddrs()...), kgo.RequestRetries(0))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	_, err = client.SeedBrokers()[0].Request(ctx, kmsg.NewPtrMetadataRequest())
	return err
}

func TestCutIsAppliedOrNot(t *testing.T) {
	for _, c := range []struct {
		when    kafkatest.When
		applied int32
	}{{kafkatest.Before, 0}, {kafkatest.After, 1}} {
		t.Run(fmt.Sprint(c.when), func(t *testing.T) {
			proxy, fake, count := fakeBehindProxy(t)
			if err := request(t, fake); err != nil || count.Load() != 1 {
				t.Fatal(err, count.Load())
			}
			fired := proxy.CutOnce(int16(kmsg.Metadata), c.when)
			if err := request(t, fake); err == nil {
				t.Error("no error for a cut connection")
			}
			<-fired
			if got := count.Load() - 1; got != c.applied {
				t.Errorf("%d requests reached the broker, not %d", got, c.applied)
			}
			if err := request(t, fake); err != nil {
				t.Errorf("a fault that fired once is still there: %v", err)
			}
		})
	}
}

func TestRefuse(t *testing.T) {
	proxy, fake, count := fakeBehindProxy(t)
	proxy.Refuse(true)
	if err := request(t, fake); err == nil || count.Load() != 0 {
		t.Errorf("refused: %v, %d requests", err, count.Load())
	}
	proxy.Refuse(false)
	if err := request(t, fake); err != nil {
		t.Error(err)
	}
}
