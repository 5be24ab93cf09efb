package genesys

import (
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"testing"
)

// Over TLS the API is spoken to in HTTP/2, 1.2 at the oldest, and never by
// whoever cannot prove to be it.
func TestTLS(t *testing.T) {
	for _, tc := range []struct {
		name      string
		version   uint16
		untrusted bool
		works     bool
	}{
		{"1.3", tls.VersionTLS13, false, true},
		{"1.2", tls.VersionTLS12, false, true},
		{"1.1", tls.VersionTLS11, false, false},
		{"somebody else", tls.VersionTLS13, true, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := &script{}
			s.fallback = func(w http.ResponseWriter, r *http.Request) {
				if r.ProtoMajor != 2 {
					t.Errorf("the API was asked in %s", r.Proto)
				}
				page("", "a")(w, r)
			}
			server := httptest.NewUnstartedServer(s)
			server.EnableHTTP2 = true
			server.TLS = &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tc.version}
			server.StartTLS()
			defer server.Close()
			c, err := New(Config{APIURL: server.URL, LoginURL: server.URL, ClientID: Text("a"), ClientSecret: Text("b"), Dialect: Auditlogs})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			c.patience.faults, c.patience.backoff.First = 2, 2
			if !tc.untrusted {
				c.http.Transport.(*http.Transport).TLSClientConfig.RootCAs = server.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
			}
			_, err = c.Open(t.Context())
			if (err == nil) != tc.works {
				t.Errorf("the error is %v", err)
			}
			if err != nil && !isType[*FaultError](err) {
				t.Errorf("%v ends the connector", err)
			}
		})
	}
}
