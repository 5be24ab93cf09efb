package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"genesys-audit-connector/examples/consumer"
)

// hecConfig is Splunk's HTTP Event Collector.
type hecConfig struct {
	URL        string `env:"SPLUNK_HEC_URL"` // https://splunk:8088
	Token      string `env:"SPLUNK_HEC_TOKEN"`
	Index      string `env:"SPLUNK_HEC_INDEX"`
	Source     string `env:"SPLUNK_HEC_SOURCE, default=genesys.audit"`
	SourceType string `env:"SPLUNK_HEC_SOURCETYPE, default=ocsf:json"`
	CAFile     string `env:"SPLUNK_HEC_CA_FILE"`
	// Ack waits until the events are indexed, not only received. The token must
	// have indexer acknowledgement enabled.
	Ack     bool          `env:"SPLUNK_HEC_ACK, default=false"`
	Timeout time.Duration `env:"SPLUNK_HEC_TIMEOUT, default=30s"`
}

const (
	hecBody    = 512 << 10 // of one request; a single event may be larger
	hecAnswer  = 64 << 10
	hecAckPoll = 500 * time.Millisecond
)

// Codes of answers. A 200 without the first one is another program's word.
const (
	success = 0
	noCode  = -1
)

// hec delivers OCSF events to an HTTP Event Collector:
// https://docs.splunk.com/Documentation/Splunk/latest/Data/FormateventsforHTTPEventCollector
type hec struct {
	config  hecConfig
	url     string
	channel string // names this sender to the indexers' acknowledgements
	client  *http.Client
}

func newHEC(c hecConfig) (*hec, error) {
	u, err := url.Parse(c.URL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, errors.New("SPLUNK_HEC_URL: a URL like https://splunk:8088 is expected")
	}
	if c.Token == "" {
		return nil, errors.New("SPLUNK_HEC_TOKEN: it is not set")
	}
	secured, err := clientTLS("SPLUNK_HEC_CA_FILE", c.CAFile)
	if err != nil {
		return nil, err
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = secured
	return &hec{
		config: c, url: strings.TrimRight(u.String(), "/") + "/services/collector", channel: newChannel(),
		client: &http.Client{
			Timeout: c.Timeout, Transport: transport,
			// The token goes to nobody else.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}, nil
}

// newChannel is a random UUID, which the collector wants a channel to be.
func newChannel() string {
	var id [16]byte
	_, _ = rand.Read(id[:]) // never fails
	id[6], id[8] = id[6]&0x0f|0x40, id[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", id[:4], id[4:6], id[6:8], id[8:10], id[10:])
}

// clientTLS trusts the authorities in a PEM file, the system's where there is none.
func clientTLS(variable, path string) (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if path == "" {
		return config, nil
	}
	pem, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", variable, err)
	}
	config.RootCAs = x509.NewCertPool()
	if !config.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s: no certificate in %s", variable, path)
	}
	return config, nil
}

// hecEvent is an event as the collector wants it.
type hecEvent struct {
	Time       json.Number       `json:"time"` // seconds since 1970
	Host       string            `json:"host"`
	Source     string            `json:"source"`
	SourceType string            `json:"sourcetype"`
	Index      string            `json:"index,omitempty"`
	Event      *OCSF             `json:"event"`
	Fields     map[string]string `json:"fields"` // indexed: "dedup event_id" removes repeats
}

// deliver is a consumer.Handler: as many events as make one request of reasonable size.
func (h *hec) deliver(ctx context.Context, messages []consumer.Message) (int, error) {
	body, n, err := h.encode(messages)
	if err != nil {
		return 0, err
	}
	err = h.send(ctx, body)
	if errors.Is(err, consumer.ErrRefused) && n > 1 {
		return h.deliver(ctx, messages[:n/2]) // one is at fault: those before it pass, until it is the first
	}
	if err != nil {
		return 0, err
	}
	return n, nil
}

func (h *hec) encode(messages []consumer.Message) (body []byte, n int, err error) {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	for n < len(messages) {
		m := &messages[n]
		before := b.Len()
		at := m.Time.UnixMilli()
		err := encoder.Encode(hecEvent{
			Time: json.Number(strconv.FormatFloat(float64(at)/1000, 'f', 3, 64)), Host: m.Org, Source: h.config.Source,
			SourceType: h.config.SourceType, Index: h.config.Index, Event: newOCSF(m), Fields: map[string]string{"event_id": m.ID},
		})
		if err != nil {
			return nil, 0, fmt.Errorf("encode %s: %w", m.ID, err)
		}
		if n > 0 && b.Len() > hecBody {
			b.Truncate(before)
			break
		}
		n++
	}
	return b.Bytes(), n, nil
}

func (h *hec) send(ctx context.Context, body []byte) error {
	var answer struct {
		Text  string
		Code  int
		AckID *int64
	}
	answer.Code = noCode
	status, err := h.post(ctx, "/event", body, &answer)
	switch {
	case err != nil:
		return fmt.Errorf("send to the collector: %w", err)
	case status == http.StatusRequestEntityTooLarge, status == http.StatusBadRequest && aboutEvent(answer.Code):
		return fmt.Errorf("%w: the collector answers %d: %s (code %d)", consumer.ErrRefused, status, answer.Text, answer.Code)
	case status != http.StatusOK, answer.Code != success:
		return fmt.Errorf("the collector answers %d: %s (code %d)", status, answer.Text, answer.Code)
	case !h.config.Ack:
		return nil
	case answer.AckID == nil:
		return errors.New("SPLUNK_HEC_ACK: the collector gives no ackId; is indexer acknowledgement enabled for this token?")
	}
	return h.indexed(ctx, *answer.AckID)
}

// aboutEvent tells whether a code says that the event is wrong (and not the
// token, the index or the channel): invalid data format, event field required,
// event field blank, error in handling indexed fields.
// https://docs.splunk.com/Documentation/Splunk/latest/Data/TroubleshootHTTPEventCollector
func aboutEvent(code int) bool { return code == 6 || code == 12 || code == 13 || code == 15 }

// indexed waits for the indexers' acknowledgement. Without it the events are sent again.
func (h *hec) indexed(ctx context.Context, id int64) error {
	ctx, cancel := context.WithTimeout(ctx, 4*h.config.Timeout)
	defer cancel()
	question := fmt.Appendf(nil, `{"acks":[%d]}`, id)
	for {
		var answer struct{ Acks map[string]bool }
		status, err := h.post(ctx, "/ack", question, &answer)
		switch {
		case err != nil:
			return fmt.Errorf("wait for the indexers' acknowledgement: %w", err)
		case status != http.StatusOK:
			return fmt.Errorf("wait for the indexers' acknowledgement: the collector answers %d", status)
		case answer.Acks[strconv.FormatInt(id, 10)]:
			return nil
		}
		select {
		case <-time.After(hecAckPoll):
		case <-ctx.Done():
			return fmt.Errorf("the indexers have not acknowledged: %w", ctx.Err())
		}
	}
}

func (h *hec) post(ctx context.Context, path string, body []byte, answer any) (status int, err error) {
	target := h.url + path
	if h.config.Ack {
		target += "?channel=" + h.channel
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, target, bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	r.Header.Set("Authorization", "Splunk "+h.config.Token)
	r.Header.Set("Content-Type", "application/json")
	w, err := h.client.Do(r)
	if err != nil {
		return 0, err
	}
	defer func() { _ = w.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(w.Body, hecAnswer))
	if err != nil {
		return 0, err
	}
	if err := json.Unmarshal(text, answer); err != nil && w.StatusCode == http.StatusOK {
		return 0, fmt.Errorf("an answer that is no collector's: %w", err)
	}
	return w.StatusCode, nil
}
