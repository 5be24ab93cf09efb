package txn

import (
	"fmt"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/addpartitionstotxn"
	"github.com/segmentio/kafka-go/protocol/apiversions"
	"github.com/segmentio/kafka-go/protocol/describeclientquotas"
	"github.com/segmentio/kafka-go/protocol/endtxn"
	"github.com/segmentio/kafka-go/protocol/findcoordinator"
	"github.com/segmentio/kafka-go/protocol/heartbeat"
	"github.com/segmentio/kafka-go/protocol/initproducerid"
	"github.com/segmentio/kafka-go/protocol/joingroup"
	"github.com/segmentio/kafka-go/protocol/listoffsets"
	"github.com/segmentio/kafka-go/protocol/metadata"
	"github.com/segmentio/kafka-go/protocol/rawproduce"
	"github.com/segmentio/kafka-go/protocol/syncgroup"
)

// versions is a range of versions of a request, both ends included.
type versions struct{ min, max int16 }

func (v versions) String() string {
	if v.min == v.max {
		return fmt.Sprintf("version %d", v.min)
	}
	return fmt.Sprintf("versions %d to %d", v.min, v.max)
}

// served are the versions that a broker takes of each request.
type served map[protocol.ApiKey]versions

// VersionError is a request of which the broker takes no version that is spoken here. It is
// an ErrAbort: it lasts until one of them is another release.
type VersionError struct {
	Request        string
	Wanted, Served string
}

func (e *VersionError) Error() string {
	return fmt.Sprintf("the broker serves %s of %s and %s is wanted: this needs another release of Kafka or of the connector", e.Served, e.Request, e.Wanted)
}

func (e *VersionError) Unwrap() error { return ErrAbort }

// negotiate asks the broker for what it serves, and makes the connection use the newest
// version of each request that both sides know.
func negotiate(wire *protocol.Conn) (served, error) {
	res, err := wire.RoundTrip(&apiversions.Request{})
	if err != nil {
		return nil, err
	}
	answer := res.(*apiversions.Response)
	if answer.ErrorCode != 0 {
		return nil, codeError(kafka.Error(answer.ErrorCode), "", "")
	}
	all := make(served, len(answer.ApiKeys))
	spoken := make(map[protocol.ApiKey]int16, len(answer.ApiKeys))
	for _, k := range answer.ApiKeys {
		key := protocol.ApiKey(k.ApiKey)
		all[key] = versions{k.MinVersion, k.MaxVersion}
		spoken[key] = key.SelectVersion(k.MinVersion, k.MaxVersion)
		if key == protocol.DescribeClientQuotas {
			spoken[key] = 0 // kafka-go 0.4.51 encodes version 1 without its compact arrays
		}
	}
	wire.SetVersions(spoken)
	return all, nil
}

// allow returns a VersionError where the broker serves no version of the request that is
// spoken here. kafka-go does not compare: it sends what the broker cannot read.
func (s served) allow(req protocol.Message) error {
	key := req.ApiKey()
	want := wanted(req)
	have, ok := s[key]
	if ok && have.min <= want.max && have.max >= want.min {
		return nil
	}
	e := &VersionError{Request: requestName(key), Wanted: want.String(), Served: "no version"}
	if ok {
		e.Served = have.String()
	}
	return e
}

// lacks returns a VersionError for each request without which nothing is published or read back.
func (s served) lacks() []error {
	var all []error
	for _, req := range []protocol.Message{
		&metadata.Request{}, &findcoordinator.Request{}, &joingroup.Request{}, &syncgroup.Request{}, &heartbeat.Request{}, &listoffsets.Request{},
		&initproducerid.Request{ProducerID: 1}, &addpartitionstotxn.Request{}, &rawproduce.Request{}, &endtxn.Request{}, &fetchRequest{},
	} {
		if err := s.allow(req); err != nil {
			all = append(all, err)
		}
	}
	return all
}

// wanted returns the versions of a request that are spoken here.
func wanted(req protocol.Message) versions {
	key := req.ApiKey()
	want := versions{key.MinVersion(), key.MaxVersion()}
	switch req := req.(type) {
	case *describeclientquotas.Request:
		want.max = 0
	case *fetchRequest:
		return versions{fetchVersion, fetchVersion}
	case *listTransactions:
		return versions{listTransactionsVersion, listTransactionsVersion}
	case *rawproduce.Request:
		want.min = 3 // the first with transactions and record batches
	case *initproducerid.Request:
		if req.ProducerID >= 0 {
			want.min = 3 // KIP-360, Kafka 2.5: an older one would not see who asks, and fence
		}
	}
	return want
}

func requestName(key protocol.ApiKey) string {
	if key == keyListTransactions {
		return "ListTransactions"
	}
	return key.String()
}
