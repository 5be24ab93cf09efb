//go:build kafka

package docs_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"genesys-audit-connector/internal/kafkatest"
	"genesys-audit-connector/internal/sandbox"
)

// The listeners are plaintext ones, so the connector, the broker and the test are all this principal.
const everyone = "User:ANONYMOUS"

const evidenceTopic = "genesys.audit.evidence"

// right is one operation on one resource.
type right struct {
	kind      string // topic, group, transactional-id
	name      string
	operation string // as kafka-acls and the connector's messages spell it
}

func (r right) String() string {
	return r.operation + " on " + strings.ReplaceAll(r.kind, "-", " ") + " " + r.name
}

// rights are those that the commands between the markers in operating.md give.
func rights(t *testing.T) []right {
	t.Helper()
	text, err := os.ReadFile("operating.md")
	if err != nil {
		t.Fatal(err)
	}
	_, part, _ := strings.Cut(string(text), "<!-- acls")
	part, _, ok := strings.Cut(part, "<!-- /acls -->")
	if !ok {
		t.Fatal("operating.md has no commands between the markers")
	}
	var all []right
	for _, line := range regexp.MustCompile(`(?m)^acl (.*)$`).FindAllStringSubmatch(part, -1) {
		var resources []right
		var operations []string
		for _, flag := range regexp.MustCompile(`--(\S+) (\S+)`).FindAllStringSubmatch(line[1], -1) {
			if flag[1] == "operation" {
				operations = append(operations, flag[2])
			} else {
				resources = append(resources, right{kind: flag[1], name: flag[2]})
			}
		}
		for _, r := range resources {
			for _, r.operation = range operations {
				all = append(all, r)
			}
		}
	}
	if len(all) == 0 {
		t.Fatal("no acl command was understood")
	}
	return all
}

// authorizer gives and takes rights.
type authorizer struct {
	*testing.T
	admin *kadm.Client
}

func (a *authorizer) builder(r right) *kadm.ACLBuilder {
	b := kadm.NewACLs().ResourcePatternType(kadm.ACLPatternLiteral)
	operation := map[string]kadm.ACLOperation{
		"Write": kadm.OpWrite, "Read": kadm.OpRead, "Create": kadm.OpCreate, "DescribeConfigs": kadm.OpDescribeConfigs,
	}[r.operation]
	if operation == 0 {
		a.Fatalf("%v: unknown operation", r)
	}
	b = b.Operations(operation)
	switch r.kind {
	case "topic":
		return b.Topics(r.name)
	case "group":
		return b.Groups(r.name)
	case "transactional-id":
		return b.TransactionalIDs(r.name)
	}
	a.Fatalf("%v: unknown resource", r)
	return nil
}

func (a *authorizer) give(r right) {
	a.Helper()
	a.create(a.builder(r).Allow(everyone).AllowHosts("*"))
}

func (a *authorizer) create(b *kadm.ACLBuilder) {
	a.Helper()
	ctx, cancel := context.WithTimeout(a.Context(), 10*time.Second)
	defer cancel()
	results, err := a.admin.CreateACLs(ctx, b)
	for _, r := range results {
		if err == nil {
			err = r.Err
		}
	}
	if err != nil {
		a.Fatalf("create ACLs: %v", err)
	}
}

func (a *authorizer) take(r right) {
	a.Helper()
	ctx, cancel := context.WithTimeout(a.Context(), 10*time.Second)
	defer cancel()
	results, err := a.admin.DeleteACLs(ctx, a.builder(r).Allow(everyone).AllowHosts("*"))
	if err != nil || len(results) != 1 || results[0].Err != nil || len(results[0].Deleted) != 1 {
		a.Fatalf("take %v: %v, %+v", r, err, results)
	}
}

// close denies everyone everything that was not given: a resource with any ACL is closed to those not named in one. The
// broker, being everyone too, keeps what it needs of the cluster, and the test the right to alter ACLs. No request of
// the connector wants one of these three.
func (a *authorizer) close() {
	a.Helper()
	nobody := func() *kadm.ACLBuilder {
		return kadm.NewACLs().ResourcePatternType(kadm.ACLPatternLiteral).Operations(kadm.OpAll).Allow("User:nobody").AllowHosts("*")
	}
	a.create(kadm.NewACLs().ResourcePatternType(kadm.ACLPatternLiteral).Clusters().
		Operations(kadm.OpClusterAction, kadm.OpAlter, kadm.OpDescribe).Allow(everyone).AllowHosts("*"))
	a.create(nobody().Topics("*"))
	a.create(nobody().Groups("*"))
	a.create(nobody().TransactionalIDs("*"))
}

// warm makes the coordinators' topics, which a broker can no longer make for itself when the cluster is closed.
func (a *authorizer) warm() {
	a.Helper()
	ctx, cancel := context.WithTimeout(a.Context(), 60*time.Second)
	defer cancel()
	for ctx.Err() == nil {
		groups, transactions := a.admin.FindGroupCoordinators(ctx, "warm"), a.admin.FindTxnCoordinators(ctx, "warm")
		if groups.Error() == nil && transactions.Error() == nil {
			return
		}
		select {
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
		}
	}
	a.Fatal("the coordinators do not come up")
}

// process is a running connector and what it says.
type process struct {
	t   *testing.T
	cmd *exec.Cmd

	mu  sync.Mutex
	log bytes.Buffer
}

func (p *process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.Write(b)
}

// said tells whether the log, from an offset on, contains text, and where the log ends.
func (p *process) said(from int, text string) (bool, int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Contains(p.log.String()[from:], text), p.log.Len()
}

// awaitSaid waits until the log has text after an offset.
func (p *process) awaitSaid(from int, text string) {
	p.t.Helper()
	deadline := time.Now().Add(40 * time.Second)
	for time.Now().Before(deadline) {
		if ok, _ := p.said(from, text); ok {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.t.Fatalf("the connector does not say %q but\n%s", text, p.log.Bytes()[from:])
}

func start(t *testing.T, binary string, env []string) *process {
	t.Helper()
	p := &process{t: t, cmd: exec.Command(binary, "run")}
	p.cmd.Env = env
	p.cmd.Stderr = p
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.stop)
	return p
}

func (p *process) stop() {
	if p.cmd.ProcessState != nil {
		return
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	_ = p.cmd.Wait()
}

func build(t *testing.T) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "connector")
	if out, err := exec.Command("go", "build", "-o", binary, "../cmd/connector").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return binary
}

// published reads the raw topic's keys with a real client until all ids are there, each once.
func published(t *testing.T, brokers, ids []string) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.ConsumeTopics("genesys.audit.raw"),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	seen := map[string]int{}
	for ctx.Err() == nil && slices.ContainsFunc(ids, func(id string) bool { return seen[id] == 0 }) {
		client.PollFetches(ctx).EachRecord(func(r *kgo.Record) { seen[string(r.Key)]++ })
	}
	for _, id := range ids {
		if seen[id] != 1 {
			t.Errorf("event %s is there %d times", id, seen[id])
		}
	}
}

// TestRights: with the rights that operating.md gives, and no other, run and verify do their work. Each of them that
// they need is needed: without it the message names it, and when it is given again the same process goes on. Without
// DescribeConfigs everything is published all the same.
func TestRights(t *testing.T) {
	binary := build(t)
	cluster := kafkatest.Start(t, kafkatest.Options{Properties: map[string]string{
		"authorizer.class.name":          "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
		"allow.everyone.if.no.acl.found": "true", // until authorizer.close
	}})
	client, err := kgo.NewClient(kgo.SeedBrokers(cluster.Brokers()...))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	a := &authorizer{t, kadm.NewClient(client)}
	a.warm()
	var create, use []right
	for _, r := range rights(t) {
		if r.operation == "Create" && r.name != evidenceTopic {
			create = append(create, r)
			continue
		}
		if r.operation != "Create" { // without that the connector works all the same, and keeps no log
			use = append(use, r)
		}
		a.give(r)
	}
	a.close()

	world, err := sandbox.Start(sandbox.ServerOptions{Options: sandbox.Options{Seed: 7}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(world.Close)
	env := append(os.Environ(),
		"GENESYS_API_URL="+world.URL, "GENESYS_LOGIN_URL="+world.URL, "GENESYS_AUDIT_API=auditlogs",
		"GENESYS_CLIENT_ID=sandbox", "GENESYS_CLIENT_SECRET=sandbox-secret", "ORG_NAME=acme",
		"KAFKA_BROKERS="+strings.Join(cluster.Brokers(), ","), "KAFKA_SESSION_TIMEOUT=3s",
		"POLL_INTERVAL=200ms", "HTTP_ADDR=127.0.0.1:0", "LOG_FORMAT=json")
	p := start(t, binary, env)

	for _, r := range create {
		p.awaitSaid(0, "topic "+r.name+" cannot be created: Authorization failed")
	}
	for _, r := range create {
		a.give(r)
	}
	ids := world.Org.EmitGrants(20)
	published(t, cluster.Brokers(), ids)

	verify := func(t *testing.T, r right) (string, error) {
		ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
		defer cancel()
		args := []string{"verify", "--from", "1h"}
		if r.name == evidenceTopic {
			args = []string{"evidence", "verify"}
		}
		cmd := exec.CommandContext(ctx, binary, args...)
		cmd.Env = env
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	for _, r := range []right{{}, {name: evidenceTopic}} {
		if out, err := verify(t, r); err != nil {
			t.Errorf("verify %s: %v\n%s", r.name, err, out)
		}
	}

	for _, r := range use {
		t.Run(fmt.Sprint(r), func(t *testing.T) {
			p.t = t
			_, from := p.said(0, "")
			a.take(r)
			next := world.Org.EmitGrants(5)
			switch {
			case r.operation == "DescribeConfigs": // it goes on without
			case r.operation == "Read" && r.kind == "topic" && r.name != "genesys.audit.offsets":
				if out, err := verify(t, r); err == nil || !strings.Contains(out, r.String()) {
					t.Errorf("verify: %v\n%s", err, out)
				}
			default:
				p.awaitSaid(from, r.String())
				a.give(r)
				published(t, cluster.Brokers(), next)
				return
			}
			a.give(right{"topic", "genesys.audit.raw", "Read"}) // the test itself reads it
			published(t, cluster.Brokers(), next)
			a.give(r)
		})
	}
}
