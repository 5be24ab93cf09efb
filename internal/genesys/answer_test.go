package genesys

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// FuzzPage: a body is a page exactly where encoding/json finds an object with
// an array of entities (last of its name) in it, and every event's bytes are
// those of the body.
func FuzzPage(f *testing.F) {
	for _, seed := range []string{`{"entities":[]}`, pageBody("next", "a", "b"), `{"entities":null}`, `{"entities":[1,"x",null,{}],"nextPage":null}`,
		`{"entities":[{"auditId":7}],"nextPage":""}`, ` {"nextPage" : "\u0041" , "entities" : [ {"a":1} , [ ] ] } `, `{"entities":[],"entities":{}}`,
		`[]`, ``, `{"entities":[}`, `<html>`, `{"entities":[{"entities":[1]}],"cursor":{}}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		a := &answer{status: 200, header: http.Header{}, body: bytes.Clone(body)}
		_, err := a.entities()
		var want map[string]json.RawMessage
		var list []json.RawMessage
		if json.Unmarshal(body, &want) == nil && want["entities"] != nil && want["entities"][0] == '[' {
			if err != nil {
				t.Fatalf("%q: %v", body, err)
			}
			if json.Unmarshal(want["entities"], &list) != nil {
				t.Skip()
			}
		}
		if err != nil {
			return
		}
		next, err := a.cursor("nextPage")
		var text string
		if err == nil && want["nextPage"] != nil && json.Unmarshal(want["nextPage"], &text) == nil && text != next {
			t.Fatalf("%q: next page %q, expected %q", body, next, text)
		}
		p := a.page()
		if list != nil && len(p.Events) != len(list) {
			t.Fatalf("%q: %d events, expected %d", body, len(p.Events), len(list))
		}
		for i, e := range p.Events {
			if list != nil && !bytes.Equal(e.Raw, list[i]) {
				t.Fatalf("%q: event %d is %q, expected %q", body, i, e.Raw, list[i])
			}
			if !bytes.Contains(body, e.Raw) || e.ID == "" {
				t.Fatalf("%q: event %q", body, e.Raw)
			}
		}
		p.Release()
	})
}

func FuzzMapping(f *testing.F) {
	f.Add([]byte(`{"services":[{"name":"Routing","entities":[{"name":"Queue","actions":["Create","Update"]}]}]}`))
	f.Add([]byte(`{"services":[{"name":5,"entities":{}},7,{"entities":[{"actions":"x"}]}]}`))
	f.Add([]byte(`{"services":{}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		m, err := readMapping(&answer{status: 200, header: http.Header{}, body: body})
		if _, empty := m[""]; empty || err == nil && m == nil {
			t.Fatalf("%q gave %v", body, m)
		}
	})
}

func FuzzQueryState(f *testing.F) {
	f.Add([]byte(`{"id":"0a1b-2c","state":"Queued"}`))
	f.Add([]byte(`{"id":"../../users","state":"Succeeded"}`))
	f.Add([]byte(`{"id":7}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		id, _, err := readQueryState(&answer{status: 200, header: http.Header{}, body: body})
		if err == nil && (id == "" || strings.ContainsAny(id, "/?#%. \n")) {
			t.Fatalf("%q gave the id %q", body, id)
		}
	})
}

func BenchmarkPage(b *testing.B) {
	var ids []string
	for i := range 1000 {
		ids = append(ids, fmt.Sprintf("0a1b2c3d-0000-4000-8000-%012d%s", i, strings.Repeat("x", 400)))
	}
	body := []byte(pageBody("next", ids...))
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		a := shared.get()
		resp := &http.Response{StatusCode: 200, Header: http.Header{}, Body: http.NoBody, ContentLength: int64(len(body))}
		resp.Body = readCloser{bytes.NewReader(body)}
		if err := a.receive(resp, defaultMaxBody); err != nil {
			b.Fatal(err)
		}
		if _, err := a.entities(); err != nil {
			b.Fatal(err)
		}
		p := a.page()
		if len(p.Events) != 1000 {
			b.Fatal(len(p.Events))
		}
		p.Release()
	}
}

type readCloser struct{ *bytes.Reader }

func (readCloser) Close() error { return nil }
