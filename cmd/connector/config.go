package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sethvargo/go-envconfig"
	"go.uber.org/zap/zapcore"

	"genesys-audit-connector/internal/genesys"
	"genesys-audit-connector/internal/txn"
)

//go:generate go test . -run TestGeneratedDocumentation -update

// Config is everything that can be set, each from one environment variable. The
// comments of its fields are the reference that docs/configuration.md shows.
//
// The tags: env is the variable and its default; unset says what holds where a
// variable without a default is not set; example shows a right value where no
// default does; oneof, min, max and is (see formats) are what a value must be.
type Config struct {
	Genesys Genesys `group:"Genesys Cloud"`
	// Names this organisation in record keys, ids, metrics: 1 to 63 of a-z, 0-9 and "-".
	Org string `env:"ORG_NAME,default=default" is:"org" group:"Genesys Cloud"`
	// A YAML file of many organisations that this deployment reads (docs/organisations.md). What is set here of GENESYS_…, POLL_…, SWEEP_AGES and BACKFILL_… is then the default of all of them.
	OrgsFile string   `env:"ORGS_FILE" unset:"one organisation, ORG_NAME" example:"/etc/genesys-audit/orgs.yaml" group:"Genesys Cloud"`
	Poll     Poll     `group:"Reading"`
	Kafka    Kafka    `group:"Kafka"`
	Registry Registry `group:"Schema registry"`
	Evidence Evidence `group:"Evidence"`
	// A file of rules that mask values in the changes topic; the raw topic is never touched. `default` takes the shipped rules: telephone numbers, addresses and secrets.
	MaskFile string `env:"MASK_FILE" group:"Masking" unset:"nothing is masked" example:"/etc/genesys-audit/mask/rules.yaml"`
	// The address of the status page, its API, the metrics and the probes.
	HTTPAddr string `env:"HTTP_ADDR,default=:8080" is:"listen" group:"Process"`
	Log      Log    `group:"Process"`
	// How long what is under way may take to finish after SIGTERM or SIGINT.
	ShutdownTimeout time.Duration `env:"SHUTDOWN_TIMEOUT,default=20s" min:"1s" max:"1h" group:"Process"`

	// Warnings are about settings that work and are likely not meant.
	Warnings []string
}

// Genesys is the organisation's API and what the connector takes of it.
type Genesys struct {
	// The region's domain gives the hosts of the API and of the login. One that is not known is taken, with a warning.
	Region string `env:"GENESYS_REGION" is:"region" example:"mypurecloud.ie"`
	// The API's address, instead of the region's.
	APIURL string `env:"GENESYS_API_URL" is:"origin" unset:"https://api.REGION" example:"https://api.mypurecloud.ie"`
	// The login's address, instead of the region's.
	LoginURL string `env:"GENESYS_LOGIN_URL" is:"origin" unset:"https://login.REGION" example:"https://login.mypurecloud.ie"`
	// The OAuth client's id.
	ClientID Secret `env:"GENESYS_CLIENT_ID"`
	// The OAuth client's secret. It also seals the rotated refresh token in the offsets topic.
	ClientSecret Secret `env:"GENESYS_CLIENT_SECRET"`
	// Uses the refresh-token grant instead of client credentials. A rotated token is kept in the offsets topic; this one counts when none is stored or the stored one is refused.
	RefreshToken Secret `env:"GENESYS_REFRESH_TOKEN"`
	// The scope to ask for.
	Scope string `env:"GENESYS_OAUTH_SCOPE" example:"audits:readonly"`
	// The API's dialect. `auto` takes `auditlogs` where it is served, else `query` for what counts as covered (all services at once where the organisation allows that) and `realtime` beside it, so that recent events come sooner.
	API string `env:"GENESYS_AUDIT_API,default=auto" oneof:"auto,auditlogs,query,realtime"`
	// The filter expression of dialect `auditlogs`: conditions `key=value`, joined by commas. Values match exactly, case included.
	Filter string `env:"GENESYS_FILTER,default=type=configuration" is:"filter"`
	// The services to read with dialects `query` and `realtime`, separated by commas.
	Services []string `env:"GENESYS_SERVICES" is:"services" unset:"all" example:"Routing,PeoplePermissions"`
	// The services that `realtime` is asked for every POLL_INTERVAL, whatever the limit. The others share what is left, those with news more often.
	Priority []string `env:"GENESYS_PRIORITY_SERVICES,default=PeoplePermissions" is:"services" example:"PeoplePermissions,Directory"`
	// Whether names are looked up of users, roles, groups, queues, divisions and OAuth clients that an event has by id only. Each kind needs a view permission; without it that kind stays ids, and `check` says which one it is.
	Names bool `env:"GENESYS_NAMES,default=true"`
	// How far back the API holds events. What is older is never asked for.
	Retention time.Duration `env:"GENESYS_RETENTION" min:"1h" max:"7300d" unset:"180d (auditlogs), 365d (query), 14d (realtime)" example:"180d"`
	// The limit that the organisation (or the client) has, as requests per time.
	RateLimit Rate `env:"GENESYS_RATE_LIMIT" unset:"100/10s (auditlogs), 300/1m (query, realtime)" example:"100/10s"`
	// The most that the connector takes of the limit, evenly spaced. What others are seen to take is left to them.
	RateShare float64 `env:"GENESYS_RATE_SHARE,default=0.7" min:"0.001" max:"1"`
	// Requests that are always left. At or below it one request per 2 s is sent; below 5, none until the reset.
	RateReserve int `env:"GENESYS_RATE_RESERVE,default=10" min:"0" max:"1000000"`
	// The time from sending a request to the last byte of its answer.
	RequestTimeout time.Duration `env:"GENESYS_REQUEST_TIMEOUT,default=30s" min:"100ms" max:"10m"`
}

// Poll is what is read, and how often.
type Poll struct {
	// The shortest time between tail polls of a stream. It stretches where the budget allows no more.
	Interval time.Duration `env:"POLL_INTERVAL,default=5s" min:"100ms" max:"1h"`
	// How much before the newest covered instant is read again at every poll.
	Overlap time.Duration `env:"POLL_OVERLAP,default=2m" min:"100ms" max:"24h"`
	// Every interval is read again when it is this old, for events that the API showed late; `none` for never. Later ones are found by `connector verify` only.
	SweepAges []time.Duration `env:"SWEEP_AGES,default=10m,1h,6h,24h" min:"1s" max:"365d"`
	// How far back a new deployment starts: a duration, a date, an instant (RFC 3339), `retention` for all there is, `now` for nothing. An earlier value at a restart extends what is wanted; a later one changes nothing.
	BackfillFrom Start `env:"BACKFILL_FROM,default=24h"`
	// The longest interval that is read as one piece, oldest first.
	BackfillChunk time.Duration `env:"BACKFILL_CHUNK,default=1h" min:"1s" max:"30d"`
	// The most of the limit that the backfill takes. It never takes what the tail needs.
	BackfillShare float64 `env:"BACKFILL_SHARE" min:"0.001" max:"1" unset:"what is left" example:"0.2"`
	// The hours in which history is read, several separated by commas, each with its time zone (UTC without one). What was missed while nothing ran is read at once.
	BackfillHours Hours `env:"BACKFILL_HOURS" unset:"always" example:"20:00-06:00 Europe/Berlin"`
}

// Kafka is the cluster and what is written to it.
type Kafka struct {
	// Brokers to ask for the cluster's layout, as host:port, separated by commas.
	Brokers []string `env:"KAFKA_BROKERS" is:"broker" example:"kafka-1:9092,kafka-2:9092"`
	// The topic of normalised changes (Avro).
	TopicChanges string `env:"KAFKA_TOPIC_CHANGES,default=genesys.audit.changes" is:"topic"`
	// The topic of events, byte for byte as the API sent them.
	TopicRaw string `env:"KAFKA_TOPIC_RAW,default=genesys.audit.raw" is:"topic"`
	// The compacted topic that remembers what was read. It has one partition, with ORGS_FILE several.
	TopicOffsets string `env:"KAFKA_TOPIC_OFFSETS,default=genesys.audit.offsets" is:"topic"`
	// Whether topics that do not exist are created.
	CreateTopics bool `env:"KAFKA_CREATE_TOPICS,default=true"`
	// The partitions of topics that are created. The offsets topic has one, or those of KAFKA_OFFSETS_PARTITIONS.
	Partitions int32 `env:"KAFKA_PARTITIONS,default=3" min:"1" max:"10000"`
	// With ORGS_FILE: the partitions of the offsets topic, over which the organisations and so the replicas are spread. It cannot change later.
	OffsetsPartitions int32 `env:"KAFKA_OFFSETS_PARTITIONS,default=12" min:"1" max:"10000"`
	// The replication factor of topics that are created. Without it they have 3 replicas (and min.insync.replicas=2) where there are three brokers or more.
	ReplicationFactor int16 `env:"KAFKA_REPLICATION_FACTOR" min:"0" max:"100" unset:"the broker's" example:"3"`
	// The replicas of one connector share it; one is active, the others stand by. It is also the transactional id; with ORGS_FILE each organisation has one of its own, the group, `/` and its name. Deployments may share all topics, each with its own group.
	Group string `env:"KAFKA_GROUP_ID" is:"group" unset:"genesys-audit-ORG_NAME (with ORGS_FILE: genesys-audit)" example:"genesys-audit-default"`
	// The time after which a dead active replica is replaced.
	SessionTimeout time.Duration `env:"KAFKA_SESSION_TIMEOUT,default=10s" min:"1s" max:"30m"`
	// The compression of record batches.
	Compression txn.Compression `env:"KAFKA_COMPRESSION,default=lz4" oneof:"none,gzip,snappy,lz4,zstd"`
	// Whether the topics of events and changes that are created are compacted, so that `connector erase` can remove records. Keys are unique: nothing else is ever removed.
	Erasable bool `env:"KAFKA_ERASABLE,default=false"`
	// The max.message.bytes of topics that are created. A cluster that allows less gets what it allows, with a warning that names the limit.
	MaxMessageBytes int `env:"KAFKA_MAX_MESSAGE_BYTES,default=8388608" min:"65536" max:"67108864"`
	// What a record's own time is: when it was published, or (`event`) when the event happened, never later than now. `event` is refused where a topic's retention would delete what is to be backfilled.
	RecordTime string `env:"KAFKA_RECORD_TIME,default=publish" oneof:"publish,event"`
	TLS        KafkaTLS
	SASL       KafkaSASL
}

// KafkaTLS is how the brokers are recognised and how the connector shows who it is.
type KafkaTLS struct {
	// Whether connections to the brokers are encrypted.
	Enabled bool `env:"KAFKA_TLS,default=false"`
	// A PEM file of the authorities that the brokers' certificates are checked against.
	CAFile string `env:"KAFKA_TLS_CA_FILE" unset:"the system's" example:"/etc/kafka/ca.pem"`
	// A PEM file with the certificate (and chain) that the connector shows, or a PKCS#12 file (`.p12`, `.pfx`) of it and its key. All files are read again at each connection.
	CertFile string `env:"KAFKA_TLS_CERT_FILE" example:"/etc/kafka/tls.crt"`
	// A PEM file with that certificate's key. None with PKCS#12.
	KeyFile string `env:"KAFKA_TLS_KEY_FILE" example:"/etc/kafka/tls.key"`
	// What the key, or the PKCS#12 file, is encrypted with.
	KeyPassword Secret `env:"KAFKA_TLS_KEY_PASSWORD"`
}

// KafkaSASL is how the connector logs in to the brokers.
type KafkaSASL struct {
	// The SASL mechanism. Each has variables of its own.
	MechanismName string `env:"KAFKA_SASL_MECHANISM" oneof:"PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER,AWS_MSK_IAM" unset:"no SASL"`
	// The user's name, with PLAIN and SCRAM.
	Username Secret `env:"KAFKA_SASL_USERNAME"`
	// The user's password, with PLAIN and SCRAM.
	Password Secret `env:"KAFKA_SASL_PASSWORD"`
	OAuth    KafkaOAuth
	AWS      KafkaAWS
}

// KafkaOAuth is where OAUTHBEARER gets its access tokens.
type KafkaOAuth struct {
	// With OAUTHBEARER: the token endpoint of an OIDC provider, which is asked for tokens by the grant of client credentials. A token is renewed before it ends.
	Endpoint string `env:"KAFKA_SASL_OAUTHBEARER_TOKEN_ENDPOINT_URL" is:"url" example:"https://idp.example.com/oauth2/token"`
	// The id of the client there.
	ClientID Secret `env:"KAFKA_SASL_OAUTHBEARER_CLIENT_ID"`
	// The secret of the client there.
	ClientSecret Secret `env:"KAFKA_SASL_OAUTHBEARER_CLIENT_SECRET"`
	// The scope to ask for; several are separated by spaces.
	Scope string `env:"KAFKA_SASL_OAUTHBEARER_SCOPE" example:"kafka"`
	// SASL extensions that go with the token, key=value separated by commas. Confluent Cloud wants `logicalCluster` and `identityPoolId`.
	Extensions []string `env:"KAFKA_SASL_OAUTHBEARER_EXTENSIONS" is:"extension" example:"logicalCluster=lkc-abc123,identityPoolId=pool-abc1"`
	// With OAUTHBEARER, instead of an endpoint: a file with an access token that something else renews. It is read at each connection.
	TokenFile string `env:"KAFKA_SASL_OAUTHBEARER_TOKEN_FILE" example:"/var/run/secrets/kafka/token"`
}

// KafkaAWS is who AWS_MSK_IAM logs in as. The credentials come from AWS' own chain.
type KafkaAWS struct {
	// With AWS_MSK_IAM: the region of the cluster. Without it, what AWS' own variables (AWS_REGION, AWS_DEFAULT_REGION) or files say.
	Region string `env:"KAFKA_AWS_REGION" is:"awsregion" unset:"AWS' own" example:"eu-west-1"`
	// With AWS_MSK_IAM: a role that is assumed with the credentials that AWS' own chain finds. Without it, those log in.
	RoleARN string `env:"KAFKA_AWS_ROLE_ARN" is:"rolearn" unset:"AWS' own" example:"arn:aws:iam::123456789012:role/genesys-audit"`
}

// Registry is a Confluent-compatible schema registry.
type Registry struct {
	// The registry's address; several of one registry, separated by commas, are asked in this order until one answers. The schema's subject is the changes topic and `-value`.
	URLs []string `env:"SCHEMA_REGISTRY_URL" is:"url" unset:"Avro single-object encoding" example:"https://registry:8081"`
	// The user's name at the registry.
	Username Secret `env:"SCHEMA_REGISTRY_USERNAME"`
	// The user's password at the registry.
	Password Secret `env:"SCHEMA_REGISTRY_PASSWORD"`
	// Whether a schema that the registry lacks is registered.
	AutoRegister bool `env:"SCHEMA_REGISTRY_AUTO_REGISTER,default=true"`
	// A PEM file of the authorities that the registry's certificate is checked against.
	CAFile string `env:"SCHEMA_REGISTRY_CA_FILE" unset:"the system's" example:"/etc/registry/ca.pem"`
	// A PEM file with the certificate (and chain) that the connector shows. All files are read again at each connection.
	CertFile string `env:"SCHEMA_REGISTRY_CERT_FILE" example:"/etc/registry/tls.crt"`
	// A PEM file with that certificate's key.
	KeyFile string `env:"SCHEMA_REGISTRY_KEY_FILE" example:"/etc/registry/tls.key"`
	// A bearer token, instead of a user. One from a file is read again for each request.
	Token Secret `env:"SCHEMA_REGISTRY_TOKEN"`
	OAuth RegistryOAuth
}

// RegistryOAuth is where bearer tokens for the registry come from.
type RegistryOAuth struct {
	// The token endpoint of an OIDC provider, which is asked for tokens by the grant of client credentials, instead of a user or a token.
	Endpoint string `env:"SCHEMA_REGISTRY_OAUTH_TOKEN_ENDPOINT_URL" is:"url" example:"https://idp.example.com/oauth2/token"`
	// The id of the client there.
	ClientID Secret `env:"SCHEMA_REGISTRY_OAUTH_CLIENT_ID"`
	// The secret of the client there.
	ClientSecret Secret `env:"SCHEMA_REGISTRY_OAUTH_CLIENT_SECRET"`
	// The scope to ask for; several are separated by spaces.
	Scope string `env:"SCHEMA_REGISTRY_OAUTH_SCOPE" example:"schema_registry"`
	// What Confluent Cloud wants to see beside the token, key=value separated by commas: `logicalCluster` is the registry's id, `identityPoolId` that of the pool.
	Extensions []string `env:"SCHEMA_REGISTRY_OAUTH_EXTENSIONS" is:"registryextension" example:"logicalCluster=lsrc-abc123,identityPoolId=pool-abc1"`
}

// Evidence is the log that shows tampering.
type Evidence struct {
	// Whether each published event is entered in a Merkle log, in the same transaction.
	Enabled bool `env:"EVIDENCE,default=true"`
	// The topic of that log.
	Topic string `env:"KAFKA_TOPIC_EVIDENCE,default=genesys.audit.evidence" is:"topic"`
	// The key that signs the log's checkpoints, as `connector evidence key` makes it; after it, separated by white space, the key whose place it takes, which also signs its first checkpoint.
	Key Secret `env:"EVIDENCE_KEY" unset:"checkpoints are not signed"`
	// An authority (RFC 3161) that is asked for time stamps of checkpoints.
	TSAURL string `env:"EVIDENCE_TSA_URL" is:"url" unset:"no time stamps" example:"https://tsa.example.com/tsr"`
	// How often it is asked.
	TSAInterval time.Duration `env:"EVIDENCE_TSA_INTERVAL,default=24h" min:"1s" max:"365d"`
}

// Log is what is logged, and how.
type Log struct {
	// The least severe level that is logged.
	Level zapcore.Level `env:"LOG_LEVEL,default=info" oneof:"debug,info,warn,error"`
	// The form of log lines.
	Format string `env:"LOG_FORMAT" oneof:"json,console" unset:"json (console on a terminal)"`
}

// GroupID is the consumer group of the replicas.
func (c Config) GroupID() string {
	switch {
	case c.Kafka.Group != "":
		return c.Kafka.Group
	case c.OrgsFile != "":
		return "genesys-audit"
	}
	return "genesys-audit-" + c.Org
}

// TransactionalID is that of the organisation.
func (c Config) TransactionalID() string {
	if c.OrgsFile != "" {
		return c.GroupID() + "/" + c.Org
	}
	return c.GroupID()
}

// Hosts are the addresses of the API and of the login.
func (g Genesys) Hosts() (api, login string) {
	api, login = genesys.RegionURLs(g.Region) // both were set where there is no region
	return cmp.Or(g.APIURL, api), cmp.Or(g.LoginURL, login)
}

// retentions are the defaults of GENESYS_RETENTION.
var retentions = map[string]time.Duration{"auditlogs": 180 * day, "query": 365 * day, "realtime": 14 * day}

// RetentionOf is how far back the API holds events in a dialect, which with
// GENESYS_AUDIT_API=auto is known only when the API was asked.
func (g Genesys) RetentionOf(dialect string) time.Duration {
	return cmp.Or(g.Retention, retentions[dialect])
}

// Problem is one variable that is wrong.
type Problem struct {
	Variable string
	Text     string // what is wrong, what was expected, and an example
}

// ConfigError is every variable that is wrong.
type ConfigError []Problem

// Error has one line a variable, "NAME: what is wrong".
func (e ConfigError) Error() string {
	lines := make([]string, len(e))
	for i, p := range e {
		lines[i] = p.Variable + ": " + p.Text
	}
	return strings.Join(lines, "\n")
}

// Load reads the configuration. Its error is a ConfigError that names every
// variable that is wrong; nothing but files is looked at. An empty variable is
// an unset one.
func Load(env envconfig.Lookuper) (Config, error) {
	var cfg Config
	r := &reader{env: env}
	r.read(&cfg)
	if r.bug != nil {
		return Config{}, r.bug
	}
	c := checker{cfg: &cfg, reader: r}
	c.check()
	if len(r.problems) > 0 {
		return Config{}, r.errors()
	}
	return cfg, nil
}

// LoadKafka reads what is needed to look at what stands in Kafka, by a command that asks
// no API: the organisation's variables may be unset.
func LoadKafka(env envconfig.Lookuper) (Config, error) {
	var cfg Config
	r := &reader{env: env}
	r.read(&cfg)
	if r.bug != nil {
		return Config{}, r.bug
	}
	c := checker{cfg: &cfg, reader: r}
	c.checkKafka()
	c.checkRegistry()
	if len(r.problems) > 0 {
		return Config{}, r.errors()
	}
	return cfg, nil
}

// LoadHTTPAddr reads HTTP_ADDR alone, for commands that ask a running replica.
func LoadHTTPAddr(env envconfig.Lookuper) (string, error) {
	var cfg struct {
		HTTPAddr string `env:"HTTP_ADDR,default=:8080" is:"listen"`
	}
	r := &reader{env: env}
	r.read(&cfg)
	if r.bug != nil {
		return "", r.bug
	}
	if len(r.problems) > 0 {
		return "", r.errors()
	}
	return cfg.HTTPAddr, nil
}

// reader fills a struct and keeps what is wrong with it.
type reader struct {
	env      envconfig.Lookuper
	problems []Problem
	bug      error // in the struct, not in the environment
	last     string
}

// read decodes into target until nothing is wrong any more: envconfig stops at
// the first variable that it cannot decode, which is the one it looked up last;
// that one is noted and from then on hidden, so that the next one shows.
func (r *reader) read(target any) {
	for {
		r.last = ""
		err := envconfig.ProcessWith(context.Background(), &envconfig.Config{
			Target: target, Lookuper: r, DefaultOverwrite: true, Mutators: []envconfig.Mutator{envconfig.MutatorFunc(mutate)},
		})
		if err == nil {
			break
		}
		var wrong *valueError
		if !errors.As(err, &wrong) || r.wrong(r.last) {
			r.bug = fmt.Errorf("configuration: %s: %w", r.last, err)
			return
		}
		r.add(r.last, "%s", wrong.describe(variablesByName()[r.last]))
	}
	r.readFiles(target)
}

// Lookup is what envconfig sees: no empty and no wrong variables.
func (r *reader) Lookup(name string) (string, bool) {
	r.last = name
	if r.wrong(name) {
		return "", false
	}
	value := r.value(name)
	return value, value != ""
}

// value is what the variable is set to, "" for an unset one. White space
// around a value is never meant, but may be part of a secret.
func (r *reader) value(name string) string {
	value, _ := r.env.Lookup(name)
	if trimmed := strings.TrimSpace(value); trimmed == "" || !variablesByName()[name].Secret {
		return trimmed
	}
	return cutNewline(value)
}

// set tells whether the user has set the variable, himself or by a file.
func (r *reader) set(name string) bool { return r.value(name) != "" || r.value(name+"_FILE") != "" }

func (r *reader) wrong(name string) bool {
	return slices.ContainsFunc(r.problems, func(p Problem) bool { return p.Variable == name })
}

func (r *reader) add(name, format string, args ...any) {
	r.problems = append(r.problems, Problem{name, fmt.Sprintf(format, args...)})
}

// errors are the problems in the order of the reference.
func (r *reader) errors() ConfigError {
	slices.SortStableFunc(r.problems, func(a, b Problem) int {
		return variableOf(a.Variable).index - variableOf(b.Variable).index
	})
	return r.problems
}
