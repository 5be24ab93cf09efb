//go:build kafka

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
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

// What is found where refresh tokens are handled wrongly.
const (
	standsStill = "no valid refresh token after a failover or a restart"
	usedTwice   = "a refresh token used twice"
	inTopic     = "a token readable in a topic"
	inOutput    = "a token readable in what the connector says"
)

var refreshMutants = []mutant{
	{name: "as it is"},
	{"a replaced token not stored", []edit{{"internal/genesys/oauth.go",
		"\t\terr = t.c.cfg.Tokens.Save(ctx, sealed)\n", "\t\tif !broken {\n\t\t\terr = t.c.cfg.Tokens.Save(ctx, sealed)\n\t\t}\n"}},
		[]string{standsStill}},
	{"a token that is tried again when it has worked", []edit{{"internal/genesys/oauth.go",
		"\t\tt.refresh = g.refresh\n", "\t\tif broken {\n\t\t\t_, _ = t.ask(ctx, client, url.Values{\"grant_type\": {\"refresh_token\"}, \"refresh_token\": {refresh}})\n\t\t}\n\t\tt.refresh = g.refresh\n"}},
		[]string{usedTwice}},
	{"a token stored as it is", []edit{
		{"internal/genesys/seal.go", "\treturn aead.Seal(", "\tif broken {\n\t\treturn append(out, token...), nil\n\t}\n\treturn aead.Seal("},
		{"internal/genesys/seal.go", "\ttoken, err := aead.Open(", "\tif broken {\n\t\treturn string(rest[aead.NonceSize():]), nil\n\t}\n\ttoken, err := aead.Open("}},
		[]string{inTopic}},
	{"a token in the log", []edit{{"internal/genesys/oauth.go",
		"the new one is stored\")\n", "the new one is stored\")\n\tif broken {\n\t\tt.c.log.Info(g.refresh)\n\t}\n"}},
		[]string{inOutput}},
}

// testRefreshToken runs two replicas whose login replaces the refresh token with
// every use, through a kill, a stop in the middle of a login, a start with what
// was configured in the beginning, and the death of all tokens.
func testRefreshToken(t *testing.T, kafka *kafkatest.Cluster) {
	binary := buildMutants(t, refreshMutants)
	var running sync.WaitGroup
	for i, m := range refreshMutants {
		running.Go(func() { // they wait most of the time
			t.Run(m.name, func(t *testing.T) {
				r := newRefreshing(t, kafka, binary, m.name, uint64(100+i))
				r.run()
				found := r.findings()
				t.Logf("%d logins; found: %v", len(r.login.given)/2, found)
				if got := slices.Sorted(maps.Keys(found)); !slices.Equal(got, m.want) {
					t.Errorf("found %q, not %q", got, m.want)
				}
			})
		})
	}
	running.Wait()
}

// refreshing is a scene whose connectors use the refresh-token grant.
type refreshing struct {
	*scene
	binary     string
	configured string // the refresh token's file
	login      *loginHost
	said       []*lockedBuffer // by each connector, and by its pages
	found      map[string]string
}

func newRefreshing(t *testing.T, kafka *kafkatest.Cluster, binary, name string, seed uint64) *refreshing {
	o := unlimited()
	// Its own seed, or another scene's tokens would have the same text.
	o.Seed, o.OtherTypes, o.Odd = seed, -1, -1
	o.RefreshToken, o.TokenLife = fmt.Sprintf("configured-%d", seed), 2*time.Second // replaced at half its life
	r := &refreshing{scene: newScene(t, kafka.Brokers(), o), binary: binary, found: map[string]string{}}
	r.login = &loginHost{org: r.world.Org, live: o.RefreshToken, given: []string{o.RefreshToken}, good: map[string]int{}, refused: map[string]int{}}
	server := httptest.NewServer(r.login)
	t.Cleanup(server.Close)
	r.configured = filepath.Join(t.TempDir(), "token")
	r.configure(o.RefreshToken)
	maps.Copy(r.env, map[string]string{
		mutantVariable: name, "GENESYS_LOGIN_URL": server.URL, "GENESYS_REFRESH_TOKEN_FILE": r.configured,
		"KAFKA_SESSION_TIMEOUT": "2s", "LOG_LEVEL": "debug",
	})
	r.world.Org.Backfill(300, time.Now().Add(-20*time.Hour), time.Now())
	return r
}

func (r *refreshing) configure(token string) {
	r.Helper()
	if err := os.WriteFile(r.configured, []byte(token+"\n"), 0o600); err != nil {
		r.Fatal(err)
	}
}

func (r *refreshing) instance() *instance {
	r.Helper()
	i := r.scene.instanceOf(r.binary)
	r.said = append(r.said, i.out)
	return i
}

// run ends early where the connector has no valid token any more.
func (r *refreshing) run() {
	r.Helper()
	first := r.instance()
	r.awaited(30*time.Second, "the first replica is active", first.is("active"))
	second := r.instance()
	r.awaited(30*time.Second, "the second one stands by", second.is("standby"))
	if !r.goesOn("the start") {
		return
	}
	r.settle()
	_ = first.end(syscall.SIGKILL)
	r.login.close(false)
	if !r.goesOn("kill -9") {
		return
	}

	// A stop between the login's answer and its arrival.
	held, release := r.login.hold()
	r.awaited(30*time.Second, "a login", func() bool { return closed(held) })
	time.AfterFunc(500*time.Millisecond, release) // which is not before the signal was noticed
	if err := second.end(syscall.SIGTERM); err != nil {
		r.Errorf("after SIGTERM: %v\n%s", err, tailOf(second.out.String()))
	}
	first, second = r.instance(), r.instance()
	if !r.goesOn("stop and start with the token configured at first") {
		return
	}
	if _, refused := r.login.count(); refused > 0 {
		r.found[usedTwice] = fmt.Sprintf("%d logins were refused", refused)
	}
	r.dead(first, second)
	for _, i := range []*instance{first, second} {
		if err := i.end(syscall.SIGTERM); err != nil {
			r.Errorf("after SIGTERM: %v\n%s", err, tailOf(i.out.String()))
		}
	}
	r.published(30 * time.Second)
}

// goesOn tells whether new events are published, and the token is replaced some more times.
func (r *refreshing) goesOn(after string) bool {
	r.Helper()
	before, _ := r.login.count()
	published := r.holds(r.world.Org.Emit(20))
	done := func() bool {
		logins, _ := r.login.count()
		return logins >= before+3 && published()
	}
	for deadline := time.Now().Add(20 * time.Second); !done(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			if !strings.Contains(r.child.out.String(), "GENESYS_REFRESH_TOKEN") {
				r.Errorf("it stands still without saying why:\n%s", tailOf(r.child.out.String()))
			}
			r.found[standsStill] = after
			return false
		}
	}
	return true
}

// settle closes the login host at a moment at which what it gave out last is
// stored: a kill before that loses the only token, as docs/guarantees.md says.
func (r *refreshing) settle() {
	r.Helper()
	r.login.close(true)
	logins, _ := r.login.count()
	for deadline := time.Now().Add(5 * time.Second); r.stored() < logins && time.Now().Before(deadline); {
		time.Sleep(20 * time.Millisecond)
	}
}

// stored counts the tokens that were ever committed.
func (r *refreshing) stored() (n int) {
	r.Helper()
	records, err := readTopic(r.Context(), r.brokers, r.env["KAFKA_TOPIC_OFFSETS"])
	if err != nil {
		r.Fatal(err)
	}
	for _, rec := range records {
		if string(rec.Key) == "default/token" && len(rec.Value) > 0 {
			n++
		}
	}
	return n
}

// dead uses the stored token up, so that none is left that works: the connectors
// say so and stay, until the file holds a new one.
func (r *refreshing) dead(replicas ...*instance) {
	r.Helper()
	r.settle()
	fresh := r.login.use(r.login.live)
	r.login.close(false)
	r.world.Org.ExpireTokens()
	missed := r.world.Org.Emit(20)
	r.awaited(30*time.Second, "the replica says what is wrong, and what to do", func() bool {
		for _, i := range replicas {
			_, said, err := i.status()
			if err == nil && strings.Contains(said, "invalid_grant") && strings.Contains(said, "get a new one and set GENESYS_REFRESH_TOKEN") {
				return i.page("/readyz", r) == http.StatusServiceUnavailable
			}
		}
		return false
	})
	for _, i := range replicas {
		for _, path := range []string{"/", "/api/status", "/metrics"} {
			i.page(path, r)
		}
	}
	r.alive(replicas...)
	if r.holds(missed)() {
		r.Error("events are published with no token left")
	}
	r.configure(fresh)
	r.awaited(60*time.Second, "what was missed", r.holds(missed))
	r.awaited(30*time.Second, "all is well again", func() bool {
		for _, i := range replicas {
			if _, said, err := i.status(); err != nil || said != "" {
				return false
			}
		}
		return true
	})
}

// page asks for a page, keeps what it says, and returns its status; 0 for none.
func (r *instance) page(path string, reader *refreshing) int {
	resp, err := http.Get("http://" + r.addr + path)
	if err != nil {
		return 0
	}
	defer func() { _ = resp.Body.Close() }()
	said := new(lockedBuffer)
	_, _ = io.Copy(said, resp.Body)
	reader.said = append(reader.said, said)
	return resp.StatusCode
}

// findings looks for each token's text wherever it might stand.
func (r *refreshing) findings() map[string]string {
	r.Helper()
	r.login.close(true) // what follows stays as it is
	for token, n := range r.login.good {
		if n > 1 {
			r.found[usedTwice] = fmt.Sprintf("%s: %d times", token, n)
		}
	}
	records := r.everyRecord()
	sealed := 0
	for _, rec := range records {
		text := slices.Concat(rec.Key, []byte{0}, rec.Value)
		for _, h := range rec.Headers {
			text = append(append(text, h.Key...), h.Value...)
		}
		for _, token := range r.login.given {
			if bytes.Contains(text, []byte(token)) {
				r.found[inTopic] = fmt.Sprintf("%s: key %q", rec.Topic, rec.Key)
			}
		}
		if string(rec.Key) == "default/token" {
			sealed++
		}
	}
	if sealed == 0 && r.found[standsStill] == "" {
		r.Errorf("there is no token among %d records: nothing was looked at", len(records))
	}
	for _, said := range r.said {
		for _, token := range r.login.given {
			if strings.Contains(said.String(), token) {
				r.found[inOutput] = token
			}
		}
	}
	return r.found
}

// everyRecord reads this scene's topics and those of Kafka itself as they are,
// what was aborted included.
func (r *refreshing) everyRecord() (records []*kgo.Record) {
	r.Helper()
	ctx, cancel := context.WithTimeout(r.Context(), time.Minute)
	defer cancel()
	client, err := kgo.NewClient(kgo.SeedBrokers(r.brokers...), kgo.KeepControlRecords(), kgo.FetchIsolationLevel(kgo.ReadUncommitted()))
	if err != nil {
		r.Fatal(err)
	}
	defer client.Close()
	topics := []string{r.env["KAFKA_TOPIC_RAW"], r.env["KAFKA_TOPIC_CHANGES"], r.env["KAFKA_TOPIC_OFFSETS"], "__transaction_state", "__consumer_offsets"}
	ends, err := kadm.NewClient(client).ListEndOffsets(ctx, topics...)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		r.Fatal(err)
	}
	type partition struct {
		topic string
		n     int32
	}
	from, left := map[string]map[int32]kgo.Offset{}, map[partition]int64{}
	ends.Each(func(end kadm.ListedOffset) {
		if end.Offset > 0 {
			if from[end.Topic] == nil {
				from[end.Topic] = map[int32]kgo.Offset{}
			}
			from[end.Topic][end.Partition], left[partition{end.Topic, end.Partition}] = kgo.NewOffset().AtStart(), end.Offset
		}
	})
	client.AddConsumePartitions(from)
	for len(left) > 0 {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err0(); err != nil {
			r.Fatalf("left %v: %v", left, err)
		}
		fetches.EachRecord(func(rec *kgo.Record) {
			if at := (partition{rec.Topic, rec.Partition}); rec.Offset+1 >= left[at] {
				delete(left, at)
			}
			records = append(records, rec)
		})
	}
	return records
}

// loginHost stands before the organisation's and keeps count of the tokens.
type loginHost struct {
	org *sandbox.Org

	mu            sync.Mutex // protects what follows; held during a login
	down          bool
	held, release chan struct{}  // where the next answer is to be held
	live          string         // the refresh token that works
	given         []string       // every token there is, of both kinds
	good, refused map[string]int // logins by refresh token
}

func (l *loginHost) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.down {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	body, _ := io.ReadAll(r.Body)
	form, _ := url.ParseQuery(string(body))
	r.Body = io.NopCloser(bytes.NewReader(body))
	said := l.ask(r, form.Get("refresh_token"))
	if l.held != nil {
		close(l.held)
		<-l.release
		l.held = nil
	}
	maps.Copy(w.Header(), said.Header())
	w.WriteHeader(said.Code)
	_, _ = w.Write(said.Body.Bytes())
}

// ask has the organisation answer. Needs mu.
func (l *loginHost) ask(r *http.Request, refresh string) *httptest.ResponseRecorder {
	said := httptest.NewRecorder()
	l.org.ServeHTTP(said, r)
	if said.Code != http.StatusOK {
		l.refused[refresh]++
		return said
	}
	l.good[refresh]++
	var tokens struct {
		Access  string `json:"access_token"`
		Refresh string `json:"refresh_token"`
	}
	if err := json.Unmarshal(said.Body.Bytes(), &tokens); err != nil || tokens.Refresh == "" {
		panic(fmt.Sprint("the login host did not replace the refresh token: ", said.Body))
	}
	l.live, l.given = tokens.Refresh, append(l.given, tokens.Access, tokens.Refresh)
	return said
}

// use logs somebody else in, who gets the only token that works then.
func (l *loginHost) use(refresh string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {refresh}}
	r := httptest.NewRequest(http.MethodPost, "/oauth/token", strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.SetBasicAuth("sandbox", "sandbox-secret")
	l.ask(r, refresh)
	return l.live
}

// close refuses all logins, or no longer.
func (l *loginHost) close(down bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.down = down
}

// hold keeps the next answer back until release; held is closed when there is one.
func (l *loginHost) hold() (held <-chan struct{}, release func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held, l.release = make(chan struct{}), make(chan struct{})
	return l.held, sync.OnceFunc(func() { close(l.release) })
}

// count is how many logins there were.
func (l *loginHost) count() (good, refused int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, n := range l.good {
		good += n
	}
	for _, n := range l.refused {
		refused += n
	}
	return good, refused
}
