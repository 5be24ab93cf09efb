package genesys

import (
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap/zapcore"

	"genesys-audit-connector/internal/audit"
)

// TestNoSecretIsShown runs everything that can go wrong, against a server that
// echoes what it was sent in every text that it writes, with secrets that are
// canaries. None may be in a log line of any level, an error, or a URL.
func TestNoSecretIsShown(t *testing.T) {
	const secret, refresh, access = "canary-secret+/=", "canary-refresh", "canary-access"
	canaries := []string{secret, refresh, access, url.QueryEscape(secret), base64.StdEncoding.EncodeToString([]byte("the-client:" + secret)), "canary-signature"}
	shows := func(text string) string {
		for _, c := range canaries {
			if strings.Contains(text, c) {
				return c
			}
		}
		return ""
	}
	echo := func(status int, header ...string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			text := fmt.Sprintf("%s %s", r.Header.Get("Authorization"), body)
			say(status, fmt.Sprintf(`{"code":%q,"error":%q,"message":%q,"description":%q,"id":"q1","state":%q}`, text, text, text, text, text), header...)(w, r)
		}
	}
	for name, dialect := range map[string]Dialect{"auditlogs": Auditlogs, "query": Query, "realtime": Realtime} {
		for _, status := range []int{200, 302, 400, 401, 403, 404, 418, 429, 500, 503} {
			for _, login := range []bool{true, false} {
				t.Run(fmt.Sprintf("%s %d login %t", name, status, login), func(t *testing.T) {
					n, store := 0, &memoryStore{}
					broken := echo(status, "Location", "https://elsewhere.test/?s=canary-signature", "Retry-After", "1")
					s := &script{fallback: func(w http.ResponseWriter, r *http.Request) {
						if strings.HasSuffix(r.URL.Path, "servicemapping") {
							say(200, `{"services":[{"name":"Routing","entities":[]}]}`)(w, r)
							return
						}
						if n++; n == 1 && dialect == Auditlogs {
							page("", "baseline")(w, r)
							return
						}
						broken(w, r)
					}, login: func(w http.ResponseWriter, r *http.Request) {
						if login {
							broken(w, r)
							return
						}
						say(200, fmt.Sprintf(`{"access_token":%q,"expires_in":3600,"refresh_token":%q}`, access, refresh+"-2"))(w, r)
					}}
					inLab(t, s, func(cfg *Config) {
						cfg.Dialect, cfg.ClientSecret, cfg.RefreshToken, cfg.Tokens = dialect, Text(secret), Text(refresh), store
						cfg.RateLimit = RateLimit{1000, time.Second}
					}, func(l *lab) {
						streams, err := l.client.Open(l.t.Context())
						if err == nil {
							if login {
								l.t.Fatal("a broken login went well")
							}
							err = l.client.Read(l.t.Context(), audit.Read{Stream: streams[0].Name, Interval: l.lastHour()},
								func(p audit.Page, _ bool) error { p.Release(); return nil })
						}
						if err == nil {
							l.t.Fatal("nothing went wrong")
						}
						if c := shows(fmt.Sprintf("%v %+v %#v", err, err, err)); c != "" {
							l.t.Errorf("%s is in the error %v", c, err)
						}
						l.checkLogs(shows)
						for _, r := range s.got {
							if c := shows(r.URL.String()); c != "" {
								l.t.Errorf("%s is in the URL %s", c, r.URL)
							}
						}
					})
				})
			}
		}
	}
}

func (l *lab) checkLogs(shows func(string) string) {
	encoder := zapcore.NewJSONEncoder(zapcore.EncoderConfig{MessageKey: "msg"})
	for _, line := range l.logs.All() {
		text, err := encoder.EncodeEntry(line.Entry, line.Context)
		if err != nil {
			l.t.Fatal(err)
		}
		if c := shows(text.String()); c != "" {
			l.t.Errorf("%s is in the log line %s", c, text)
		}
	}
}
