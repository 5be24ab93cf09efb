package main

import (
	"encoding/base64"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sethvargo/go-envconfig"

	"genesys-audit-connector/internal/txn"
)

var update = flag.Bool("update", false, "rewrite golden and generated files")

// rightEnv is the least that a configuration needs.
func rightEnv() map[string]string {
	return map[string]string{
		"GENESYS_REGION":        "mypurecloud.ie",
		"GENESYS_CLIENT_ID":     "a-client",
		"GENESYS_CLIENT_SECRET": "a-secret",
		"KAFKA_BROKERS":         "kafka-1:9092, kafka-2:9092",
	}
}

func load(t *testing.T, settings ...string) Config {
	t.Helper()
	cfg, err := Load(envconfig.MapLookuper(environment(settings)))
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// environment is rightEnv with NAME=value set and -NAME unset.
func environment(settings []string) map[string]string {
	env := rightEnv()
	for _, s := range settings {
		if name, ok := strings.CutPrefix(s, "-"); ok {
			delete(env, name)
			continue
		}
		name, value, _ := strings.Cut(s, "=")
		env[name] = value
	}
	return env
}

func TestDefaults(t *testing.T) {
	cfg := load(t)
	want := Config{
		Org: "default",
		Genesys: Genesys{
			Region: "mypurecloud.ie", ClientID: cfg.Genesys.ClientID, ClientSecret: cfg.Genesys.ClientSecret,
			API: "auto", Filter: "type=configuration", Priority: []string{"PeoplePermissions"}, Names: true, RateShare: 0.7, RateReserve: 10, RequestTimeout: 30 * time.Second,
		},
		Poll: Poll{
			Interval: 5 * time.Second, Overlap: 2 * time.Minute,
			SweepAges:    []time.Duration{10 * time.Minute, time.Hour, 6 * time.Hour, 24 * time.Hour},
			BackfillFrom: Start{ago: 24 * time.Hour, text: "24h"}, BackfillChunk: time.Hour,
		},
		Kafka: Kafka{
			Brokers:      []string{"kafka-1:9092", "kafka-2:9092"},
			TopicChanges: "genesys.audit.changes", TopicRaw: "genesys.audit.raw", TopicOffsets: "genesys.audit.offsets",
			CreateTopics: true, Partitions: 3, OffsetsPartitions: 12, SessionTimeout: 10 * time.Second, Compression: txn.LZ4, MaxMessageBytes: 8388608, RecordTime: "publish",
		},
		Registry: Registry{AutoRegister: true},
		Evidence: Evidence{Enabled: true, Topic: "genesys.audit.evidence", TSAInterval: day},
		HTTPAddr: ":8080", ShutdownTimeout: 20 * time.Second,
	}
	if !reflect.DeepEqual(cfg, want) {
		t.Errorf("got  %+v\nwant %+v", cfg, want)
	}
	if id, secret := cfg.Genesys.ClientID.Value(), cfg.Genesys.ClientSecret.Value(); id != "a-client" || secret != "a-secret" {
		t.Errorf("credentials are %q and %q", id, secret)
	}
	if api, login := cfg.Genesys.Hosts(); api != "https://api.mypurecloud.ie" || login != "https://login.mypurecloud.ie" {
		t.Errorf("hosts are %s and %s", api, login)
	}
	if cfg.GroupID() != "genesys-audit-default" {
		t.Errorf("group is %s", cfg.GroupID())
	}
}

func TestSettings(t *testing.T) {
	tests := []struct {
		settings []string
		get      func(Config) any
		want     any
	}{
		{[]string{"POLL_INTERVAL="}, func(c Config) any { return c.Poll.Interval }, 5 * time.Second},
		{[]string{"POLL_INTERVAL= 7s\n"}, func(c Config) any { return c.Poll.Interval }, 7 * time.Second},
		{[]string{"GENESYS_RETENTION=1d12h"}, func(c Config) any { return c.Genesys.Retention }, 36 * time.Hour},
		{[]string{"GENESYS_RETENTION=100d"}, func(c Config) any { return c.Genesys.RetentionOf("query") }, 2400 * time.Hour},
		{nil, func(c Config) any { return c.Genesys.RetentionOf("query") }, 365 * day},
		{nil, func(c Config) any { return c.Genesys.RetentionOf("auditlogs") }, 180 * day},
		{nil, func(c Config) any { return c.Genesys.RetentionOf("realtime") }, 14 * day},
		{nil, func(c Config) any { return c.Genesys.RateLimit }, Rate{}},
		{[]string{"GENESYS_RATE_LIMIT=40 / 1m"}, func(c Config) any { return c.Genesys.RateLimit }, Rate{40, time.Minute}},
		{[]string{"GENESYS_RATE_SHARE=1"}, func(c Config) any { return c.Genesys.RateShare }, 1.0},
		{[]string{"GENESYS_RATE_RESERVE=0"}, func(c Config) any { return c.Genesys.RateReserve }, 0},
		{[]string{"GENESYS_SERVICES=all"}, func(c Config) any { return c.Genesys.Services }, []string(nil)},
		{[]string{"GENESYS_SERVICES=Routing, Outbound"}, func(c Config) any { return c.Genesys.Services }, []string{"Routing", "Outbound"}},
		{[]string{"GENESYS_FILTER=type=configuration,entityName=The A team"}, func(c Config) any { return c.Genesys.Filter }, "type=configuration,entityName=The A team"},
		{[]string{"GENESYS_API_URL=http://127.0.0.1:1/"}, func(c Config) any { api, _ := c.Genesys.Hosts(); return api }, "http://127.0.0.1:1"},
		{[]string{"SWEEP_AGES=none"}, func(c Config) any { return c.Poll.SweepAges }, []time.Duration(nil)},
		{[]string{"SWEEP_AGES=1d,90m,10m"}, func(c Config) any { return c.Poll.SweepAges }, []time.Duration{10 * time.Minute, 90 * time.Minute, day}},
		{[]string{"KAFKA_BROKERS=[::1]:9092"}, func(c Config) any { return c.Kafka.Brokers }, []string{"[::1]:9092"}},
		{[]string{"KAFKA_PARTITIONS=012"}, func(c Config) any { return c.Kafka.Partitions }, int32(12)},
		{[]string{"KAFKA_COMPRESSION=none"}, func(c Config) any { return c.Kafka.Compression }, txn.None},
		{[]string{"KAFKA_COMPRESSION=zstd"}, func(c Config) any { return c.Kafka.Compression }, txn.Zstd},
		{[]string{"KAFKA_CREATE_TOPICS=false"}, func(c Config) any { return c.Kafka.CreateTopics }, false},
		{[]string{"ORG_NAME=acme"}, func(c Config) any { return c.GroupID() }, "genesys-audit-acme"},
		{[]string{"KAFKA_GROUP_ID=g"}, func(c Config) any { return c.GroupID() }, "g"},
		{[]string{"SCHEMA_REGISTRY_URL=http://r:8081/apis/ccompat/v7/"}, func(c Config) any { return c.Registry.URLs }, []string{"http://r:8081/apis/ccompat/v7"}},
		{[]string{"SCHEMA_REGISTRY_URL=https://a:8081/, https://b:8081"}, func(c Config) any { return c.Registry.URLs }, []string{"https://a:8081", "https://b:8081"}},
		{[]string{"HTTP_ADDR=127.0.0.1:0"}, func(c Config) any { return c.HTTPAddr }, "127.0.0.1:0"},
		{[]string{"LOG_LEVEL=debug"}, func(c Config) any { return c.Log.Level.String() }, "debug"},
		{[]string{"GENESYS_CLIENT_SECRET= spaced \n"}, func(c Config) any { return c.Genesys.ClientSecret.Value() }, " spaced "},
		{[]string{"GENESYS_REFRESH_TOKEN=\n"}, func(c Config) any { return c.Genesys.RefreshToken.IsSet() }, false},
		{[]string{"-GENESYS_CLIENT_SECRET", "GENESYS_CLIENT_SECRET_FILE=testdata/config/good.secret"},
			func(c Config) any { return c.Genesys.ClientSecret.Value() }, "s3cret"},
	}
	for _, tt := range tests {
		if got := tt.get(load(t, tt.settings...)); !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%q: got %v, want %v", tt.settings, got, tt.want)
		}
	}
}

// TestWrongConfiguration compares with testdata/config/wrong.txt, which says how it is made.
func TestWrongConfiguration(t *testing.T) {
	golden := filepath.Join("testdata", "config", "wrong.txt")
	content, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	var blocks []string
	for _, block := range strings.Split(strings.TrimSpace(string(content)), "\n\n") {
		var comments, settings, want []string
		for _, line := range strings.Split(block, "\n") {
			switch {
			case strings.HasPrefix(line, "#"):
				comments = append(comments, line)
			case strings.HasPrefix(line, "> "):
				want = append(want, line)
			default:
				settings = append(settings, line)
			}
		}
		if len(settings) == 0 {
			blocks = append(blocks, block)
			continue
		}
		got := complaints(t, settings)
		if !*update && !slices.Equal(got, want) {
			t.Errorf("%s\ngot:\n%s\nwant:\n%s", strings.Join(settings, "\n"), strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		blocks = append(blocks, strings.Join(slices.Concat(comments, settings, got), "\n"))
	}
	if *update {
		if err := os.WriteFile(golden, []byte(strings.Join(blocks, "\n\n")+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func complaints(t *testing.T, settings []string) (lines []string) {
	t.Helper()
	cfg, err := Load(envconfig.MapLookuper(environment(settings)))
	var wrong ConfigError
	if !errors.As(err, &wrong) {
		t.Errorf("%q: want a ConfigError, got %v", settings, err)
	}
	if !reflect.DeepEqual(cfg, Config{}) {
		t.Errorf("%q: a configuration came with the error", settings)
	}
	for line := range strings.SplitSeq(wrong.Error(), "\n") {
		if strings.Contains(line, "hunter2") {
			t.Errorf("a password is shown: %s", line)
		}
		lines = append(lines, "> "+line)
	}
	return lines
}

// TestEveryVariableIsWrongInOneGo sets everything to what it cannot be.
func TestEveryVariableIsWrongInOneGo(t *testing.T) {
	anything := map[string]bool{"GENESYS_OAUTH_SCOPE": true, "ORGS_FILE": true}
	env := map[string]string{"KAFKA_TLS": "true"}
	for _, v := range Variables() {
		switch {
		case v.Secret, strings.HasPrefix(v.Name, "KAFKA_TLS_"):
			env[v.Name+"_FILE"] = "absent"
			env[v.Name] = "absent"
		case v.Name != "KAFKA_TLS":
			env[v.Name] = "? ?"
		}
	}
	_, err := Load(envconfig.MapLookuper(env))
	var wrong ConfigError
	if !errors.As(err, &wrong) {
		t.Fatal(err)
	}
	named := map[string]int{}
	for _, p := range wrong {
		named[p.Variable]++
	}
	anything["KAFKA_TLS"], anything["KAFKA_TLS_KEY_FILE"] = true, true                 // named with the certificate
	for _, name := range []string{"CA_FILE", "CERT_FILE", "KEY_FILE", "OAUTH_SCOPE"} { // which files are needed depends on the URL
		anything["SCHEMA_REGISTRY_"+name] = true
	}
	// Whether a file is needed, and what may be asked for, depends on the mechanism.
	anything["KAFKA_SASL_OAUTHBEARER_TOKEN_FILE"], anything["KAFKA_SASL_OAUTHBEARER_SCOPE"] = true, true
	for _, v := range Variables() {
		if !anything[v.Name] && named[v.Name] != 1 {
			t.Errorf("%s is named %d times", v.Name, named[v.Name])
		}
	}
}

func TestWarnings(t *testing.T) {
	const bearer = "KAFKA_SASL_MECHANISM=OAUTHBEARER KAFKA_SASL_OAUTHBEARER_TOKEN_FILE=testdata/config/good.secret"
	ended := filepath.Join(t.TempDir(), "token")
	writeFile(t, ended, "e30."+base64.RawURLEncoding.EncodeToString([]byte(`{"exp":1000000000}`))+".c2ln")
	tests := map[string]string{
		"GENESYS_REGION=xyz9.pure.cloud":                                                             "taken as it is: the hosts are api.xyz9.pure.cloud and login.xyz9.pure.cloud",
		"GENESYS_REGION=MyPureCloud.DEE":                                                             "GENESYS_REGION=mypurecloud.dee is not a region that this version knows",
		"GENESYS_REGION=edee1.eusc-pure.cloud":                                                       "",
		"GENESYS_API_URL=http://gateway":                                                             "GENESYS_API_URL is http",
		"GENESYS_AUDIT_API=auditlogs GENESYS_SERVICES=Routing":                                       "GENESYS_SERVICES has no effect",
		"GENESYS_AUDIT_API=query GENESYS_FILTER=type=x":                                              "GENESYS_FILTER has no effect",
		"GENESYS_RATE_LIMIT=10/1s":                                                                   "GENESYS_RATE_RESERVE leaves nothing",
		"POLL_INTERVAL=2m":                                                                           "POLL_OVERLAP is not longer",
		"KAFKA_SESSION_TIMEOUT=3s":                                                                   "KAFKA_SESSION_TIMEOUT is under 6s",
		"KAFKA_SASL_MECHANISM=PLAIN KAFKA_SASL_USERNAME=u KAFKA_SASL_PASSWORD=p":                     "the password crosses the network",
		"KAFKA_SASL_MECHANISM=SCRAM-SHA-512 KAFKA_SASL_USERNAME=u KAFKA_SASL_PASSWORD=p":             "KAFKA_SASL_MECHANISM=SCRAM-SHA-512 without KAFKA_TLS=true: proofs",
		"KAFKA_SASL_MECHANISM=AWS_MSK_IAM KAFKA_AWS_REGION=eu-west-1":                                "KAFKA_SASL_MECHANISM=AWS_MSK_IAM without KAFKA_TLS=true: the signed token",
		"KAFKA_TLS=true KAFKA_SASL_MECHANISM=OAUTHBEARER KAFKA_SASL_OAUTHBEARER_TOKEN_FILE=" + ended: "KAFKA_SASL_OAUTHBEARER_TOKEN_FILE holds a token that ended at 2001-09-09T01:46:40Z",
		bearer: "KAFKA_SASL_MECHANISM=OAUTHBEARER without KAFKA_TLS=true: the access token crosses",
		bearer + " KAFKA_TLS=true KAFKA_SASL_USERNAME=u":                                                                                                                                       "KAFKA_SASL_USERNAME has no effect with KAFKA_SASL_MECHANISM=OAUTHBEARER; it is for PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512",
		bearer + " KAFKA_TLS=true KAFKA_AWS_ROLE_ARN=arn:aws:iam::123456789012:role/a":                                                                                                         "KAFKA_AWS_ROLE_ARN has no effect with KAFKA_SASL_MECHANISM=OAUTHBEARER; it is for AWS_MSK_IAM",
		"KAFKA_TLS=true KAFKA_SASL_MECHANISM=PLAIN KAFKA_SASL_USERNAME=u KAFKA_SASL_PASSWORD=p KAFKA_SASL_OAUTHBEARER_SCOPE=s":                                                                 "KAFKA_SASL_OAUTHBEARER_SCOPE has no effect with KAFKA_SASL_MECHANISM=PLAIN; it is for OAUTHBEARER",
		"KAFKA_TLS=true KAFKA_SASL_MECHANISM=OAUTHBEARER KAFKA_SASL_OAUTHBEARER_TOKEN_ENDPOINT_URL=http://idp/token KAFKA_SASL_OAUTHBEARER_CLIENT_ID=i KAFKA_SASL_OAUTHBEARER_CLIENT_SECRET=s": "KAFKA_SASL_OAUTHBEARER_TOKEN_ENDPOINT_URL is http: the client's secret crosses",
		"GENESYS_LOGIN_URL=http://127.0.0.1.example.com GENESYS_API_URL=https://a":                                                                                                             "GENESYS_LOGIN_URL is http",
		"SCHEMA_REGISTRY_URL=https://r,http://s SCHEMA_REGISTRY_TOKEN=t":                                                                                                                       "SCHEMA_REGISTRY_URL is http",
		"SCHEMA_REGISTRY_URL=https://r SCHEMA_REGISTRY_OAUTH_TOKEN_ENDPOINT_URL=http://idp SCHEMA_REGISTRY_OAUTH_CLIENT_ID=i SCHEMA_REGISTRY_OAUTH_CLIENT_SECRET=s":                            "SCHEMA_REGISTRY_OAUTH_TOKEN_ENDPOINT_URL is http",
		"SCHEMA_REGISTRY_URL=http://r SCHEMA_REGISTRY_USERNAME=u SCHEMA_REGISTRY_PASSWORD=p":                                                                                                   "SCHEMA_REGISTRY_URL is http",
		"GENESYS_API_URL=http://127.0.0.1:8080 KAFKA_SESSION_TIMEOUT=6s":                                                                                                                       "",
	}
	for settings, want := range tests {
		warnings := load(t, strings.Fields(settings)...).Warnings
		switch {
		case want == "" && len(warnings) > 0:
			t.Errorf("%s: warns %q", settings, warnings)
		case want != "" && (len(warnings) != 1 || !strings.Contains(warnings[0], want)):
			t.Errorf("%s: warnings %q, want one with %q", settings, warnings, want)
		}
	}
}

func TestMisspeltVariablesAreNamed(t *testing.T) {
	got := Unread([]string{
		"KAFKA_BROKER=a", "GENESYS_REGON=b", "GENESYS_CLIENT_SECERT_FILE=c", "genesys_filter=d", "POL_INTERVAL=e",
		"KAFKA_BROKERS=right", "GENESYS_CLIENT_ID_FILE=right", "KAFKA_TCP=tcp://10.0.0.1", "KAFKA_HEAP_OPTS=-Xmx1g", "KAFKA_OPTS=", "KAFKA_BROKRES=",
		"KAFKA_PORT_9092_TCP_PORT=9092", "GENESYS_SOMETHING=else", "HOME=/root", "SCHEMA_REGISTRY_PORT=tcp://10.0.0.1:8081", "",
	})
	var want []string
	for _, w := range [][2]string{
		{"GENESYS_CLIENT_SECERT_FILE", "GENESYS_CLIENT_SECRET_FILE"}, {"GENESYS_REGON", "GENESYS_REGION"}, {"KAFKA_BROKER", "KAFKA_BROKERS"},
		{"POL_INTERVAL", "POLL_INTERVAL"}, {"genesys_filter", "GENESYS_FILTER"},
	} {
		want = append(want, fmt.Sprintf("%s is not a variable of the connector; did you mean %s?", w[0], w[1]))
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func TestDistance(t *testing.T) {
	tests := []struct {
		a, b string
		want int
	}{{"", "", 0}, {"", "abc", 3}, {"abc", "", 3}, {"kitten", "sitting", 3}, {"regoin", "region", 1}, {"abc", "abc", 0}, {"ab", "ba", 1}}
	for _, tt := range tests {
		if got := distance(tt.a, tt.b); got != tt.want {
			t.Errorf("distance(%q, %q) = %d, want %d", tt.a, tt.b, got, tt.want)
		}
	}
}

func TestLoadHTTPAddr(t *testing.T) {
	for value, want := range map[string]string{"": ":8080", "127.0.0.1:9": "127.0.0.1:9"} {
		got, err := LoadHTTPAddr(envconfig.MapLookuper(map[string]string{"HTTP_ADDR": value}))
		if err != nil || got != want {
			t.Errorf("%q: got %q, %v", value, got, err)
		}
	}
	_, err := LoadHTTPAddr(envconfig.MapLookuper(map[string]string{"HTTP_ADDR": "9"}))
	if wrong := (ConfigError)(nil); !errors.As(err, &wrong) {
		t.Errorf("got %v", err)
	}
}

// TestContract compares names and defaults with the list of what is promised.
func TestContract(t *testing.T) {
	content, err := os.ReadFile("testdata/config/contract.txt")
	if err != nil {
		t.Fatal(err)
	}
	promised := map[string]string{}
	for line := range strings.Lines(string(content)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		promised[name] = value
	}
	optional := []string{"GENESYS_API_URL", "GENESYS_LOGIN_URL", "KAFKA_TLS_CA_FILE", "KAFKA_SASL_MECHANISM", "SCHEMA_REGISTRY_URL", "SCHEMA_REGISTRY_CA_FILE"}
	for _, v := range Variables() {
		got := v.Default
		if got == "" && !slices.Contains(optional, v.Name) { // those say what their absence means
			got = v.Unset
		}
		want, ok := promised[v.Name]
		if !ok || got != want {
			t.Errorf("%s: default %q, promised %q (%t)", v.Name, got, want, ok)
		}
		delete(promised, v.Name)
	}
	if len(promised) > 0 {
		t.Errorf("promised, and not there: %q", slices.Sorted(maps.Keys(promised)))
	}
}

// TestTags checks that the tags of Config say what the reader understands.
func TestTags(t *testing.T) {
	for _, v := range Variables() {
		kind := v.kind
		if kind.Kind() == reflect.Slice {
			kind = kind.Elem()
		}
		bounded := v.min != "" && v.max != ""
		switch {
		case kind == reflect.TypeFor[time.Duration]():
			_, low := parseDuration(v.min)
			_, high := parseDuration(v.max)
			if !bounded || low != "" || high != "" {
				t.Errorf("%s: bounds %q and %q", v.Name, v.min, v.max)
			}
		case slices.Contains([]reflect.Kind{reflect.Int, reflect.Int16, reflect.Int32, reflect.Float64}, kind.Kind()):
			if low, high := v.numbers(); !bounded || low >= high {
				t.Errorf("%s: bounds %q and %q", v.Name, v.min, v.max)
			}
		case bounded:
			t.Errorf("%s has bounds that nothing looks at", v.Name)
		}
		if v.format != "" && formats[v.format] == nil {
			t.Errorf("%s: there is no format %q", v.Name, v.format)
		}
		if v.Doc == "" || v.Group == "" {
			t.Errorf("%s has no comment or no group", v.Name)
		}
		if v.Default != "" && v.Unset != "" {
			t.Errorf("%s has a default and says what holds without", v.Name)
		}
		if v.Example != "" && v.kind != reflect.TypeFor[Rate]() {
			if _, err := v.decode(v.Example); err != nil {
				t.Errorf("%s: its example is wrong: %v", v.Name, err)
			}
		}
	}
}

// TestAddressWithASecretIsNotShown: some endpoints take a password or key in the query.
func TestAddressWithASecretIsNotShown(t *testing.T) {
	for _, address := range []string{"https://idp/token?client_secret=tell-nobody", "https://idp/token#tell-nobody", "https://idp:0/token?key=tell-nobody", "idp/token?key=tell-nobody"} {
		_, err := Load(envconfig.MapLookuper(environment([]string{
			"KAFKA_TLS=true", "KAFKA_SASL_MECHANISM=OAUTHBEARER", "KAFKA_SASL_OAUTHBEARER_CLIENT_ID=i", "KAFKA_SASL_OAUTHBEARER_CLIENT_SECRET=s",
			"KAFKA_SASL_OAUTHBEARER_TOKEN_ENDPOINT_URL=" + address,
		})))
		if err == nil || strings.Contains(err.Error(), "tell-nobody") || !strings.Contains(err.Error(), "KAFKA_SASL_OAUTHBEARER_TOKEN_ENDPOINT_URL") {
			t.Errorf("%s: %v", address, err)
		}
	}
}
