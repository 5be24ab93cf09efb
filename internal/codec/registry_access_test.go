package codec

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unicode"

	"github.com/twmb/franz-go/pkg/sr"
	"github.com/twmb/franz-go/pkg/sr/srfake"

	"genesys-audit-connector/schemas"
)

// respelled is the schema with its attributes in another order, indented, its name in full,
// and what holds anyway said.
func respelled(t *testing.T) string {
	t.Helper()
	var schema map[string]any
	if err := json.Unmarshal([]byte(schemas.ConfigurationChange), &schema); err != nil {
		t.Fatal(err)
	}
	schema["name"] = fmt.Sprint(schema["namespace"], ".", schema["name"])
	delete(schema, "namespace")
	for _, f := range schema["fields"].([]any) {
		field := f.(map[string]any)
		field["order"] = "ascending"
		if name, ok := field["type"].(string); ok {
			field["type"] = map[string]any{"type": name}
		}
	}
	text, err := json.MarshalIndent(schema, "", "\t")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// A schema that somebody else has registered in another spelling is found, whether or not
// the registry sees that it is the same: nothing is registered beside it.
func TestOtherSpellingIsFound(t *testing.T) {
	for _, auto := range []bool{false, true} {
		fake := srfake.New()
		defer fake.Close()
		client, err := sr.NewClient(sr.URLs(fake.URL()))
		if err != nil {
			t.Fatal(err)
		}
		ctx := context.Background()
		changed := strings.Replace(schemas.ConfigurationChange, `"fields":`, `"doc": "another", "fields":`, 1)
		if _, err := client.RegisterSchema(ctx, Subject(topic), avro(changed), -1, -1); err != nil {
			t.Fatal(err)
		}
		id, err := client.RegisterSchema(ctx, Subject(topic), avro(respelled(t)), -1, -1)
		if err != nil {
			t.Fatal(err)
		}
		if found, err := registry(t, RegistryOptions{URL: fake.URL(), AutoRegister: auto}).SchemaID(ctx, topic); found != id || err != nil {
			t.Errorf("auto-register %v: id %d, %v; it is %d", auto, found, err, id)
		}
		if versions, err := client.SubjectVersions(ctx, Subject(topic)); len(versions) != 2 || err != nil {
			t.Errorf("auto-register %v: versions %v, %v", auto, versions, err)
		}
	}
}

func TestSameSchema(t *testing.T) {
	const schema = `{"type":"record","name":"R","namespace":"n","fields":[
		{"name":"a","type":["null","string"],"default":null},{"name":"b","type":{"type":"array","items":"n.E"}},{"name":"c","type":{"type":"long","logicalType":"timestamp-millis"}}]}`
	for other, want := range map[string]bool{
		`{"name":"n.R","fields":[{"type":["null",{"type":"string"}],"default":null,"name":"a","order":"ascending"},
			{"name":"b","type":{"items":"E","type":"array"},"aliases":[],"doc":""},{"name":"c","type":{"logicalType":"timestamp-millis","type":"long"}}],"type":"record"}`: true,
		strings.Replace(schema, `"default":null`, `"default":"x"`, 1):                       false,
		strings.Replace(schema, `["null","string"]`, `["string","null"]`, 1):                false,
		strings.Replace(schema, `"namespace":"n"`, `"namespace":"m"`, 1):                    false,
		strings.Replace(schema, `,"logicalType":"timestamp-millis"`, ``, 1):                 false,
		strings.Replace(schema, `"name":"c"`, `"name":"c","doc":"when"`, 1):                 false,
		strings.Replace(schema, `"items":"n.E"`, `"items":"m.E"`, 1):                        false,
		strings.Replace(schema, `"name":"b"`, `"name":"b","order":"descending"`, 1):         false,
		strings.Replace(schema, `{"type":"array","items":"n.E"}`, `"n.E"`, 1):               false,
		strings.Replace(schema, `"items":"n.E"`, `"items":{"type":"array","items":"E"}`, 1): false,
		`not JSON`: false,
	} {
		if sameSchema(schema, other) != want || sameSchema(other, schema) != want {
			t.Errorf("the same as %s: %v", other, !want)
		}
	}
}

// The next of several addresses is asked where one is not reached, or has no registry to ask.
func TestRegistryFailover(t *testing.T) {
	gone := httptest.NewServer(nil)
	gone.Close()
	down := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }))
	defer down.Close()
	fake := srfake.New()
	defer fake.Close()
	ctx := context.Background()
	r := registry(t, RegistryOptions{URL: strings.Join([]string{gone.URL, down.URL + "/", fake.URL()}, ", "), AutoRegister: true})
	id, err := r.SchemaID(ctx, topic)
	if err != nil || id <= 0 {
		t.Fatal(id, err)
	}
	for _, urls := range [][]string{{gone.URL, down.URL}, {down.URL, gone.URL}, {down.URL}} {
		_, err := registry(t, RegistryOptions{URL: strings.Join(urls, ",")}).SchemaID(ctx, topic)
		if !errors.Is(err, ErrRegistryUnreachable) {
			t.Errorf("%v: %v", urls, err)
		}
	}
	refusing := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }))
	defer refusing.Close()
	_, err = registry(t, RegistryOptions{URL: refusing.URL + "," + fake.URL()}).SchemaID(ctx, topic)
	if !errors.Is(err, ErrRegistryDenied) {
		t.Errorf("a refusal is passed over: %v", err)
	}
}

// issuer gives out token after token, the next when one was refused.
type issuer struct {
	n   atomic.Int32
	err error
}

func (i *issuer) Token(context.Context) (string, error) {
	return fmt.Sprint("canary-", i.n.Load()), i.err
}

func (i *issuer) Refused(value string) bool {
	return value == fmt.Sprint("canary-", i.n.Load()) && i.n.Add(1) > 0
}

// Each request carries the token of now and the headers; after a refusal comes another token.
func TestRegistryTokens(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Target-Sr-Cluster") != "lsrc-1" {
			t.Errorf("headers %v", r.Header)
		}
		if r.Header.Get("Authorization") != "Bearer canary-1" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		_, _ = w.Write([]byte(`{"id":7}`))
	}))
	defer server.Close()
	tokens := &issuer{}
	ctx := context.Background()
	r := registry(t, RegistryOptions{URL: server.URL, Tokens: tokens, Headers: map[string]string{"target-sr-cluster": "lsrc-1"}})
	_, err := r.SchemaID(ctx, topic)
	if !errors.Is(err, ErrRegistryDenied) || strings.Contains(err.Error(), "canary") {
		t.Errorf("with a token that is over: %v", err)
	}
	if id, err := r.SchemaID(ctx, topic); id != 7 || err != nil {
		t.Errorf("asked again: id %d, %v", id, err)
	}
	for _, c := range []struct{ err, want error }{
		{fmt.Errorf("%w: token endpoint https://idp answers 401", ErrRegistryDenied), ErrRegistryDenied},
		{errors.New("token endpoint https://idp answers 503"), ErrRegistryUnreachable},
		{fmt.Errorf("not yet: %w", context.DeadlineExceeded), ErrRegistryUnreachable},
	} {
		tokens.err = c.err
		if _, err := r.SchemaID(ctx, topic); !errors.Is(err, c.want) {
			t.Errorf("without a token (%v): %v", c.err, err)
		}
	}
}

// A registry, or what stands in front of it, that answers with what it was sent.
func TestRegistryThatEchoesTellsNothing(t *testing.T) {
	const secret = `can&ary+"1`
	for name, answer := range map[string]func(w http.ResponseWriter, echo string){
		"body": func(w http.ResponseWriter, echo string) {
			w.WriteHeader(http.StatusForbidden)
			_, _ = fmt.Fprintf(w, "<p>%s\n\x1b[31m", html.EscapeString(echo))
		},
		"message": func(w http.ResponseWriter, echo string) {
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = fmt.Fprintf(w, `{"error_code":40101,"message":"%s\u009b"}`, url.QueryEscape(echo))
		},
		"location": func(w http.ResponseWriter, echo string) {
			w.Header().Set("Location", ":"+echo)
			w.WriteHeader(http.StatusFound)
		},
		"status line": func(w http.ResponseWriter, echo string) {
			conn, _, err := w.(http.Hijacker).Hijack()
			if err == nil {
				_, _ = fmt.Fprintf(conn, "HTTP/1.1 503 %s\r\nContent-Length: 0\r\n\r\n", echo)
				_ = conn.Close()
			}
		},
		"id": func(w http.ResponseWriter, echo string) { _, _ = fmt.Fprintf(w, `{"id":%q}`, echo) },
	} {
		t.Run(name, func(t *testing.T) {
			var sent atomic.Value
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, authorization, _ := strings.Cut(r.Header.Get("Authorization"), " ")
				sent.Store(authorization)
				if _, password, ok := r.BasicAuth(); ok {
					authorization += " " + password
				}
				answer(w, authorization)
			}))
			defer server.Close()
			urls := server.URL + "," + server.URL
			for way, o := range map[string]RegistryOptions{
				"password": {URL: urls, Username: "us:er", Password: secret}, "token": {URL: urls, Tokens: &issuer{}},
			} {
				r := registry(t, o)
				_, err := r.SchemaID(context.Background(), topic)
				compatible := r.Compatible(context.Background(), topic)
				for _, err := range []error{err, compatible} {
					var told *RegistryError
					if !errors.As(err, &told) {
						t.Fatalf("%s: %v", way, err)
					}
					for e := error(told); e != nil; e = inner(e) { // a check shows what is inside
						for _, text := range []string{secret, html.EscapeString(secret), url.QueryEscape(secret), "canary", sent.Load().(string)} {
							if strings.Contains(e.Error(), text) {
								t.Errorf("%s tells %s: %v", way, text, e)
							}
						}
						if strings.ContainsFunc(e.Error(), func(r rune) bool { return !unicode.IsPrint(r) }) {
							t.Errorf("%s steers terminals: %q", way, e)
						}
					}
				}
			}
		})
	}
}

func inner(err error) error {
	if told, ok := err.(*RegistryError); ok {
		return told.Err
	}
	if at := (*url.Error)(nil); errors.As(err, &at) {
		return at.Err
	}
	return nil
}

// A redirect from https to http would send the password on in the clear: net/http compares
// the hosts' names alone.
func TestRegistryLoginDoesNotLeaveTLS(t *testing.T) {
	clear := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("%s %s, with a login: %v", r.Method, r.URL, r.Header["Authorization"] != nil)
	}))
	defer clear.Close()
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, clear.URL+r.URL.Path, http.StatusTemporaryRedirect)
	}))
	defer server.Close()
	r := registry(t, RegistryOptions{URL: server.URL, Username: "u", Password: "canary", Transport: server.Client().Transport})
	if _, err := r.SchemaID(context.Background(), topic); err == nil || strings.Contains(err.Error(), "canary") {
		t.Errorf("%v", err)
	}
}

// An address that takes connections and never answers costs its time once, not at each
// request: a check has time for one.
func TestRegistryThatHangsIsPassedOver(t *testing.T) {
	hold := make(chan struct{})
	var asked atomic.Int32
	hung := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		select {
		case <-hold:
		case <-r.Context().Done():
		}
	}))
	defer hung.Close()
	defer close(hold)
	fake := srfake.New()
	defer fake.Close()
	r := registry(t, RegistryOptions{URL: hung.URL + "," + fake.URL(), AutoRegister: true, Timeout: time.Second})
	if err := r.Compatible(context.Background(), topic); err != nil {
		t.Errorf("a check: %v", err)
	}
	if _, _, err := r.Framings(context.Background(), topic); err != nil {
		t.Errorf("a start: %v", err)
	}
	if n := asked.Load(); n != 1 {
		t.Errorf("asked %d times", n)
	}
}
