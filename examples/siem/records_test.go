package main

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"genesys-audit-connector/examples/consumer"
	"genesys-audit-connector/internal/audit"
	"genesys-audit-connector/internal/codec"
	"genesys-audit-connector/internal/jsonscan"
)

// codecs are made once, for that takes a while. Tests here are one after another.
var codecs = sync.OnceValues(func() (*codec.Encoder, *codec.Decoder) {
	encoder, err := codec.NewEncoder(codec.Options{})
	if err != nil {
		panic(err)
	}
	decoder, err := codec.NewDecoder(nil)
	if err != nil {
		panic(err)
	}
	return encoder, decoder
})

// records are the change records of an event as the API shows it, by the connector's
// own encoder and decoder. They have no names that are looked up.
func records(t testing.TB, event string) []consumer.Message {
	t.Helper()
	encoder, decoder := codecs()
	var doc jsonscan.Doc
	if err := doc.Parse([]byte(event)); err != nil {
		t.Fatalf("%s: %v", event, err)
	}
	e := audit.NewEvent(doc.Root())
	if e.Problem != "" {
		t.Fatalf("%s: %s", event, e.Problem)
	}
	messages := make([]consumer.Message, encoder.Normalise(&e, time.Now()).Changes)
	for i := range messages {
		change, err := decoder.Decode(encoder.Record(i))
		if err != nil {
			t.Fatal(err)
		}
		messages[i] = consumer.Message{Change: change, ID: fmt.Sprintf("%s:%d", e.ID, i), Org: "acme"}
	}
	return messages
}
