package jsonscan

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
)

// native builds what encoding/json would, out of the values.
func native(v Value) any {
	switch v.Kind() {
	case Null:
		return nil
	case Bool:
		return string(v.Raw()) == "true"
	case Number:
		return json.Number(v.Text())
	case String:
		return v.Text()
	case Array:
		list := []any{}
		for e := v.Elements(); e.Next(); {
			list = append(list, native(e.Value()))
		}
		return list
	case Object:
		object := map[string]any{}
		for m := v.Members(); m.Next(); {
			object[m.Key().Text()] = native(m.Value())
		}
		return object
	default:
		panic("an absent value in a text")
	}
}

// quiet is the text with a space for each control character inside a string:
// those are what this package takes and encoding/json does not.
func quiet(text []byte) []byte {
	out, inside := bytes.Clone(text), false
	for i := 0; i < len(out); i++ {
		switch {
		case out[i] == '"':
			inside = !inside
		case inside && out[i] == '\\':
			i++
		case inside && out[i] < ' ':
			out[i] = ' '
		}
	}
	return out
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		``, `null`, `[]`, `{}`, ` [ 1 , 2.5e-3 ,"\ud83d\ude00" , {"a":{"b":[null,true,false]}} ] `, `{"a":1,"a":2}`, "\"\xff\"", `"\u00`, `[1,]`,
		`{"a":[{}],"b":"c"}`, `-0.0E+00`, "[\"a\nb\"]", `"\\u0041"`, "\"\xe2\x82\"", `[[[[[[[[]]]]]]]]`, `{"":""}`, `"12345678\"12345678\\"`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		doc := new(Doc)
		err := doc.Parse(text)
		calm := quiet(text)
		if valid := json.Valid(calm); valid != (err == nil) {
			if err == nil && doc.Depth() > 10_000 {
				return // encoding/json's limit
			}
			t.Fatalf("%q: error %v, but valid for encoding/json: %v", text, err, valid)
		}
		if err != nil {
			return
		}
		root := doc.Root()
		if !bytes.Equal(root.Raw(), bytes.Trim(text, " \t\r\n")) {
			t.Fatalf("%q: root is %q", text, root.Raw())
		}
		if !json.Valid(text) {
			return
		}
		dec := json.NewDecoder(bytes.NewReader(text))
		dec.UseNumber()
		var want any
		if err := dec.Decode(&want); err != nil {
			t.Fatal(err)
		}
		if got := native(root); !reflect.DeepEqual(got, want) {
			t.Fatalf("%q: %#v, encoding/json reads %#v", text, got, want)
		}
		var compact bytes.Buffer
		if err := json.Compact(&compact, text); err != nil {
			t.Fatal(err)
		}
		if got, want := string(root.AppendCompact(nil)), string([]rune(compact.String())); got != want {
			t.Fatalf("%q: compact %q, want %q", text, got, want)
		}
		if got, want := string(root.View(new([]byte))), root.Text(); got != want {
			t.Fatalf("%q: view %q, text %q", text, got, want)
		}
	})
}

// page is an answer of the API: n events of about 1.1 kB.
func page(n int) []byte {
	event := `{"auditId":"6f0c1a52-7a2f-4bd0-9c7e-0b6a51d1e8aa","userId":"0b7f7f2e-44f5-4c1e-a9b4-2f8f0a7b9c11","userName":"Ingrid Bergström",` +
		`"timestamp":"2024-01-15T14:32:10.123Z","action":"Update","entityType":"queue","entityId":"9d3a1b50-1e88-4f0b-8a55-7f2f43d0c0de",` +
		`"entityName":"Billing EMEA","before":{"name":"Billing EMEA","description":"First line","acwTimeoutMs":30000,"skillEvaluationMethod":"BEST",` +
		`"enableTranscription":false,"members":["a1","b2","c3"],"mediaSettings":{"call":{"alertingTimeoutSeconds":8}},"version":41},` +
		`"after":{"name":"Billing EMEA","description":"First line","acwTimeoutMs":45000,"skillEvaluationMethod":"BEST",` +
		`"enableTranscription":false,"members":["a1","b2","c3"],"mediaSettings":{"call":{"alertingTimeoutSeconds":12}},"version":42},` +
		`"userHomeOrgId":"1f3c7d0a-cc5d-4f0e-bb6e-4b40f7b2a001","serviceName":"Routing","level":"USER","status":"SUCCESS","application":"Admin UI",` +
		`"remoteIp":["203.0.113.17"],"clientId":null,"context":{"transactionId":"5a1d2f"},"note":"` + strings.Repeat("x", 120) + `"}`
	return []byte(`{"entities":[` + strings.Repeat(event+",", n-1) + event + `],"nextPage":"abc"}`)
}

func BenchmarkParsePage(b *testing.B) {
	doc, text := new(Doc), page(1000)
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		if err := doc.Parse(text); err != nil {
			b.Fatal(err)
		}
	}
}
