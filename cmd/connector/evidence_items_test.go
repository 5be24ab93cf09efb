package main

import (
	"strings"
	"testing"

	"genesys-audit-connector/internal/evidence"
	"genesys-audit-connector/internal/txn"
)

// itemsOf are what evidence verify makes of records.
func itemsOf(t *testing.T, g grouping, records ...*txn.Record) (items []evidence.Item) {
	t.Helper()
	give := func(i evidence.Item) error { items = append(items, i); return nil }
	for _, r := range records {
		if err := g.add(r, give); err != nil {
			t.Fatal(err)
		}
	}
	if err := g.end(give); err != nil {
		t.Fatal(err)
	}
	return items
}

func recordOf(key, value, org, index string) *txn.Record {
	r := &txn.Record{Key: []byte(key), Value: []byte(value)}
	if value == "" {
		r.Value = nil
	}
	for name, text := range map[string]string{"org": org, "log-index": index} {
		if text != "" {
			r.Headers = append(r.Headers, txn.Header{Key: name, Value: []byte(text)})
		}
	}
	return r
}

// TestRecordsThatNobodyPublishedAreLookedAt: what names no organisation, and a null value,
// at which a consumer deletes the event. Another organisation's are its own.
func TestRecordsThatNobodyPublishedAreLookedAt(t *testing.T) {
	for name, r := range map[string]*txn.Record{
		"no organisation":               recordOf("id", "{}", "", ""),
		"a null value":                  recordOf("id", "", "acme", ""),
		"a null value, no organisation": recordOf("id", "", "", ""),
		"an index that is not a number": recordOf("id", "{}", "acme", "x"),
		"an index that an int64 is not": recordOf("id", "{}", "acme", "9223372036854775808"),
	} {
		for topic, g := range map[string]grouping{"raw": &rawItems{org: "acme"}, "changes": &changeItems{org: "acme"}} {
			if items := itemsOf(t, g, r); len(items) != 1 || items[0].Index != -1 {
				t.Errorf("%s, %s: %+v", name, topic, items)
			}
		}
	}
	if items := itemsOf(t, &rawItems{org: "acme"}, recordOf("id", "{}", "other", "3")); len(items) != 0 {
		t.Errorf("another organisation's: %+v", items)
	}
}

// TestKeysOfChangeRecordsAreHeldAgainstTheirPlace: no hash is over them, and consumers
// replace by key.
func TestKeysOfChangeRecordsAreHeldAgainstTheirPlace(t *testing.T) {
	for _, c := range []struct {
		keys        string
		wrong, rest bool
	}{{"id:0 id:1 id:2", false, false}, {"id:0 id:2", true, false}, {"id:0 id:0", true, false}, {"id:1 id:2", true, true}, {"id:00", true, true}} {
		var records []*txn.Record
		for key := range strings.FieldsSeq(c.keys) {
			records = append(records, recordOf(key, "{}", "acme", "7"))
		}
		items := itemsOf(t, &changeItems{org: "acme"}, records...)
		if len(items) != 1 || items[0].Wrong != c.wrong || items[0].Rest != c.rest || items[0].ID != "id" {
			t.Errorf("%s: %+v", c.keys, items)
		}
	}
}

// TestASecretKeyGivenAsTheVerifiersIsNotShown: "connector evidence key" prints one line above the other.
func TestASecretKeyGivenAsTheVerifiersIsNotShown(t *testing.T) {
	signer, _, err := evidence.GenerateKey("acme", nil)
	if err != nil {
		t.Fatal(err)
	}
	_, err = verifiers([]string{signer})
	if secret := signer[strings.LastIndexByte(signer, '+')+1:]; err == nil || strings.Contains(err.Error(), secret) {
		t.Errorf("it is shown: %t", err != nil)
	}
}

// TestADirectoryWithoutCheckpointsIsAnError: it must not look as if there were some.
func TestADirectoryWithoutCheckpointsIsAnError(t *testing.T) {
	if _, err := readCheckpoints([]string{t.TempDir()}); err == nil {
		t.Error("it is taken")
	}
}
