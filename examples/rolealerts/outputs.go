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
	"time"

	"genesys-audit-connector/examples/consumer"
)

// output sends an alert; nil means that the receiver has taken it.
type output interface {
	send(ctx context.Context, a *Alert) error
}

const (
	outputTimeout = 10 * time.Second
	outputAnswer  = 4 << 10
)

// post sends JSON and judges the answer. 400, 413 and 422 are about what was
// sent: it will not be taken at another attempt either.
func post(ctx context.Context, client *http.Client, target, key string, body any) error {
	encoded, err := json.Marshal(body)
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, target, bytes.NewReader(encoded))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Idempotency-Key", key)
	w, err := client.Do(r)
	if err != nil {
		var wrapped *url.Error
		if errors.As(err, &wrapped) {
			err = wrapped.Err // without the address, which is a secret of Slack's
		}
		return err
	}
	defer func() { _ = w.Body.Close() }()
	text, _ := io.ReadAll(io.LimitReader(w.Body, outputAnswer))
	switch {
	case w.StatusCode/100 == 2:
		return nil
	case w.StatusCode == http.StatusBadRequest, w.StatusCode == http.StatusRequestEntityTooLarge, w.StatusCode == http.StatusUnprocessableEntity:
		return fmt.Errorf("%w: answer %s: %s", consumer.ErrRefused, w.Status, text)
	}
	return fmt.Errorf("answer %s: %s", w.Status, text)
}

func newClient() *http.Client {
	return &http.Client{
		Timeout:       outputTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// webhook posts to a URL, in one of formats. The header Idempotency-Key is the
// alert's key.
type webhook struct {
	client *http.Client
	url    string
	format string
}

func (h *webhook) send(ctx context.Context, a *Alert) error {
	if err := post(ctx, h.client, h.url, a.Key, formats[h.format](a)); err != nil {
		return fmt.Errorf("webhook: %w", err)
	}
	return nil
}

// pagerDuty triggers an incident by Events API v2; the alert's key is its
// deduplication key. https://developer.pagerduty.com/docs/send-alert-event
type pagerDuty struct {
	client     *http.Client
	url        string
	routingKey string
}

type pagerDutyEvent struct {
	RoutingKey string           `json:"routing_key"`
	Action     string           `json:"event_action"`
	DedupKey   string           `json:"dedup_key"`
	Payload    pagerDutyPayload `json:"payload"`
}

type pagerDutyPayload struct {
	Summary   string    `json:"summary"` // up to 1,024 characters
	Source    string    `json:"source"`
	Severity  string    `json:"severity"`
	Timestamp time.Time `json:"timestamp"`
	Component string    `json:"component,omitempty"`
	Class     string    `json:"class"`
	Details   *Alert    `json:"custom_details"`
}

func (p *pagerDuty) send(ctx context.Context, a *Alert) error {
	err := post(ctx, p.client, p.url, a.Key, pagerDutyEvent{
		RoutingKey: p.routingKey, Action: "trigger", DedupKey: a.Key,
		Payload: pagerDutyPayload{
			Summary: a.Summary, Source: "genesys-cloud/" + a.Organisation, Severity: a.Severity, Timestamp: a.Time,
			Component: a.EntityType, Class: a.Rule, Details: a,
		},
	})
	if err != nil {
		return fmt.Errorf("PagerDuty: %w", err)
	}
	return nil
}

// printer writes one alert a line.
type printer struct{ w io.Writer }

func (p printer) send(_ context.Context, a *Alert) error {
	line, err := json.Marshal(a)
	if err != nil {
		return err
	}
	_, err = p.w.Write(append(line, '\n'))
	return err
}
