package txn

import (
	"testing"
	"time"
)

// A record outside of transactions is read like any other, and a group without
// members has none.
func TestAppend(t *testing.T) {
	fake, _ := fakeKafka(t, 1)
	ctx, c := within(t, 20*time.Second), dialFake(t, fake)
	want := Record{Key: []byte("org/request/1"), Value: []byte(`{"kind":"backfill"}`), Time: 1_700_000_000_000}
	if err := c.Append(ctx, topicLog, 0, &want); err != nil {
		t.Fatal(err)
	}
	found := 0
	r := c.NewReader(topicLog, 0, First)
	defer r.Close()
	err := r.ReadToEnd(ctx, func(got *Record) error {
		if string(got.Key) == string(want.Key) && string(got.Value) == string(want.Value) && got.Time == want.Time {
			found++
		}
		return nil
	})
	if err != nil || found != 1 {
		t.Errorf("found %d times: %v", found, err)
	}
	if members, err := c.GroupMembers(ctx, "nobody"); len(members) != 0 || err != nil {
		t.Errorf("%v are members of a group that does not exist: %v", members, err)
	}
}
