package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/sethvargo/go-envconfig"
)

// TestMigrate moves an organisation from a deployment of its own to a fleet, and one of the
// fleet back: each goes on where it was, and nobody goes on in the old topic.
func TestMigrate(t *testing.T) {
	t.Parallel()
	s := newFleetScene(t, nil, 1, 60)
	s.env["KAFKA_SESSION_TIMEOUT"] = "5s" // nobody dies here
	fleet := s.env["KAFKA_TOPIC_OFFSETS"] + ".fleet"
	alone := s.env["KAFKA_TOPIC_OFFSETS"]
	world := s.worlds["org-0"]
	single := func() { // the environment of a deployment of org-0 alone
		delete(s.env, "ORGS_FILE")
		delete(s.env, "KAFKA_OFFSETS_PARTITIONS")
		s.env["ORG_NAME"], s.env["GENESYS_API_URL"], s.env["GENESYS_LOGIN_URL"] = "org-0", world.URL, world.URL
		s.env["KAFKA_GROUP_ID"], s.env["KAFKA_TOPIC_OFFSETS"] = "genesys-audit-org-0", alone
	}
	many := func() {
		for _, name := range []string{"ORG_NAME", "GENESYS_API_URL", "GENESYS_LOGIN_URL", "GENESYS_CLIENT_ID", "GENESYS_CLIENT_SECRET"} {
			delete(s.env, name)
		}
		s.env["ORGS_FILE"], s.env["KAFKA_OFFSETS_PARTITIONS"] = s.file, "4"
		s.env["KAFKA_GROUP_ID"], s.env["KAFKA_TOPIC_OFFSETS"] = "genesys-audit", fleet
	}
	migrate := func(o migrateOptions) (string, error) {
		configs, err := loadSome(envconfig.MapLookuper(s.env), o.org)
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		err = migrateOne(t.Context(), configs[0], o, &out)
		return out.String(), err
	}

	single()
	_, stop := s.start()
	s.complete(30*time.Second, "org-0")
	many()
	if _, err := migrate(migrateOptions{topic: alone}); err == nil || !strings.Contains(err.Error(), "stop them first") {
		t.Fatalf("while the old deployment runs: %v", err)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	world.Org.Emit(20) // while nothing runs
	if out, err := migrate(migrateOptions{topic: alone}); err != nil || !strings.Contains(out, "1 ledgers and ") {
		records, readErr := readTopic(t.Context(), s.brokers, alone)
		t.Fatalf("%q, %v; the topic has %d records (%v)", out, err, len(records), readErr)
	}
	if out, err := migrate(migrateOptions{topic: alone}); err != nil || !strings.Contains(out, "already") {
		t.Fatalf("again: %q, %v", out, err)
	}
	_, stopFleet := s.replica()
	s.complete(30*time.Second, "org-0")
	if err := stopFleet(); err != nil {
		t.Fatal(err)
	}

	single()
	s.env["GENESYS_CLIENT_ID"], s.env["GENESYS_CLIENT_SECRET"] = "sandbox", "sandbox-secret"
	_, stop = s.start()
	s.until(20*time.Second, "the old deployment refuses", func() bool {
		select {
		case <-s.over:
			return true
		default:
			return false
		}
	})
	if err := stop(); err == nil || !strings.Contains(err.Error(), "was moved to topic "+fleet) {
		t.Errorf("it ended with %v", err)
	}

	world.Org.Emit(20)
	back := alone + ".back"
	s.env["KAFKA_TOPIC_OFFSETS"] = back
	if out, err := migrate(migrateOptions{topic: fleet, fleet: true, group: "genesys-audit"}); err != nil || !strings.Contains(out, "moved from") {
		t.Fatalf("back: %q, %v", out, err)
	}
	_, stop = s.start()
	s.complete(30*time.Second, "org-0")
	if err := stop(); err != nil {
		t.Fatal(err)
	}
}
