package sandbox

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"
)

// client is what the tests ask an organisation with: as plain as can be, so
// that it repairs nothing.
type client struct {
	t     *testing.T
	org   *Org
	url   string
	token string
	http  *http.Client
}

// noon is when the tests' organisations are, unless they say otherwise.
var noon = time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)

func fixedClock() time.Time { return noon }

func serveOrg(t *testing.T, options Options) *client {
	t.Helper()
	if options.Clock == nil {
		options.Clock = fixedClock
	}
	org := New(options)
	server := httptest.NewServer(org)
	t.Cleanup(server.Close)
	c := &client{t: t, org: org, url: server.URL, http: &http.Client{
		Timeout:       10 * time.Second,
		Transport:     &http.Transport{DisableKeepAlives: true}, // on a kept connection a lost GET would be sent again
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	c.login()
	return c
}

// login takes a token without disturbing the statistics of the API.
func (c *client) login() {
	c.t.Helper()
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {c.org.options.ClientID}, "client_secret": {c.org.options.ClientSecret}}
	r := c.do(http.MethodPost, "/oauth/token", []byte(form.Encode()), nil)
	if r.status != http.StatusOK {
		c.t.Fatalf("login: %d %s", r.status, r.body)
	}
	var token struct {
		AccessToken string `json:"access_token"`
	}
	if err := json.Unmarshal(r.body, &token); err != nil {
		c.t.Fatal(err)
	}
	c.token = token.AccessToken
}

// reply is an answer as far as it came.
type received struct {
	status int
	header http.Header
	body   []byte
	err    error
}

func (c *client) do(method, path string, body []byte, header http.Header) received {
	c.t.Helper()
	request, err := http.NewRequest(method, c.url+path, bytes.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	for name, values := range header {
		request.Header[name] = values
	}
	if c.token != "" && request.Header.Get("Authorization") == "" {
		request.Header.Set("Authorization", "Bearer "+c.token)
	}
	response, err := c.http.Do(request)
	if err != nil {
		return received{err: err}
	}
	defer response.Body.Close()
	r := received{status: response.StatusCode, header: response.Header}
	r.body, r.err = io.ReadAll(response.Body)
	return r
}

func (c *client) get(path string) received { return c.do(http.MethodGet, path, nil, nil) }

func span(from, to time.Time) url.Values {
	return url.Values{
		"filter":   {"type=configuration"},
		"dateFrom": {from.Format("2006-01-02T15:04:05.000Z")},
		"dateTo":   {to.Format("2006-01-02T15:04:05.000Z")},
		"pageSize": {"100"},
	}
}

// page is a page of dialect auditlogs, its events as they were sent.
type page struct {
	Entities []json.RawMessage `json:"entities"`
	NextPage *string           `json:"nextPage"`
}

func (p page) next() string {
	if p.NextPage == nil {
		return ""
	}
	return *p.NextPage
}

func (c *client) page(params url.Values) page {
	c.t.Helper()
	r := c.get("/api/v2/auditlogs?" + params.Encode())
	if r.err != nil || r.status != http.StatusOK {
		c.t.Fatalf("page: %d %s %v", r.status, r.body, r.err)
	}
	var p page
	if err := json.Unmarshal(r.body, &p); err != nil {
		c.t.Fatalf("page: %v in %.300s", err, r.body)
	}
	return p
}

// readAll follows the pages to the end and returns the events.
func (c *client) readAll(params url.Values) []string {
	c.t.Helper()
	var events []string
	for range 10_000 {
		p := c.page(params)
		for _, e := range p.Entities {
			events = append(events, string(e))
		}
		if p.next() == "" {
			return events
		}
		params.Set("pageToken", p.next())
	}
	c.t.Fatal("pages without end")
	return nil
}
