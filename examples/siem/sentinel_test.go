package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"genesys-audit-connector/examples/consumer"
	"genesys-audit-connector/examples/consumer/consumertest"
)

// azure is Entra ID's token endpoint and a data collection endpoint, as Microsoft
// documents them: sentinel.go has the addresses. It does something wrong with the first
// calls it gets.
type azure struct {
	received
	t       *testing.T
	columns map[string]string // of the stream, from sentinel/dcr.json

	faultsMu    sync.Mutex
	faults      []azureFault
	loginFaults int
	logins      int
	token       string
	busyUntil   time.Time
	early       int // calls before Retry-After had passed
	largest     int
}

type azureFault func(a *azure, w http.ResponseWriter, r *http.Request, take func())

func status429(a *azure, w http.ResponseWriter, _ *http.Request, _ func()) {
	a.busyUntil = time.Now().Add(time.Second)
	w.Header().Set("Retry-After", "1")
	w.WriteHeader(http.StatusTooManyRequests)
	fmt.Fprint(w, `{"error":{"code":"LimitExceeded","message":"Rate limit exceeded."}}`)
}

func azureAnswer(status int, text string) azureFault {
	return func(_ *azure, w http.ResponseWriter, _ *http.Request, _ func()) {
		w.WriteHeader(status)
		fmt.Fprint(w, text)
	}
}

func tokenRevoked(a *azure, w http.ResponseWriter, _ *http.Request, _ func()) {
	a.token = ""
	w.WriteHeader(http.StatusUnauthorized)
}

func likeCollector(f collectorFault) azureFault {
	return func(a *azure, w http.ResponseWriter, r *http.Request, take func()) {
		a.faultsMu.Unlock() // a call that hangs holds up no other
		defer a.faultsMu.Lock()
		f(w, r, take)
	}
}

func newAzure(t *testing.T, faults ...azureFault) (*azure, map[string]string) {
	t.Helper()
	var dcr struct {
		Properties struct {
			StreamDeclarations map[string]struct{ Columns []struct{ Name, Type string } }
		}
	}
	content, err := os.ReadFile("sentinel/dcr.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(content, &dcr); err != nil {
		t.Fatal(err)
	}
	a := &azure{t: t, columns: map[string]string{}, faults: faults}
	for _, c := range dcr.Properties.StreamDeclarations["Custom-GenesysAudit"].Columns {
		a.columns[c.Name] = c.Type
	}
	server := httptest.NewServer(a)
	t.Cleanup(server.Close)
	return a, map[string]string{
		"SENTINEL_ENDPOINT": server.URL, "SENTINEL_DCR_ID": "dcr-0123", "AZURE_TENANT_ID": "tenant", "AZURE_CLIENT_ID": "client",
		"AZURE_CLIENT_SECRET": "secret+/=", "AZURE_AUTHORITY_HOST": server.URL, "SENTINEL_TIMEOUT": "1s",
	}
}

func (a *azure) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	a.faultsMu.Lock()
	defer a.faultsMu.Unlock()
	if r.Context().Err() != nil {
		return // the sender has given up: it would never learn what it is told
	}
	switch r.URL.Path {
	case "/tenant/oauth2/v2.0/token":
		a.login(w, r, string(body))
	case "/dataCollectionRules/dcr-0123/streams/Custom-GenesysAudit":
		a.ingest(w, r, body)
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

func (a *azure) login(w http.ResponseWriter, r *http.Request, body string) {
	r.Body = io.NopCloser(strings.NewReader(body))
	if r.FormValue("grant_type") != "client_credentials" || r.FormValue("client_id") != "client" || r.FormValue("client_secret") != "secret+/=" ||
		r.FormValue("scope") != "https://monitor.azure.com/.default" || a.loginFaults > 0 {
		a.loginFaults--
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprint(w, `{"error":"invalid_client","error_description":"AADSTS7000215: Invalid client secret provided."}`)
		return
	}
	a.logins++
	a.token = fmt.Sprint("token-", a.logins)
	fmt.Fprintf(w, `{"token_type":"Bearer","expires_in":3599,"ext_expires_in":3599,"access_token":%q}`, a.token)
}

func (a *azure) ingest(w http.ResponseWriter, r *http.Request, body []byte) {
	if time.Now().Before(a.busyUntil) {
		a.early++
	}
	a.largest = max(a.largest, len(body))
	switch {
	case r.URL.Query().Get("api-version") != "2023-01-01", r.Method != http.MethodPost, r.Header.Get("Content-Type") != "application/json":
		w.Header().Set("x-ms-error-code", "InvalidRequest")
		w.WriteHeader(http.StatusBadRequest)
		return
	case a.token == "" || r.Header.Get("Authorization") != "Bearer "+a.token:
		w.WriteHeader(http.StatusUnauthorized)
		return
	case len(body) > 1<<20:
		w.WriteHeader(http.StatusRequestEntityTooLarge)
		return
	}
	var fault azureFault
	if len(a.faults) > 0 {
		fault, a.faults = a.faults[0], a.faults[1:]
	}
	take := func() {
		var rows []map[string]any
		if err := json.Unmarshal(body, &rows); err != nil {
			a.t.Errorf("no array of rows: %v", err)
		}
		for _, row := range rows {
			a.add(a.check(row))
		}
	}
	if fault != nil {
		fault(a, w, r, take)
		return
	}
	take()
	w.WriteHeader(http.StatusNoContent)
}

// check holds a row against the stream's declaration and returns its id.
func (a *azure) check(row map[string]any) string {
	for name, value := range row {
		kind := a.columns[name]
		ok := false
		switch value := value.(type) {
		case string:
			_, err := time.Parse(time.RFC3339Nano, value)
			ok = kind == "string" && len(value) <= 64<<10 || kind == "datetime" && err == nil || kind == "dynamic"
		case float64:
			ok = kind == "int"
		case bool:
			ok = kind == "boolean"
		default:
			ok = kind == "dynamic"
		}
		if !ok {
			a.t.Errorf("column %s of type %q is %T", name, kind, value)
		}
	}
	if row["TimeGenerated"] == nil {
		a.t.Error("a row without TimeGenerated")
	}
	id, _ := row["ChangeId"].(string)
	return id
}

func (a *azure) left() int {
	a.faultsMu.Lock()
	defer a.faultsMu.Unlock()
	return len(a.faults)
}

// TestSentinelFails has every fault, then the service away while the program is restarted.
func TestSentinelFails(t *testing.T) {
	topic := consumertest.New(t)
	a, env := newAzure(t, status429, tokenRevoked, azureAnswer(500, ""), azureAnswer(503, ""), azureAnswer(403, `{"error":{"code":"OperationFailed"}}`),
		azureAnswer(400, `{"error":{"code":"InvalidStream"}}`), azureAnswer(200, "<html>"), likeCollector(hangUp), likeCollector(takeAndHangUp),
		likeCollector(hang), status429)
	a.loginFaults = 1
	topic.Abort(topic.Events(10)...)
	ids := topic.Commit(topic.Events(100)...)
	stop := startSIEM(t, topic, env)
	consumertest.Await(t, "everything arrives", patience, func() bool { return a.left() == 0 && a.has(ids) })
	a.faultsMu.Lock()
	for range 200 {
		a.faults = append(a.faults, azureAnswer(500, ""))
	}
	a.faultsMu.Unlock()
	ids = append(ids, topic.Commit(topic.Events(30)...)...)
	consumertest.Await(t, "an attempt", patience, func() bool { return a.left() < 200 })
	stop()
	if topic.Lag("genesys-siem-sentinel") == 0 {
		t.Error("what was not delivered is committed")
	}
	a.faultsMu.Lock()
	a.faults = nil
	a.faultsMu.Unlock()
	startSIEM(t, topic, env)
	consumertest.Await(t, "everything arrives", patience, func() bool { return a.has(ids) && topic.Lag("genesys-siem-sentinel") == 0 })
	if repeats := a.judge(t, ids); repeats == 0 {
		t.Error("the call that was taken and not answered was not repeated")
	}
	a.faultsMu.Lock()
	defer a.faultsMu.Unlock()
	if a.logins != 3 { // one a process, and one for the token that was revoked
		t.Errorf("%d logins", a.logins)
	}
	// Partitions are handled at once: one may have begun its call before another was told to wait.
	if a.early > 2*(consumertest.Partitions-1) {
		t.Errorf("%d calls before Retry-After had passed", a.early)
	}
}

// TestRetryAfterIsObeyed by whoever calls next, as seconds and as a date.
func TestRetryAfterIsObeyed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for text, want := range map[string]time.Duration{"37": 37 * time.Second, "date": 90 * time.Second, "": 0, "soon": 0, "-5": 0, "999999": sentinelWait} {
			if text == "date" {
				text = time.Now().Add(want).UTC().Format(http.TimeFormat)
			}
			s := &sentinel{}
			from := time.Now()
			s.retryAfter(text)
			if err := s.pause(t.Context()); err != nil {
				t.Error(err)
			}
			if got := time.Since(from); got != want {
				t.Errorf("%q: waited %v", text, got)
			}
		}
		from, s := time.Now(), &sentinel{}
		s.retryAfter("20")
		s.retryAfter("") // the answer to another call, late
		go func() { time.Sleep(10 * time.Second); s.retryAfter("60") }()
		if err := s.pause(t.Context()); err != nil || time.Since(from) != 70*time.Second {
			t.Errorf("waited %v of 70s: %v", time.Since(from), err)
		}
		s = &sentinel{}
		s.retryAfter("3600")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := s.pause(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a partition that is given back waits on: %v", err)
		}
	})
}

// TestTokenIsRenewedBeforeItExpires, five minutes before or at half of a short life.
func TestTokenIsRenewedBeforeItExpires(t *testing.T) {
	for life, want := range map[int]time.Duration{3600: 55 * time.Minute, 60: 30 * time.Second} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprintf(w, `{"access_token":"t","expires_in":%d}`, life)
		}))
		s := &sentinel{tokenURL: server.URL, client: server.Client()}
		if _, err := s.authorize(t.Context()); err != nil {
			t.Fatal(err)
		}
		server.Close()
		if left := time.Until(s.renew); left > want || left < want-20*time.Second {
			t.Errorf("%d s: renewed in %v, want %v", life, left, want)
		}
		if token, err := s.authorize(t.Context()); token != "t" || err != nil {
			t.Errorf("not kept: %v", err) // for the server is gone
		}
	}
}

// TestNoCallIsTooLarge: batches, and the largest record that there can be.
func TestNoCallIsTooLarge(t *testing.T) {
	a, env := newAzure(t)
	s, err := newSentinel(sentinelConfig{
		Endpoint: env["SENTINEL_ENDPOINT"], Rule: env["SENTINEL_DCR_ID"], Stream: "Custom-GenesysAudit", APIVersion: "2023-01-01", Tenant: "tenant", ClientID: "client",
		Secret: "secret+/=", LoginURL: env["AZURE_AUTHORITY_HOST"], Scope: "https://monitor.azure.com/.default", Timeout: 10 * time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("\x01", 300_000) // six bytes of JSON each
	messages := make([]consumer.Message, 60)
	var ids []string
	for i := range messages {
		messages[i] = sample(func(m *consumer.Message) {
			m.ID = strconv.Itoa(i)
			m.New = text(strings.Repeat("x", 50_000))
			if i == 30 {
				m.Previous, m.New, m.Key, m.EntityName, m.UserName, m.Message = &long, &long, &long, &long, &long, &long
				m.MemberName, m.DivisionName, m.Application, m.Context = &long, &long, &long, map[string]string{long: long}
			}
		})
		ids = append(ids, messages[i].ID)
	}
	calls := 0
	for rest := messages; len(rest) > 0; calls++ {
		n, err := s.deliver(t.Context(), rest)
		if err != nil || n == 0 {
			t.Fatalf("%d: %v", n, err)
		}
		rest = rest[n:]
	}
	if a.judge(t, ids); a.largest > sentinelBody+1 || a.largest < sentinelBody/2 || calls > 6 {
		t.Errorf("%d calls, the largest of %d bytes", calls, a.largest)
	}
}

// TestSentinelFiles declare the columns that are sent, and no others.
func TestSentinelFiles(t *testing.T) {
	type declared struct {
		Name string `json:"name"`
		Type string `json:"type"`
	}
	var stream, table []declared
	for _, c := range columns {
		stream = append(stream, declared{c.name, c.kind})
		table = append(table, declared{c.name, strings.Replace(c.kind, "datetime", "dateTime", 1)})
	}
	type object = map[string]any
	for name, content := range map[string]object{
		"dcr.json": {"location": "REGION", "kind": "Direct", "properties": object{
			"streamDeclarations": object{"Custom-GenesysAudit": object{"columns": stream}},
			"destinations":       object{"logAnalytics": []any{object{"name": "workspace", "workspaceResourceId": "RESOURCE-ID-OF-THE-WORKSPACE"}}},
			"dataFlows": []any{object{"streams": []string{"Custom-GenesysAudit"}, "destinations": []string{"workspace"},
				"transformKql": "source", "outputStream": "Custom-GenesysAudit_CL"}},
		}},
		"table.json": {"properties": object{"plan": "Analytics", "schema": object{"name": "GenesysAudit_CL", "columns": table}}},
	} {
		want, err := json.MarshalIndent(content, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		golden(t, "../sentinel/"+name, append(want, '\n'))
	}
	seen := map[string]bool{}
	for _, s := range samples {
		row, err := encodeRow(&s.message)
		var values map[string]any
		if err := errors.Join(err, json.Unmarshal(row, &values)); err != nil {
			t.Fatal(err)
		}
		for name := range values {
			seen[name] = true
		}
	}
	for _, c := range columns {
		if !seen[c.name] && c.name != "TransactionId" && c.name != "Application" && c.name != "MaskedFields" {
			t.Errorf("no sample has %s", c.name)
		}
	}
}
