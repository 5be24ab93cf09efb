package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"genesys-audit-connector/examples/consumer"
)

// sentinelConfig is Azure Monitor's Logs Ingestion API, in front of a workspace that
// Microsoft Sentinel reads.
type sentinelConfig struct {
	Endpoint   string `env:"SENTINEL_ENDPOINT"`                            // of the data collection endpoint, or of the rule itself
	Rule       string `env:"SENTINEL_DCR_ID"`                              // immutable id: dcr-…
	Stream     string `env:"SENTINEL_STREAM, default=Custom-GenesysAudit"` // as the rule declares it
	APIVersion string `env:"SENTINEL_API_VERSION, default=2023-01-01"`
	Tenant     string `env:"AZURE_TENANT_ID"`
	ClientID   string `env:"AZURE_CLIENT_ID"`
	Secret     string `env:"AZURE_CLIENT_SECRET"`
	// Other clouds than Azure's public one have other addresses.
	LoginURL string        `env:"AZURE_AUTHORITY_HOST, default=https://login.microsoftonline.com"`
	Scope    string        `env:"SENTINEL_SCOPE, default=https://monitor.azure.com/.default"`
	CAFile   string        `env:"SENTINEL_CA_FILE"`
	Timeout  time.Duration `env:"SENTINEL_TIMEOUT, default=30s"`
}

const (
	// sentinelBody: a call may have 1 MB, compressed or not.
	// https://learn.microsoft.com/en-us/azure/azure-monitor/service-limits#logs-ingestion-api
	sentinelBody   = 1_000_000
	sentinelAnswer = 64 << 10
	sentinelWait   = time.Hour // the longest Retry-After that is believed
	tokenMargin    = 5 * time.Minute
)

// sentinel delivers rows to the Logs Ingestion API:
// https://learn.microsoft.com/en-us/azure/azure-monitor/logs/logs-ingestion-api-overview
type sentinel struct {
	config   sentinelConfig
	url      string
	tokenURL string
	client   *http.Client

	mu        sync.Mutex
	token     string
	renew     time.Time // when the token is fetched again
	notBefore time.Time // what Retry-After asked for
}

func newSentinel(c sentinelConfig) (*sentinel, error) {
	endpoint, err := url.Parse(c.Endpoint)
	if err != nil || endpoint.Scheme != "http" && endpoint.Scheme != "https" || endpoint.Host == "" {
		return nil, errors.New("SENTINEL_ENDPOINT: a URL like https://NAME.REGION.ingest.monitor.azure.com is expected")
	}
	for _, v := range []struct{ name, value string }{
		{"SENTINEL_DCR_ID", c.Rule}, {"AZURE_TENANT_ID", c.Tenant}, {"AZURE_CLIENT_ID", c.ClientID}, {"AZURE_CLIENT_SECRET", c.Secret},
	} {
		if v.value == "" {
			return nil, fmt.Errorf("%s: it is not set", v.name)
		}
	}
	secured, err := clientTLS("SENTINEL_CA_FILE", c.CAFile)
	if err != nil {
		return nil, err
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = secured
	return &sentinel{
		config: c,
		url: strings.TrimRight(endpoint.String(), "/") + "/dataCollectionRules/" + url.PathEscape(c.Rule) + "/streams/" + url.PathEscape(c.Stream) +
			"?" + url.Values{"api-version": {c.APIVersion}}.Encode(),
		tokenURL: strings.TrimRight(c.LoginURL, "/") + "/" + url.PathEscape(c.Tenant) + "/oauth2/v2.0/token",
		client: &http.Client{
			Timeout: c.Timeout, Transport: transport,
			// The token goes to nobody else.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}, nil
}

// deliver is a consumer.Handler: as many rows as one call may have.
func (s *sentinel) deliver(ctx context.Context, messages []consumer.Message) (int, error) {
	if err := s.pause(ctx); err != nil {
		return 0, err
	}
	body, n, err := encodeRows(messages)
	if err != nil {
		return 0, err
	}
	err = s.send(ctx, body)
	if errors.Is(err, consumer.ErrRefused) && n > 1 {
		return s.deliver(ctx, messages[:n/2])
	}
	if err != nil {
		return 0, fmt.Errorf("send to Sentinel: %w", err)
	}
	return n, nil
}

// pause waits until the time that the service has asked for.
func (s *sentinel) pause(ctx context.Context) error {
	for { // what is asked of another partition meanwhile may be longer
		s.mu.Lock()
		left := time.Until(s.notBefore)
		s.mu.Unlock()
		if left <= 0 {
			return nil
		}
		select {
		case <-time.After(left):
		case <-ctx.Done():
			return fmt.Errorf("wait as Retry-After asks: %w", ctx.Err())
		}
	}
}

// encodeRows makes a JSON array of as many rows as fit into a call.
func encodeRows(messages []consumer.Message) (body []byte, n int, err error) {
	b := []byte{'['}
	for n < len(messages) {
		row, err := encodeRow(&messages[n])
		if err != nil {
			return nil, 0, fmt.Errorf("encode %s: %w", messages[n].ID, err)
		}
		if n > 0 {
			if len(b)+len(row)+2 > sentinelBody {
				break
			}
			b = append(b, ',')
		}
		b = append(b, row...)
		n++
	}
	return append(b, ']'), n, nil
}

// send makes one call. A token that is refused is replaced once.
func (s *sentinel) send(ctx context.Context, body []byte) error {
	for attempt := 0; ; attempt++ {
		token, err := s.authorize(ctx)
		if err != nil {
			return err
		}
		status, header, text, err := s.post(ctx, s.url, "application/json", "Bearer "+token, body)
		switch {
		case err != nil:
			return err
		case status == http.StatusNoContent:
			return nil
		case status == http.StatusUnauthorized && attempt == 0:
			s.drop(token)
			continue
		case status == http.StatusTooManyRequests, status == http.StatusServiceUnavailable:
			s.retryAfter(header.Get("Retry-After"))
		case status == http.StatusRequestEntityTooLarge:
			return fmt.Errorf("%w: the service answers 413: %.300s", consumer.ErrRefused, text)
		}
		return fmt.Errorf("the service answers %d %s: %.300q", status, header.Get("x-ms-error-code"), text)
	}
}

// retryAfter keeps everybody from calling for as long as the header says: seconds, or
// a date. Without it, the consumer's own pauses have to do. An answer to a call that was
// on its way already never shortens what an earlier one has asked for.
func (s *sentinel) retryAfter(text string) {
	var wait time.Duration
	if seconds, err := strconv.Atoi(text); err == nil {
		wait = time.Duration(seconds) * time.Second
	} else if at, err := http.ParseTime(text); err == nil {
		wait = time.Until(at)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if until := time.Now().Add(min(wait, sentinelWait)); until.After(s.notBefore) {
		s.notBefore = until
	}
}

// authorize returns a token, by the client credentials grant:
// https://learn.microsoft.com/en-us/entra/identity-platform/v2-oauth2-client-creds-grant-flow
func (s *sentinel) authorize(ctx context.Context) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock() // one refresh at a time
	if s.token != "" && time.Now().Before(s.renew) {
		return s.token, nil
	}
	form := url.Values{
		"grant_type": {"client_credentials"}, "client_id": {s.config.ClientID}, "client_secret": {s.config.Secret}, "scope": {s.config.Scope},
	}
	status, _, text, err := s.post(ctx, s.tokenURL, "application/x-www-form-urlencoded", "", []byte(form.Encode()))
	if err != nil {
		return "", fmt.Errorf("log in to Azure: %w", err)
	}
	var answer struct {
		AccessToken string `json:"access_token"`
		ExpiresIn   int    `json:"expires_in"`
		Error       string `json:"error"`
		Description string `json:"error_description"`
	}
	if err := json.Unmarshal(text, &answer); status != http.StatusOK || err != nil || answer.AccessToken == "" {
		return "", fmt.Errorf("log in to Azure: it answers %d %s: %.300q", status, answer.Error, answer.Description)
	}
	life := time.Duration(answer.ExpiresIn) * time.Second
	s.token, s.renew = answer.AccessToken, time.Now().Add(max(life-tokenMargin, life/2))
	return s.token, nil
}

// drop forgets a token, unless there is a newer one.
func (s *sentinel) drop(token string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.token == token {
		s.token = ""
	}
}

func (s *sentinel) post(ctx context.Context, target, contentType, authorization string, body []byte) (int, http.Header, []byte, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, target, bytes.NewReader(body))
	if err != nil {
		return 0, nil, nil, err
	}
	r.Header.Set("Content-Type", contentType)
	if authorization != "" {
		r.Header.Set("Authorization", authorization)
	}
	w, err := s.client.Do(r)
	if err != nil {
		return 0, nil, nil, err
	}
	defer func() { _ = w.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(w.Body, sentinelAnswer))
	return w.StatusCode, w.Header, text, err
}
