package codec

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/sr"
	"github.com/twmb/franz-go/pkg/sr/srfake"

	"genesys-audit-connector/schemas"
)

const topic = "genesys.audit.changes"

func registry(t *testing.T, o RegistryOptions) *Registry {
	t.Helper()
	r, err := NewRegistry(o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestRegistryProtocol runs against franz-go's registry, which nobody here wrote.
func TestRegistryProtocol(t *testing.T) {
	fake := srfake.New()
	defer fake.Close()
	ctx := context.Background()

	lookup := registry(t, RegistryOptions{URL: fake.URL()})
	if _, err := lookup.SchemaID(ctx, topic); !errors.Is(err, ErrSchemaUnknown) {
		t.Fatalf("lookup before it is registered: %v", err)
	}
	register := registry(t, RegistryOptions{URL: fake.URL() + "/", AutoRegister: true})
	if err := register.Compatible(ctx, topic); err != nil {
		t.Errorf("compatible with a subject that is not there: %v", err)
	}
	id, err := register.SchemaID(ctx, topic)
	if err != nil || id <= 0 {
		t.Fatalf("register: id %d, %v", id, err)
	}
	if again, err := register.SchemaID(ctx, topic); again != id || err != nil {
		t.Errorf("registered again: id %d, want %d (%v)", again, id, err)
	}
	if found, err := lookup.SchemaID(ctx, topic); found != id || err != nil {
		t.Errorf("lookup: id %d, want %d (%v)", found, id, err)
	}
	client, err := sr.NewClient(sr.URLs(fake.URL()))
	if err != nil {
		t.Fatal(err)
	}
	stored, err := client.SchemaByVersion(ctx, "genesys.audit.changes-value", 1)
	if err != nil || stored.ID != id || stored.Type != sr.TypeAvro {
		t.Errorf("stored under the subject: %+v, %v", stored, err)
	}
	var want, got any
	if json.Unmarshal([]byte(schemas.ConfigurationChange), &want) != nil || json.Unmarshal([]byte(stored.Schema.Schema), &got) != nil || asJSON(got) != asJSON(want) {
		t.Errorf("stored schema: %s", stored.Schema.Schema)
	}
}

// TestRegistryErrors: each answer, its error, and that it names subject and cure.
func TestRegistryErrors(t *testing.T) {
	for name, c := range map[string]struct {
		status int
		body   string
		want   error
	}{
		"wrong password":      {401, `{"error_code":401,"message":"Unauthorized"}`, ErrRegistryDenied},
		"not allowed":         {403, `{"error_code":40301,"message":"User is denied operation Write on Subject"}`, ErrRegistryDenied},
		"incompatible":        {409, `{"error_code":409,"message":"Schema being registered is incompatible"}`, ErrSchemaIncompatible},
		"no such subject":     {404, `{"error_code":40401,"message":"Subject not found."}`, ErrSchemaUnknown},
		"no such schema":      {404, `{"error_code":40403,"message":"Schema not found"}`, ErrSchemaUnknown},
		"no registry there":   {404, "404 page not found", ErrRegistryUnreachable},
		"invalid schema":      {422, `{"error_code":42201,"message":"Invalid Avro schema"}`, ErrRegistryRefused},
		"busy":                {429, ``, ErrRegistryUnreachable},
		"backend down":        {500, `{"error_code":50001,"message":"Error in the backend data store"}`, ErrRegistryUnreachable},
		"gateway":             {502, `<html>` + strings.Repeat("x", 10_000), ErrRegistryUnreachable},
		"a page, and 200":     {200, `<html>hello</html>`, ErrRegistryUnreachable},
		"cut":                 {200, `{"id":`, ErrRegistryUnreachable},
		"no id":               {200, `{}`, ErrRegistryRefused},
		"an id of other type": {200, `{"id":"seven"}`, ErrRegistryUnreachable},
		"an id too large":     {200, `{"id":4294967296}`, ErrRegistryRefused},
	} {
		for _, auto := range []bool{true, false} {
			t.Run(name, func(t *testing.T) {
				server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
					w.WriteHeader(c.status)
					io.WriteString(w, c.body)
				}))
				defer server.Close()
				_, err := registry(t, RegistryOptions{URL: server.URL, AutoRegister: auto}).SchemaID(context.Background(), topic)
				var detail *RegistryError
				if !errors.Is(err, c.want) || !errors.As(err, &detail) {
					t.Fatalf("error %v, want %v", err, c.want)
				}
				if text := err.Error(); !strings.Contains(text, "genesys.audit.changes-value") || detail.Cure == "" || !strings.Contains(text, detail.Cure) || len(text) > 1000 {
					t.Errorf("error does not name subject and cure, shortly: %s", text)
				}
			})
		}
	}
}

func TestRegistryUnreachable(t *testing.T) {
	server := httptest.NewServer(nil)
	address := server.URL
	server.Close()
	_, err := registry(t, RegistryOptions{URL: address}).SchemaID(context.Background(), topic)
	if !errors.Is(err, ErrRegistryUnreachable) {
		t.Errorf("nobody listens: %v", err)
	}

	release := make(chan struct{})
	silent := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	defer silent.Close()
	defer close(release)
	_, err = registry(t, RegistryOptions{URL: silent.URL, Timeout: 50 * time.Millisecond}).SchemaID(context.Background(), topic)
	if !errors.Is(err, ErrRegistryUnreachable) {
		t.Errorf("no answer: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err = registry(t, RegistryOptions{URL: silent.URL}).SchemaID(ctx, topic)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}

	endless := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			if _, err := w.Write(make([]byte, 1<<16)); err != nil {
				return
			}
		}
	}))
	defer endless.Close()
	if _, err = registry(t, RegistryOptions{URL: endless.URL}).SchemaID(context.Background(), topic); !errors.Is(err, ErrRegistryUnreachable) {
		t.Errorf("an answer without end: %v", err)
	}
}

func TestRegistryCredentials(t *testing.T) {
	const secret = "canary-7f3a"
	for name, o := range map[string]RegistryOptions{
		"options": {URL: "http://HOST", Username: "me", Password: secret},
		"URL":     {URL: "http://me:" + secret + "@HOST"},
	} {
		t.Run(name, func(t *testing.T) {
			status := http.StatusOK
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if user, password, _ := r.BasicAuth(); user != "me" || password != secret {
					t.Errorf("credentials %q %q", user, password)
				}
				w.WriteHeader(status)
				io.WriteString(w, `{"id":7}`)
			}))
			o.URL = strings.Replace(o.URL, "HOST", strings.TrimPrefix(server.URL, "http://"), 1)
			r := registry(t, o)
			if id, err := r.SchemaID(context.Background(), topic); id != 7 || err != nil {
				t.Errorf("id %d, %v", id, err)
			}
			status = http.StatusUnauthorized
			_, denied := r.SchemaID(context.Background(), topic)
			server.Close()
			_, gone := r.SchemaID(context.Background(), topic)
			for _, err := range []error{denied, gone} {
				if err == nil || strings.Contains(err.Error(), secret) {
					t.Errorf("the error shows the password, or is none: %v", err)
				}
			}
		})
	}
	for _, wrong := range []string{"", "localhost:8081", "ftp://x", "http://", "http://me:" + secret + "@%zz", "://"} {
		if _, err := NewRegistry(RegistryOptions{URL: wrong}); err == nil || strings.Contains(err.Error(), secret) {
			t.Errorf("URL %q: %v", wrong, err)
		}
	}
}

func TestCompatible(t *testing.T) {
	for name, c := range map[string]struct {
		status int
		body   string
		want   error
	}{
		"yes":               {200, `{"is_compatible":true}`, nil},
		"no":                {200, `{"is_compatible":false,"messages":["READER_FIELD_MISSING_DEFAULT_VALUE"]}`, ErrSchemaIncompatible},
		"no, without words": {200, `{"is_compatible":false}`, ErrSchemaIncompatible},
		"nothing there":     {404, `{"error_code":40401}`, nil},
		"no registry there": {404, "404 page not found", ErrRegistryUnreachable},
		"down":              {503, ``, ErrRegistryUnreachable},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Method != http.MethodPost || !strings.HasPrefix(r.URL.Path, "/compatibility/") {
					t.Errorf("%s %s would change the registry", r.Method, r.URL)
				}
				w.WriteHeader(c.status)
				io.WriteString(w, c.body)
			}))
			defer server.Close()
			err := registry(t, RegistryOptions{URL: server.URL, AutoRegister: true}).Compatible(context.Background(), topic)
			if !errors.Is(err, c.want) || c.want == nil && err != nil {
				t.Errorf("error %v, want %v", err, c.want)
			}
			if err != nil && !strings.Contains(err.Error(), Subject(topic)) {
				t.Errorf("no subject in %v", err)
			}
		})
	}
}
