package doctor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"

	"genesys-audit-connector/internal/txn"
)

// durability tells of what may cost records of a topic that can be used.
func (k Kafka) durability(f *finding, t txn.Topic) {
	for _, w := range t.Weaknesses() {
		f.warn(t.Name+" "+w.Fault, w.Cure)
	}
	if t.AppendTime && k.EventTime && t.Name != k.Offsets.Name {
		f.warn(t.Name+" has message.timestamp.type=LogAppendTime: KAFKA_RECORD_TIME=event has no effect, a record's time is that of its writing",
			"set KAFKA_RECORD_TIME=publish, or: kafka-configs --alter --topic "+t.Name+" --add-config message.timestamp.type=CreateTime")
	}
}

// examineQuotas tells of limits that brokers set to this client. To be told of them takes a
// right that nothing else needs.
func (k Kafka) examineQuotas(e examination) {
	quotas, err := k.quotas(e.ctx)
	switch version := (*txn.VersionError)(nil); {
	case errors.Is(err, txn.ErrUnauthorized):
		e.skip("quotas are told to those only who have DescribeConfigs on the cluster", nameQuotas)
		return
	case errors.As(err, &version):
		e.skip("the brokers do not tell of quotas", nameQuotas)
		return
	}
	e.judge(nameQuotas, func(f *finding) {
		if err != nil {
			f.warn(innermost(e.ctx, err).Error(), "this may pass: look again later")
			return
		}
		for _, q := range quotas {
			f.warn(fmt.Sprintf("%s is %g: beyond it brokers make the connector wait", q.Key, q.Value), q.Cure())
		}
		if len(quotas) == 0 {
			f.ok("none that slows this client")
		}
	})
}

func (k Kafka) quotas(ctx context.Context) ([]txn.Quota, error) {
	ctx, cancel := context.WithTimeout(ctx, rightTime)
	defer cancel()
	return k.Cluster.Quotas(ctx, k.User)
}

// eventHubs is what the names of Azure Event Hubs' brokers end with.
const eventHubs = ".servicebus.windows.net"

// unserved tells of a broker that lacks requests which the connector cannot do without.
func (k Kafka) unserved(f *finding, b txn.Broker) {
	host, _, _ := net.SplitHostPort(b.Addr)
	if b.Err == nil && len(b.Lacks) == 0 {
		return
	}
	if strings.HasSuffix(strings.ToLower(host), eventHubs) {
		f.fail("Azure Event Hubs does not work: it serves Fetch up to version 6 and 11 is needed, and transactions only as a preview in the premium and dedicated tiers",
			"use a Kafka that serves both: docs/kafka.md names some")
		return
	}
	for _, err := range b.Lacks {
		f.fail(fmt.Sprintf("%s: %v", b.Addr, err), "use a Kafka of 2.5 or later, or a service that serves these requests: docs/kafka.md names some")
	}
}
