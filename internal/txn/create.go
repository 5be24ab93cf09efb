package txn

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/createtopics"
	"go.uber.org/zap"
)

// Topics' configurations that are asked for when a topic is created.
const (
	configCleanup        = "cleanup.policy"
	configRetentionMs    = "retention.ms"
	configRetentionBytes = "retention.bytes"
	configMaxMessage     = "max.message.bytes"
	configMinInsync      = "min.insync.replicas"
	configCompactionLag  = "max.compaction.lag.ms"
	configTombstones     = "delete.retention.ms"
	replicationFactor    = "replication.factor" // stands beside them in what is asked for
)

// durableReplicas and durableInsync are what a topic has where there are brokers for it: a
// record that was acknowledged is on two brokers, and one of three may be down.
const (
	durableReplicas = 3
	durableInsync   = "2"
)

// durable returns the topic as it is to be created in a cluster of so many brokers. What the
// specification says of replicas itself counts.
func (s TopicSpec) durable(brokers int) TopicSpec {
	if s.ReplicationFactor == 0 && brokers >= durableReplicas {
		s.ReplicationFactor = durableReplicas
	}
	if s.ReplicationFactor >= durableReplicas && s.Configs[configMinInsync] == "" {
		s.Configs = maps.Clone(s.Configs)
		if s.Configs == nil {
			s.Configs = map[string]string{}
		}
		s.Configs[configMinInsync] = durableInsync
	}
	return s
}

// Suggest returns a topic as an operator of this cluster would create it, every value named.
func (c *Cluster) Suggest(ctx context.Context, spec TopicSpec) TopicSpec {
	layout, err := c.refresh(ctx)
	if err != nil {
		return spec
	}
	return spec.suggested(len(layout.Brokers))
}

func (s TopicSpec) suggested(brokers int) TopicSpec {
	if s = s.durable(brokers); s.ReplicationFactor == 0 {
		s.ReplicationFactor = int16(brokers)
	}
	return s
}

// Command is how an operator would create the topic. Without a replication factor it is the cluster's.
func (s TopicSpec) Command() string {
	cmd := fmt.Sprintf("kafka-topics --create --topic %s --partitions %d", s.Name, s.Partitions)
	if s.ReplicationFactor > 0 {
		cmd += fmt.Sprintf(" --replication-factor %d", s.ReplicationFactor)
	}
	for _, k := range []string{configCleanup, configRetentionMs, configRetentionBytes, configMaxMessage, configMinInsync, configCompactionLag, configTombstones} {
		if v, ok := s.Configs[k]; ok {
			cmd += " --config " + k + "=" + v
		}
	}
	return cmd
}

// createDurable makes a topic for as many brokers as the cluster has. Of three, one may be down,
// which the layout does not show, and a topic keeps the replicas that it was made with: KRaft
// counts who is registered (StripedReplicaPlacer), so two that are there ask for three.
func (c *Cluster) createDurable(ctx context.Context, spec, asked TopicSpec, brokers int) (made TopicSpec, err error) {
	if three := spec.durable(durableReplicas); spec.ReplicationFactor == 0 && brokers == durableReplicas-1 {
		refusal, ok := errors.AsType[*creationRefusal](c.createOnce(ctx, three, true))
		if !ok || refusal.code != kafka.InvalidReplicationFactor {
			asked = three
		}
	}
	return c.create(ctx, asked)
}

// create makes a topic and waits until every partition is led. A replica of ours may make it at the same time.
func (c *Cluster) create(ctx context.Context, spec TopicSpec) (made TopicSpec, err error) {
	if made, err = c.negotiate(ctx, spec, false); err != nil {
		return made, err
	}
	for p := range spec.Partitions {
		err := retryPassing(ctx, func() error { _, err := c.leader(ctx, spec.Name, p); return err })
		if err != nil {
			return made, fmt.Errorf("created topic %s: %w", spec.Name, err)
		}
	}
	return made, nil
}

// negotiate makes a topic as well as the cluster allows, or with validateOnly finds out how
// well it could be made, and returns how that is. Where a refusal names what it is about, the
// next best value of that is asked for; where it does not, all are asked for at their least,
// and then each again at the best that is allowed beside the others.
func (c *Cluster) negotiate(ctx context.Context, spec TopicSpec, validateOnly bool) (TopicSpec, error) {
	wish := newWish(spec)
	err := c.createOnce(ctx, wish.spec(), validateOnly)
	for range mostRefusals {
		refusal, ok := errors.AsType[*creationRefusal](err)
		if !ok || !refusal.mayYield(spec) {
			break
		}
		if !wish.yield(refusal) {
			if !c.probe(ctx, wish) {
				break
			}
			return wish.spec(), c.createOnce(ctx, wish.spec(), validateOnly)
		}
		err = c.createOnce(ctx, wish.spec(), validateOnly)
	}
	return wish.spec(), err
}

// mostRefusals is more than all values that can be given up.
const mostRefusals = 40

// probe asks, without creating anything, for the best that is allowed beside the others, of
// one part of the wish after the other. It reports whether anything is allowed.
func (c *Cluster) probe(ctx context.Context, wish *wish) bool {
	allowed := func() bool { return c.createOnce(ctx, wish.spec(), true) == nil }
	for _, p := range wish.parts {
		p.at = len(p.values) - 1
	}
	if !allowed() {
		return false
	}
	for _, p := range wish.parts {
		for p.at = 0; p.at < len(p.values)-1 && !allowed(); p.at++ { // the last one is
		}
	}
	return true
}

// creationRefusal is why a topic was not created. It is a TopicError.
type creationRefusal struct {
	*TopicError
	code    kafka.Error
	message string
}

func (e *creationRefusal) Unwrap() error { return e.TopicError }

// mayYield reports whether another value may be taken in place of the refused one. Too few
// brokers for a replication factor are no limit that the cluster sets: they start, or the
// setting is wrong.
func (e *creationRefusal) mayYield(spec TopicSpec) bool {
	switch e.code {
	case kafka.InvalidConfiguration, kafka.PolicyViolation:
		return true
	case kafka.InvalidReplicationFactor:
		return !e.tooFewBrokers()
	}
	return false
}

// tooFewBrokers knows the words of Kafka's StripedReplicaPlacer and, before KRaft, AdminUtils.
func (e *creationRefusal) tooFewBrokers() bool {
	return e.code == kafka.InvalidReplicationFactor &&
		(strings.Contains(e.message, "cannot be reached because only") || strings.Contains(e.message, "larger than available brokers"))
}

// createOnce makes a topic or, with validateOnly, is told whether it could be made.
func (c *Cluster) createOnce(ctx context.Context, spec TopicSpec, validateOnly bool) error {
	t := createtopics.RequestTopic{Name: spec.Name, NumPartitions: spec.Partitions, ReplicationFactor: spec.ReplicationFactor}
	if t.ReplicationFactor == 0 {
		t.ReplicationFactor = -1 // KIP-464: the broker's default
	}
	for _, k := range slices.Sorted(maps.Keys(spec.Configs)) {
		t.Configs = append(t.Configs, createtopics.RequestConfig{Name: k, Value: spec.Configs[k]})
	}
	req := &createtopics.Request{
		TimeoutMs: int32(c.config.RequestTimeout.Milliseconds()), ValidateOnly: validateOnly, Topics: []createtopics.RequestTopic{t},
	}
	return retryPassing(ctx, func() error { return c.sendCreate(ctx, req) })
}

func (c *Cluster) sendCreate(ctx context.Context, req *createtopics.Request) error {
	layout, err := c.refresh(ctx)
	if err != nil {
		return err
	}
	c.mu.Lock()
	controller, known := c.brokers[layout.ControllerID]
	c.mu.Unlock()
	var res protocol.Message
	if known {
		res, err = c.askAt(ctx, controller, req)
	} else { // none is elected, or a proxy hides it: any broker passes it on (KIP-590) or refuses with NOT_CONTROLLER
		res, err = c.ask(ctx, req)
	}
	if err != nil {
		return unanswered(err)
	}
	topics := res.(*createtopics.Response).Topics
	if len(topics) != 1 {
		return fmt.Errorf("%w: create topic: answer for %d topics", ErrRetry, len(topics))
	}
	t := topics[0]
	switch code := kafka.Error(t.ErrorCode); {
	case code == 0 && req.ValidateOnly, code == kafka.TopicAlreadyExists:
		return nil
	case code == 0:
		c.log.Info("topic created", zap.String("topic", t.Name))
		return nil
	case fateOf(code) == ErrRetry:
		return codeError(code, "Create", "topic "+t.Name)
	case code == kafka.RequestTimedOut: // it may be there by now; to ask again is safe
		return fmt.Errorf("%w: topic %s: %w", ErrRetry, t.Name, code)
	default:
		fault := &TopicError{t.Name, "cannot be created", t.ErrorMessage, codeError(code, "Create", "topic "+t.Name)}
		return &creationRefusal{fault, code, t.ErrorMessage}
	}
}

// wish is a topic as it is asked for, and what may be asked for instead.
type wish struct {
	base  TopicSpec // without what is in parts
	parts []*wishPart
}

// wishPart is one value of a topic that a cluster may refuse, with what is next best.
type wishPart struct {
	config string
	word   string   // that names it in a refusal, where the configuration's name does not
	values []string // best first; "" leaves it to the cluster
	at     int      // in values: what is asked for now
	// fits reports whether a number that a refusal names may be the value that is allowed.
	fits func(n int64) bool
}

// newWish says how each value is given up, the dearest last.
func newWish(spec TopicSpec) *wish {
	w := &wish{base: spec}
	w.base.Configs = maps.Clone(spec.Configs)
	add := func(config, word string, fits func(int64) bool, then ...string) {
		value, ok := spec.Configs[config]
		if config == replicationFactor {
			value, ok = strconv.Itoa(int(spec.ReplicationFactor)), spec.ReplicationFactor > 0
			w.base.ReplicationFactor = 0
		}
		if ok {
			delete(w.base.Configs, config)
			w.parts = append(w.parts, &wishPart{config: config, word: word, values: append([]string{value}, then...), fits: fits})
		}
	}
	asked, _ := strconv.ParseInt(spec.Configs[configMaxMessage], 10, 64)
	if spec.Configs[configCleanup] == "compact" {
		add(configCleanup, "compact", nil, "compact,delete")
	} else {
		add(configCleanup, "", nil)
	}
	add(replicationFactor, "replication", func(n int64) bool { return n > 0 && n <= 32 && n != int64(spec.ReplicationFactor) }, "")
	add(configMinInsync, "insync", nil, "")
	add(configCompactionLag, "", nil, "")
	add(configTombstones, "", nil, "31536000000", "2592000000", "")
	add(configRetentionMs, "retention time", func(n int64) bool { return n >= 3600_000 }, decades, "31536000000", "7776000000", "2592000000", "")
	add(configRetentionBytes, "", func(n int64) bool { return n >= 1<<30 }, petabyte, "")
	var sizes []string
	for _, size := range []int64{8 << 20, 4 << 20, 2 << 20, defaultLimit} {
		if size < asked {
			sizes = append(sizes, strconv.FormatInt(size, 10))
		}
	}
	add(configMaxMessage, "message size", func(n int64) bool { return n >= 10_000 && n < asked }, append(sizes, "")...)
	return w
}

// What is asked for where for ever and without an end are refused.
const (
	decades  = "3153600000000" // a hundred years
	petabyte = "1125899906842624"
)

// spec is the topic as it is asked for now.
func (w *wish) spec() TopicSpec {
	s := w.base
	s.Configs = maps.Clone(w.base.Configs)
	if s.Configs == nil {
		s.Configs = map[string]string{}
	}
	fewer, deleting := false, false
	for _, p := range w.parts {
		value := p.values[p.at]
		switch {
		case p.config == replicationFactor:
			n, _ := strconv.Atoi(value) // it was one, or is "": the broker's
			s.ReplicationFactor = int16(n)
			fewer = p.at > 0 && n < durableReplicas
		case value != "":
			s.Configs[p.config] = value
			deleting = deleting || p.config == configCleanup && p.at > 0
		}
	}
	if deleting { // so that delete never happens
		s.Configs[configRetentionMs], s.Configs[configRetentionBytes] = "-1", "-1"
	}
	if fewer {
		delete(s.Configs, configMinInsync) // or one broker less would stop all writing
	}
	return s
}

var numbers = regexp.MustCompile(`\d+`)

// yield takes the next best value of what a refusal is about, one that the refusal itself
// names if it names one. It reports whether there is any.
func (w *wish) yield(refusal *creationRefusal) bool {
	p := w.named(refusal)
	if p == nil {
		return false
	}
	p.at++
	if p.values[p.at-1] == "-1" {
		return true // what is named may be the least that is allowed, and is named again if it is the most
	}
	best := ""
	for _, text := range numbers.FindAllString(refusal.message, -1) {
		n, err := strconv.ParseInt(text, 10, 64)
		known, _ := strconv.ParseInt(best, 10, 64)
		if err == nil && p.fits != nil && p.fits(n) && n > known && !slices.Contains(p.values[:p.at], text) {
			best = text
		}
	}
	if best != "" {
		limit, _ := strconv.ParseInt(best, 10, 64)
		rest := slices.DeleteFunc(slices.Clone(p.values[p.at:]), func(v string) bool {
			n, err := strconv.ParseInt(v, 10, 64)
			return err == nil && n >= limit // it was said not to be allowed
		})
		p.values = slices.Concat(p.values[:p.at], []string{best}, rest)
	}
	return true
}

// named returns the part that a refusal is about and that can still yield, nil where that is not clear.
func (w *wish) named(refusal *creationRefusal) *wishPart {
	message := strings.ToLower(refusal.message)
	if refusal.code == kafka.InvalidReplicationFactor {
		message = replicationFactor
	}
	for _, by := range []func(*wishPart) string{func(p *wishPart) string { return p.config }, func(p *wishPart) string { return p.word }} {
		for _, p := range w.parts {
			if word := by(p); word != "" && strings.Contains(message, word) && p.at < len(p.values)-1 {
				return p
			}
		}
	}
	return nil
}

// Shortfall is what a topic has less of than was asked for.
type Shortfall struct {
	Config      string
	Asked, Got  string
	Consequence string
}

func (s Shortfall) String() string {
	return fmt.Sprintf("%s=%s was asked for and is %s: %s", s.Config, s.Asked, s.Got, s.Consequence)
}

// tellShortfalls logs all that a topic has less of, in one warning.
func (c *Cluster) tellShortfalls(t *Topic) {
	if len(t.Shortfalls) == 0 {
		return
	}
	texts := make([]string, len(t.Shortfalls))
	for i, s := range t.Shortfalls {
		texts[i] = s.String()
	}
	c.log.Warn("the cluster does not allow the topic as it was asked for; created with what it allows",
		zap.String("topic", t.Name), zap.String("shortfalls", strings.Join(texts, "; ")))
}

// shortfalls compares what was asked for with what there is. Values that are "" are the
// cluster's own, and not known.
func shortfalls(asked TopicSpec, got map[string]string) []Shortfall {
	var all []Shortfall
	compare := func(config, consequence string, atLeast func(asked, got int64) bool) {
		want := asked.Configs[config]
		if config == replicationFactor && asked.ReplicationFactor > 0 {
			want = strconv.Itoa(int(asked.ReplicationFactor))
		}
		if want == "" || got[config] == want {
			return
		}
		a, _ := strconv.ParseInt(want, 10, 64)
		g, err := strconv.ParseInt(got[config], 10, 64)
		if err == nil && atLeast(a, g) {
			return
		}
		all = append(all, Shortfall{config, want, cmp.Or(got[config], "the cluster's default"), consequence})
	}
	more := func(asked, got int64) bool { return got >= asked }
	longer := func(asked, got int64) bool { return got < 0 || asked >= 0 && got >= asked }
	compare(replicationFactor, "fewer brokers hold each record", more)
	compare(configMinInsync, "a record may be acknowledged while one broker alone has it, and be lost with that", more)
	if asked.Configs[configCleanup] != "compact" {
		compare(configRetentionMs, "older events are deleted", longer)
		compare(configRetentionBytes, "the oldest events are deleted beyond it", longer)
	}
	compare(configCompactionLag, "what is erased may stay for longer", func(asked, got int64) bool { return got <= asked })
	compare(configTombstones, "who was away for longer does not see what was erased", more)
	compare(configMaxMessage, "an event that is larger is a gap until the topic takes it", more)
	return all
}
