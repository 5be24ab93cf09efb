package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"genesys-audit-connector/examples/consumer"
	"genesys-audit-connector/internal/sandbox"
)

// liveRecords are the change records of n events of a simulated organisation as live
// ones were seen to be, all services, dialect query. They have no names that are
// looked up.
func liveRecords(t *testing.T, n int) []consumer.Message {
	t.Helper()
	options := sandbox.Load(7)
	options.QueryDelay, options.DownloadOver, options.Files, options.InFlight = 0, 0, nil, 0
	org := sandbox.New(options)
	to := time.Now()
	from := to.Add(-time.Hour)
	org.Backfill(n, from, to)
	token := ""
	ask := func(method, target, contentType, body string, answer any) {
		r := httptest.NewRequest(method, target, strings.NewReader(body))
		r.Header.Set("Content-Type", contentType)
		if r.SetBasicAuth("sandbox", "sandbox-secret"); token != "" {
			r.Header.Set("Authorization", "Bearer "+token)
		}
		w := httptest.NewRecorder()
		org.ServeHTTP(w, r)
		if err := json.Unmarshal(w.Body.Bytes(), answer); w.Code >= http.StatusMultipleChoices || err != nil {
			t.Fatalf("%s: %d %.300s", target, w.Code, w.Body)
		}
	}
	var login struct {
		AccessToken string `json:"access_token"`
	}
	ask("POST", "/oauth/token", "application/x-www-form-urlencoded", "grant_type=client_credentials", &login)
	token = login.AccessToken
	const queries = "/api/v2/audits/query"
	var query struct{ ID, State string }
	times := func(at time.Time) string { return at.UTC().Format("2006-01-02T15:04:05.000Z") }
	ask("POST", queries, "application/json", fmt.Sprintf(`{"interval":"%s/%s"}`, times(from), times(to)), &query)
	for tries := 0; query.State != "Succeeded"; tries++ {
		if tries > 100 {
			t.Fatal(query.State)
		}
		ask("GET", queries+"/"+query.ID, "", "", &query)
	}
	var messages []consumer.Message
	for cursor := ""; ; {
		var page struct {
			Cursor   string
			Entities []json.RawMessage
		}
		ask("GET", queries+"/"+query.ID+"/results?pageSize=500&expand=user&cursor="+cursor, "", "", &page)
		for _, event := range page.Entities {
			messages = append(messages, records(t, string(event))...)
		}
		if cursor = page.Cursor; cursor == "" {
			return messages
		}
	}
}

// TestALiveOrganisation: all five classes occur, no action is without a class, every
// format can be read, and how much of it is noise.
func TestALiveOrganisation(t *testing.T) {
	messages := liveRecords(t, 4000)
	noisy, err := newFilter("noise", nil)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[int]int{}
	excluded := 0
	for i := range messages {
		m := &messages[i]
		e := newOCSF(m)
		seen[e.ClassUID]++
		if classes().byAction[strings.ToLower(m.Action)] == nil {
			t.Errorf("action %q has no class", m.Action)
		}
		if _, attributes := parseLEEF(t, string(appendLEEF(nil, m))); attributes["externalId"] != m.ID {
			t.Errorf("LEEF %q", attributes)
		}
		if _, extensions := parseCEF(t, string(appendCEF(nil, m))); extensions["externalId"] != m.ID {
			t.Errorf("CEF %q", extensions)
		}
		if isRole(m) && strings.Contains(e.Message, "--") {
			t.Errorf("a grant's three ids in %q", e.Message)
		}
		if noisy.excluded(m) >= 0 {
			excluded++
		}
	}
	for _, c := range allClasses {
		if seen[c.uid] == 0 {
			t.Errorf("no event is %s", c.name)
		}
	}
	t.Logf("%d records, by class %v; noise: %d (%d %%)", len(messages), seen, excluded, 100*excluded/len(messages))
	if excluded == 0 || excluded == len(messages) {
		t.Errorf("%d of %d are noise", excluded, len(messages))
	}
}
