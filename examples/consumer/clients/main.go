// Command clients prints every committed change: clients BROKERS TOPIC GROUP SCHEMA_FILE
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"strings"

	"github.com/linkedin/goavro/v2"
	"github.com/twmb/franz-go/pkg/kgo"
)

func main() {
	brokers, topic, group, schemaFile := os.Args[1], os.Args[2], os.Args[3], os.Args[4]
	schema, err := os.ReadFile(schemaFile)
	if err != nil {
		log.Fatal(err)
	}
	codec, err := goavro.NewCodec(string(schema))
	if err != nil {
		log.Fatal(err)
	}
	client, err := kgo.NewClient(
		kgo.SeedBrokers(strings.Split(brokers, ",")...),
		kgo.ConsumeTopics(topic),
		kgo.ConsumerGroup(group),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), // not the default
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.DisableAutoCommit(),
	)
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	for ctx := context.Background(); ; {
		fetches := client.PollFetches(ctx)
		fetches.EachError(func(topic string, partition int32, err error) { log.Printf("%s-%d: %v", topic, partition, err) })
		fetches.EachRecord(func(r *kgo.Record) {
			if r.Value == nil {
				fmt.Printf("%s\terased\n", r.Key) // delete here what was made of this key
				return
			}
			// Single-object encoding: C3 01 and 8 bytes of fingerprint. goavro 2.15 works out another fingerprint for
			// schemas with logical types, so its NativeFromSingle refuses these values.
			native, _, err := codec.NativeFromBinary(r.Value[10:])
			if err != nil {
				log.Fatalf("%s-%d at %d: %v", r.Topic, r.Partition, r.Offset, err)
			}
			change := native.(map[string]any)
			// Deliver it here, under its key: that is the same when it comes again.
			fmt.Println(strings.Join([]string{string(r.Key), text(change["action"]), text(change["entityType"]), text(change["configurationKey"])}, "\t"))
		})
		if err := client.CommitUncommittedOffsets(ctx); err != nil { // after delivery
			log.Print(err)
		}
	}
}

// text is a string, or a union of null and string, as goavro has them.
func text(value any) string {
	switch v := value.(type) {
	case string:
		return v
	case map[string]any:
		return v["string"].(string)
	}
	return ""
}
