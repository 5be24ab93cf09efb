//go:build kafka

package main

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"genesys-audit-connector/internal/doctor"
	"genesys-audit-connector/internal/kafkatest"
)

// aclRight is one operation on one resource, as operating.md grants it.
type aclRight struct{ resource, name, operation string }

// String is the right as the check names it when it is missing.
func (r aclRight) String() string {
	return "lacks " + r.operation + " on " + strings.ReplaceAll(r.resource, "-", " ") + " " + r.name
}

// flags are the right as the hint gives it to kafka-acls.
func (r aclRight) flags() string {
	return "--operation " + r.operation + " --" + r.resource + " " + r.name
}

// documentedRights are those of the commands in operating.md.
func documentedRights(t *testing.T) (all []aclRight) {
	t.Helper()
	text, err := os.ReadFile("../../docs/operating.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, command := range regexp.MustCompile(`(?m)^acl --.*$`).FindAllString(string(text), -1) {
		flags := regexp.MustCompile(`--(\S+) (\S+)`).FindAllStringSubmatch(command, -1)
		for _, on := range flags {
			for _, may := range flags {
				if on[1] != "operation" && may[1] == "operation" {
					all = append(all, aclRight{on[1], on[2], may[2]})
				}
			}
		}
	}
	if len(all) < 10 {
		t.Fatalf("operating.md grants only %v", all)
	}
	return all
}

// acls gives rights to the user of the connector and takes them.
type acls struct {
	*testing.T
	*kadm.Client
}

func (a acls) builder(r aclRight) *kadm.ACLBuilder {
	b := kadm.NewACLs().Allow("User:connector").AllowHosts("*").ResourcePatternType(kadm.ACLPatternLiteral).Operations(map[string]kadm.ACLOperation{
		"Read": kadm.OpRead, "Write": kadm.OpWrite, "Create": kadm.OpCreate, "DescribeConfigs": kadm.OpDescribeConfigs,
	}[r.operation])
	switch r.resource {
	case "topic":
		return b.Topics(r.name)
	case "group":
		return b.Groups(r.name)
	}
	return b.TransactionalIDs(r.name)
}

func (a acls) give(r aclRight) {
	a.Helper()
	if results, err := a.CreateACLs(a.Context(), a.builder(r)); err != nil || len(results) != 1 || results[0].Err != nil {
		a.Fatalf("give %v: %v, %+v", r, err, results)
	}
}

func (a acls) take(r aclRight) {
	a.Helper()
	if results, err := a.DeleteACLs(a.Context(), a.builder(r)); err != nil || len(results) != 1 || len(results[0].Deleted) != 1 {
		a.Fatalf("take %v: %v, %+v", r, err, results)
	}
}

// expectLacks waits until the check names exactly these rights, and nothing else is found.
func (s *scene) expectLacks(rights ...aclRight) {
	s.Helper()
	deadline := time.Now().Add(15 * time.Second) // ACLs reach the brokers a little later
	for {
		report, _ := s.checks(nil)
		found, others := report.notOK(), 0
		delete(found, "configuration") // the scene's settings are warned of
		var told string
		for _, c := range found {
			told += string(c.Status) + " " + c.Name + ": " + c.Detail + "\n → " + c.Hint + "\n"
			if !strings.Contains(c.Detail, "lacks ") && c.Status != doctor.Skipped {
				others++
			}
		}
		missing := slices.DeleteFunc(slices.Clone(rights), func(r aclRight) bool {
			return strings.Contains(told, r.String()) && strings.Contains(told, r.flags())
		})
		if len(missing) == 0 && others == 0 && strings.Count(told, "lacks ") == len(rights) {
			return
		}
		if time.Now().After(deadline) {
			s.Fatalf("not named: %v\n%s", missing, told)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// TestCheckNamesEveryRight: on Kafka's own authorizer, each right that
// operating.md grants is named when it is missing, before the topics exist and
// after; with all of them, and no other, the check is content and the connector
// does its work.
func TestCheckNamesEveryRight(t *testing.T) {
	const password = "canary-9a55"
	cluster := kafkatest.Start(t, kafkatest.Options{Users: map[string]string{"connector": password}, Properties: map[string]string{
		"authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
		"super.users":           "User:ANONYMOUS", // the brokers, and who proves
	}})
	o := unlimited()
	o.OtherTypes = -1
	s := newScene(t, cluster.Brokers(), o)
	for name, value := range map[string]string{
		"KAFKA_BROKERS": strings.Join(cluster.SecureBrokers(), ","), "KAFKA_SASL_MECHANISM": "PLAIN", "KAFKA_SASL_USERNAME": "connector", "KAFKA_SASL_PASSWORD": password,
		"KAFKA_TOPIC_RAW": "genesys.audit.raw", "KAFKA_TOPIC_CHANGES": "genesys.audit.changes", "KAFKA_TOPIC_OFFSETS": "genesys.audit.offsets",
		"KAFKA_TOPIC_EVIDENCE": "genesys.audit.evidence",
		"KAFKA_GROUP_ID":       "genesys-audit-acme", "ORG_NAME": "acme",
	} {
		s.env[name] = value
	}
	a := acls{t, s.admin()}
	rights := documentedRights(t)
	isCreate := func(r aclRight) bool { return r.operation == "Create" }

	s.expectLacks(rights...)
	for _, r := range rights {
		a.give(r)
	}
	s.expectLacks()
	takeEach := func(rights []aclRight) {
		for _, r := range rights {
			a.take(r)
			s.expectLacks(r)
			a.give(r)
			s.expectLacks()
		}
	}
	takeEach(rights)
	report, err := s.checks(map[string]string{"KAFKA_SASL_PASSWORD": "wrong"})
	if c := report.notOK()["SASL"]; err == nil || c.Status != doctor.Failed || !strings.Contains(c.Hint, "KAFKA_SASL_PASSWORD") {
		t.Errorf("wrong password: %v, %+v", err, report.notOK())
	}
	report, _ = s.checks(map[string]string{"KAFKA_SASL_MECHANISM": "", "KAFKA_SASL_USERNAME": "", "KAFKA_SASL_PASSWORD": ""})
	if c := report.notOK()["brokers"]; c.Status != doctor.Failed || !strings.Contains(c.Hint, "KAFKA_SASL_MECHANISM") {
		t.Errorf("no SASL: %+v", report.notOK())
	}

	_, stop := s.start()
	s.world.Org.Emit(50)
	s.published(60 * time.Second)
	before := s.generation(a.Client)
	for _, r := range rights {
		if isCreate(r) {
			a.take(r)
		}
	}
	s.expectLacks() // the topics are there
	takeEach(slices.DeleteFunc(slices.Clone(rights), func(r aclRight) bool { return isCreate(r) || r.operation != "DescribeConfigs" }))
	s.world.Org.Emit(50)
	s.published(60 * time.Second)
	if after := s.generation(a.Client); after != before {
		t.Errorf("the group was %s and is %s", before, after)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	takeEach(slices.DeleteFunc(slices.Clone(rights), isCreate))
}
