package doctor

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"syscall"
	"time"

	"genesys-audit-connector/internal/txn"
)

const (
	brokersTime = 20 * time.Second
	topicTime   = 20 * time.Second
	rightTime   = 20 * time.Second
)

// Kafka is the cluster and what the connector wants of it.
type Kafka struct {
	Cluster               *txn.Cluster
	TLS                   bool
	Mechanism             string // of SASL; "" where there is none
	User                  string // that brokers know this client as; "" where that is not known
	Raw, Changes, Offsets txn.TopicSpec
	Evidence              txn.TopicSpec // without a name where no log is wanted
	Create                bool          // topics that do not exist are created
	Group                 string        // the consumer group and the transactional id
	// EventTime says that records carry the time of their event, so that a
	// topic's retention counts from there; Reach is how old the oldest are.
	EventTime bool
	Reach     time.Duration
}

const (
	nameBrokers       = "brokers"
	nameSASL          = "SASL"
	nameGroup         = "group"
	nameTransactional = "transactional id"
	nameQuotas        = "quotas"
	nameEvidence      = "topic evidence"
)

// wantedTopic is a topic, and what must be allowed on it.
type wantedTopic struct {
	name   string
	spec   txn.TopicSpec
	rights []right
}

func (k Kafka) examine(e examination) {
	topics := []wantedTopic{
		{"topic raw", k.Raw, []right{mustWrite, shouldReadRaw, shouldDescribe}},
		{"topic changes", k.Changes, []right{mustWrite, shouldReadChanges, shouldDescribe}},
		{"topic offsets", k.Offsets, []right{mustWrite, mustRead, shouldDescribe}},
	}
	if k.Evidence.Name != "" {
		topics = append(topics, wantedTopic{nameEvidence, k.Evidence, []right{shouldWriteEvidence, shouldReadEvidence, shouldDescribe}})
	}
	if !k.examineBrokers(e) {
		for _, t := range topics {
			e.skip("no broker can be asked", t.name)
		}
		e.skip("no broker can be asked", nameGroup, nameTransactional, nameQuotas)
		return
	}
	for _, t := range topics {
		e.look(t.name, topicTime, func(ctx context.Context, f *finding) { k.topic(ctx, f, t.spec, t.rights) })
	}
	e.look(nameGroup, rightTime, func(ctx context.Context, f *finding) {
		k.mayUse(ctx, f, k.Cluster.MayJoin(ctx, k.Group), txn.OpRead, "group", "no replica becomes active")
	})
	e.look(nameTransactional, rightTime, func(ctx context.Context, f *finding) {
		k.mayUse(ctx, f, k.Cluster.MayTransact(ctx, k.Group, k.Offsets.Name), txn.OpWrite, "transactional id", "nothing is published")
	})
	k.examineQuotas(e)
}

// examineBrokers reports whether at least one broker takes requests.
func (k Kafka) examineBrokers(e examination) (usable bool) {
	var refused error // by a broker that is reached: who we are
	e.look(nameBrokers, brokersTime, func(ctx context.Context, f *finding) {
		brokers := k.Cluster.Brokers(ctx)
		var reached []string
		for _, b := range brokers {
			switch {
			case b.Err == nil:
				usable = true
			case errors.Is(b.Err, txn.ErrUnauthorized), is[*txn.LoginError](b.Err):
				refused = b.Err
			default:
				continue
			}
			reached = append(reached, b.Addr)
		}
		if len(reached) > 0 {
			encryption := map[bool]string{true: "TLS", false: "not encrypted"}[k.TLS]
			f.ok(strings.Join(reached, ", ") + ", " + encryption)
		}
		for _, b := range brokers {
			if !slices.Contains(reached, b.Addr) {
				unreached(ctx, f, b, len(reached) > 0)
			}
			k.unserved(f, b)
		}
	})
	if !usable && refused == nil {
		e.skip("no broker is reached", nameSASL)
		return false
	}
	e.judge(nameSASL, func(f *finding) { k.login(e.ctx, f, refused) })
	return usable
}

// unreached tells of a broker that is not reached. One of several addresses is no
// harm; one that the cluster names may lead what is written to.
func unreached(ctx context.Context, f *finding, b txn.Broker, others bool) {
	detail, hint := fmt.Sprintf("%s: %v", b.Addr, innermost(ctx, b.Err)), brokerHint(b.Err)
	switch {
	case !b.Configured:
		f.fail(detail+" (the cluster says that a broker is there)", hint+" Are advertised.listeners of that broker addresses that this machine reaches?")
	case others:
		f.warn(detail, hint)
	default:
		f.fail(detail, hint)
	}
}

func (k Kafka) login(ctx context.Context, f *finding, refused error) {
	switch {
	case refused != nil:
		cause := innermost(ctx, refused).Error()
		if e, ok := errors.AsType[*txn.LoginError](refused); ok && e.Cause != "" {
			cause = e.Cause
		}
		f.fail(k.Mechanism+": "+cause, loginHint(k.Mechanism))
	case k.Mechanism == "":
		f.ok("not used")
	default:
		f.ok(k.Mechanism + ": logged in")
	}
}

// loginHint is what to look at when a login is refused.
func loginHint(mechanism string) string {
	switch mechanism {
	case "OAUTHBEARER":
		return "do KAFKA_SASL_OAUTHBEARER_TOKEN_ENDPOINT_URL (or KAFKA_SASL_OAUTHBEARER_TOKEN_FILE), _CLIENT_ID, _CLIENT_SECRET, _SCOPE and _EXTENSIONS give a token with the issuer, the audience and the identity that the cluster expects, and is this machine's clock right?"
	case "AWS_MSK_IAM":
		return "are KAFKA_AWS_REGION the cluster's region and AWS' credentials (or KAFKA_AWS_ROLE_ARN) those of a role that has kafka-cluster:Connect, and is this machine's clock right? See docs/operating.md, \"MSK with IAM\""
	}
	return "are KAFKA_SASL_MECHANISM, KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD those of a user that the cluster has, with this mechanism?"
}

// innermost is the innermost error: what the network or Kafka said, without our own words around it.
func innermost(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, context.DeadlineExceeded):
		return errNoAnswer
	}
	for {
		inner := errors.Unwrap(err)
		if joined, ok := err.(interface{ Unwrap() []error }); ok {
			inner = joined.Unwrap()[len(joined.Unwrap())-1] // ours come first
		}
		if inner == nil {
			return err
		}
		err = inner
	}
}

var errNoAnswer = errors.New("no answer in time")

// brokerHint is what to do about a broker that cannot be reached.
func brokerHint(err error) string {
	switch {
	case is[*net.DNSError](err):
		return "does this machine's DNS know the host in KAFKA_BROKERS?"
	case is[x509.UnknownAuthorityError](err):
		return "who signed its certificate is not trusted here: set KAFKA_TLS_CA_FILE to that authority"
	case is[x509.HostnameError](err):
		return "its certificate is for another host: use one of the names that are in it"
	case is[x509.CertificateInvalidError](err):
		return "is this machine's clock right? If it is, its certificate is not"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), isAlert(err):
		return "it hangs up: does this listener want another KAFKA_TLS, KAFKA_TLS_CERT_FILE or KAFKA_SASL_MECHANISM?"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "nothing listens there: is KAFKA_BROKERS right, and does the broker run?"
	}
	return "does a firewall or network policy let connections to this broker through, and is KAFKA_TLS as this listener wants it?"
}

// isAlert reports whether the other side of a TLS handshake refused it.
func isAlert(err error) bool {
	op, ok := errors.AsType[*net.OpError](err)
	return ok && op.Op == "remote error" // as crypto/tls names what it was sent
}

// right is what the connector wants to do with a topic, and what comes of it when it may not.
type right struct {
	operation txn.Operation
	status    Status
	without   string
}

var (
	mustWrite           = right{txn.OpWrite, Failed, "nothing is published"}
	mustRead            = right{txn.OpRead, Failed, "the connector does not start"}
	shouldReadRaw       = right{txn.OpRead, Warning, "ids cannot be read back after the offsets topic was lost or a filter was changed, nor anything verified"}
	shouldReadChanges   = right{txn.OpRead, Warning, "nothing can be verified"}
	shouldWriteEvidence = right{txn.OpWrite, Warning, "no evidence log is begun; where one has begun, nothing is published"}
	shouldReadEvidence  = right{txn.OpRead, Warning, "nobody can prove with evidence verify that nothing was altered"}
	shouldDescribe      = right{txn.OpDescribeConfigs, Warning, "a topic that forgets, or that takes only small events, is not noticed"}
)

// topic looks at a topic, at its configuration and at the rights on it.
func (k Kafka) topic(ctx context.Context, f *finding, spec txn.TopicSpec, wanted []right) {
	exists, rights, err := k.Cluster.TopicRights(ctx, spec.Name)
	if err != nil {
		f.fail(fmt.Sprintf("%s: %v", spec.Name, innermost(ctx, err)), "this may pass: look again later")
		return
	}
	if spec.Name == k.Evidence.Name && !exists && !k.Create && rights != 0 {
		cure := spec.Command()
		var missing *txn.TopicError
		if _, err := k.Cluster.EnsureTopics(ctx, []txn.TopicSpec{spec}, false); errors.As(err, &missing) {
			cure = missing.Cure
		}
		f.warn(spec.Name+" is not there, and may not be created: no evidence log is kept", cure+"; or set EVIDENCE=false")
		return
	}
	if exists || rights != 0 { // else nothing may be known of it
		k.shape(ctx, f, spec, exists)
	} else if k.Create {
		k.mayCreate(ctx, f, spec, false)
	}
	if !rights.Told() {
		f.warn("the broker does not tell which rights there are", "")
		return
	}
	for _, r := range wanted {
		if !rights.Allow(r.operation) {
			f.add(r.status, fmt.Sprintf("lacks %s on topic %s: %s", r.operation, spec.Name, r.without), grant(r.operation, "topic", spec.Name))
		}
	}
}

// shape looks at what a topic is like, or would become.
func (k Kafka) shape(ctx context.Context, f *finding, spec txn.TopicSpec, exists bool) {
	if !exists && k.Create {
		k.mayCreate(ctx, f, spec, true)
		return
	}
	topics, err := k.Cluster.EnsureTopics(ctx, []txn.TopicSpec{spec}, false)
	var unfit *txn.TopicError
	switch {
	case errors.As(err, &unfit):
		f.fail(fmt.Sprintf("%s %s", unfit.Topic, unfit.Fault), unfit.Cure)
	case err != nil:
		f.fail(fmt.Sprintf("%s: %v", spec.Name, innermost(ctx, err)), "this may pass: look again later")
	default:
		k.configuration(f, topics[0])
		k.durability(f, topics[0])
	}
}

// configuration judges a topic that can be used.
func (k Kafka) configuration(f *finding, t txn.Topic) {
	detail := fmt.Sprintf("%s, partitions: %d", t.Name, t.Partitions)
	if t.CleanupPolicy != "" { // else it may not be read, and the rights say so
		detail += fmt.Sprintf(", %s, records of up to %d bytes", kept(t), t.MaxMessageBytes)
	}
	f.ok(detail)
	alter := "kafka-configs --alter --topic " + t.Name + " --add-config "
	if age := time.Duration(t.RetentionMs) * time.Millisecond; t.Name != k.Offsets.Name && age > 0 && t.CleanupPolicy != "compact" {
		if k.EventTime && age < k.Reach {
			f.fail(fmt.Sprintf("with KAFKA_RECORD_TIME=event it deletes events that are older than %s as soon as they are written, and events of %s are to be read", days(age), days(k.Reach.Round(time.Hour))),
				"set KAFKA_RECORD_TIME=publish, or: "+alter+"retention.ms=-1")
		} else {
			f.warn("it forgets events after "+days(age), "an audit trail is usually kept for ever: "+alter+"retention.ms=-1")
		}
	}
	if limit := t.OldestRecord; t.Name != k.Offsets.Name && k.EventTime && limit.Most > 0 && limit.Most <= k.Reach {
		f.fail(fmt.Sprintf("with KAFKA_RECORD_TIME=event it refuses events that are older than %s (%s), and events of %s are to be read", days(limit.Most), limit.Config, days(k.Reach.Round(time.Hour))),
			"set KAFKA_RECORD_TIME=publish, or: "+alter+limit.Config+"=9223372036854775807")
	}
	erasable := k.Raw.Configs["cleanup.policy"] == "compact" && (t.Name == k.Raw.Name || t.Name == k.Changes.Name)
	if erasable && t.CleanupPolicy != "" && !t.Compacted() {
		f.warn("it is not compacted, and KAFKA_ERASABLE is for topics that are created: connector erase refuses", alter+"cleanup.policy=compact")
	}
	wanted := cmp.Or(k.Raw.Configs["max.message.bytes"], "8388608")
	if t.MaxMessageBytes > 0 && t.MaxMessageBytes < brokerDefault {
		f.warn("it takes only small records; an event that is larger is a gap until it does", alter+"max.message.bytes="+wanted)
	}
}

// brokerDefault is max.message.bytes where nobody says otherwise.
const brokerDefault = 1<<20 + 12

func kept(t txn.Topic) string {
	switch {
	case t.CleanupPolicy == "compact":
		return "compacted"
	case t.RetentionMs < 0:
		return "kept for ever"
	}
	return "kept for " + days(time.Duration(t.RetentionMs)*time.Millisecond)
}

func (k Kafka) mayCreate(ctx context.Context, f *finding, spec txn.TopicSpec, announce bool) {
	shortfalls, err := k.Cluster.MayCreate(ctx, spec)
	command := k.Cluster.Suggest(ctx, spec).Command()
	missing := f.fail
	if spec.Name == k.Evidence.Name {
		missing = f.warn // the connector works without
	}
	var refused *txn.TopicError
	switch {
	case err == nil:
		if announce {
			f.ok(fmt.Sprintf("%s does not exist and will be created, partitions: %d", spec.Name, spec.Partitions))
		}
		for _, s := range shortfalls {
			f.warn("the cluster allows less: "+s.String(), "have whoever runs the cluster allow it, or create the topic: "+command)
		}
	case errors.Is(err, txn.ErrUnauthorized):
		missing(fmt.Sprintf("lacks Create on topic %s (wanted while it does not exist)", spec.Name),
			grant("Create", "topic", spec.Name)+", or create it: "+command)
	case errors.As(err, &refused):
		f.fail(fmt.Sprintf("%s %s: %s", refused.Topic, refused.Fault, refused.Cure), "mend that, or create it: "+command)
	default:
		f.fail(fmt.Sprintf("%s: %v", spec.Name, innermost(ctx, err)), "this may pass: look again later")
	}
}

// mayUse tells of the right to use the group's name as one thing or the other.
func (k Kafka) mayUse(ctx context.Context, f *finding, err error, operation txn.Operation, resource, without string) {
	switch {
	case err == nil:
		f.ok(k.Group + ": it may be used")
	case errors.Is(err, txn.ErrUnauthorized):
		f.fail(fmt.Sprintf("lacks %s on %s %s: %s", operation, resource, k.Group, without), grant(operation, resource, k.Group))
	default:
		f.fail(fmt.Sprintf("%s: %v", k.Group, innermost(ctx, err)), "this may pass: look again later")
	}
}

// grant is the command that gives a right.
func grant(operation txn.Operation, resource, name string) string {
	return fmt.Sprintf("kafka-acls --add --allow-principal User:NAME --operation %s --%s %s", operation, strings.ReplaceAll(resource, " ", "-"), name)
}
