package doctor

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
)

// TestLatenessIsTheReplicas: how late events were only the connector that runs knows.
func TestLatenessIsTheReplicas(t *testing.T) {
	for name, c := range map[string]struct {
		body string
		want map[string]symptom
	}{
		"none":           {`{"role":"active","events":{"published":900},"streams":[{"late":[{"age":"10m","events":0}]}]}`, map[string]symptom{"lateness": {OK, "of 900 events", ""}}},
		"some":           {`{"role":"active","events":{"published":900},"streams":[{"late":[{"age":"10m","events":3},{"age":">24h","events":0}]},{"late":[{"age":"10m","events":4}]}]}`, map[string]symptom{"lateness": {OK, "7 were shown late, by up to 10m: 7", ""}}},
		"later than all": {`{"role":"active","events":{"published":900},"streams":[{"late":[{"age":">24h","events":2}]}]}`, map[string]symptom{"lateness": {Warning, ">24h: 2", "SWEEP_AGES"}}},
		"a standby":      {`{"role":"standby"}`, map[string]symptom{"lateness": {Skipped, "no active connector", ""}}},
		"no answer":      {``, map[string]symptom{"lateness": {Skipped, "no active connector", ""}}},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/api/status" {
					fmt.Fprint(w, c.body)
				}
			}))
			defer server.Close()
			got := report{}
			Replica{URL: server.URL}.examine(examination{t.Context(), func(c Check) { got[c.Name] = c }})
			got.expect(t, c.want)
		})
	}
}
