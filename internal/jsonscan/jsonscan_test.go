package jsonscan

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"
)

func parse(t testing.TB, text string) Value {
	t.Helper()
	doc := new(Doc)
	if err := doc.Parse([]byte(text)); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return doc.Root()
}

func TestValues(t *testing.T) {
	v := parse(t, ` { "a" : [ 1 , -0.5e+3, true ,null, "x\u0041\n" ] ,"b":{},"a":{"c":[[]]},"\u0064":false } `)
	if got := string(v.Get("a").Raw()); got != `{"c":[[]]}` {
		t.Errorf("the last of two members a is %s", got)
	}
	if got := v.Get("d"); got.Kind() != Bool || string(got.Raw()) != "false" {
		t.Errorf("a name with an escape: %v %s", got.Kind(), got.Raw())
	}
	if got := v.Get("no"); got.Kind() != Absent || got.Raw() != nil || got.Text() != "" || got.Ref() != 0 {
		t.Errorf("a member that is not there: %v", got)
	}
	m := v.Members()
	if !m.Next() || m.Key().Text() != "a" {
		t.Fatal("first member is not a")
	}
	var raws, texts []string
	var kinds []Kind
	for e := m.Value().Elements(); e.Next(); {
		raws, texts, kinds = append(raws, string(e.Value().Raw())), append(texts, e.Value().Text()), append(kinds, e.Value().Kind())
	}
	if got, want := fmt.Sprint(raws), `[1 -0.5e+3 true null "x\u0041\n"]`; got != want {
		t.Errorf("raw %s, want %s", got, want)
	}
	if got, want := fmt.Sprintf("%q", texts), `["1" "-0.5e+3" "true" "null" "xA\n"]`; got != want {
		t.Errorf("texts %s, want %s", got, want)
	}
	if got, want := fmt.Sprint(kinds), fmt.Sprint([]Kind{Number, Number, Bool, Null, String}); got != want {
		t.Errorf("kinds %s, want %s", got, want)
	}
	if got, want := string(v.AppendCompact(nil)), `{"a":[1,-0.5e+3,true,null,"x\u0041\n"],"b":{},"a":{"c":[[]]},"\u0064":false}`; got != want {
		t.Errorf("compact %s\nwant    %s", got, want)
	}
	if got := v.Depth(); got != 4 {
		t.Errorf("depth %d, want 4", got)
	}
	if d := v.Doc(); d.At(v.Get("b").Ref()) != v.Get("b") || d.At(0) != (Value{}) || d.At(v.Ref()) != v {
		t.Error("At is not the inverse of Ref")
	}
}

func TestElementsOfOtherKinds(t *testing.T) {
	for _, text := range []string{`null`, `1`, `"[1]"`, `true`} {
		v := parse(t, text)
		members, elements := v.Members(), v.Elements()
		if members.Next() || elements.Next() || v.Get("x").Kind() != Absent {
			t.Errorf("%s has members or elements", text)
		}
	}
	object, array := parse(t, `{"a":1}`), parse(t, `[1]`)
	if members, elements := array.Members(), object.Elements(); members.Next() || elements.Next() {
		t.Error("an array has members, or an object elements")
	}
}

func TestSyntaxErrors(t *testing.T) {
	for text, offset := range map[string]int{
		``: 0, ` `: 1, `{`: 1, `[`: 1, `[1`: 2, `[1,`: 3, `[1,]`: 3, `[,1]`: 1, `[1 2]`: 3, `{"a"}`: 4, `{"a":}`: 5, `{"a":1,}`: 7, `{a:1}`: 1,
		`{1:1}`: 1, `{"a":1]`: 6, `[1}`: 2, `"`: 0, `"a`: 0, `"\`: 0, `"\x"`: 1, `"\u12"`: 1, `"\u12G4"`: 1, `01`: 0, `-`: 0, `+1`: 0, `.5`: 0, `1.`: 0,
		`1e`: 0, `1e+`: 0, `tru`: 0, `nul`: 0, `True`: 0, `1 1`: 2, `{}{}`: 2, `]`: 0, "\ufeff1": 0, `'a'`: 0, `NaN`: 0, "\x00": 0, "[1]\x00": 3, `-01`: 0,
	} {
		doc := new(Doc)
		err := doc.Parse([]byte(text))
		var syntax *SyntaxError
		if !errors.As(err, &syntax) {
			t.Errorf("%q: error %v", text, err)
			continue
		}
		if syntax.Offset != offset {
			t.Errorf("%q: offset %d, want %d (%v)", text, syntax.Offset, offset, err)
		}
		if doc.Root().Kind() != Absent {
			t.Errorf("%q: a root after an error", text)
		}
	}
}

func TestRawControlCharactersAreTaken(t *testing.T) {
	text := "\"a\nb\x00\tc\x1f\""
	if json.Valid([]byte(text)) {
		t.Fatal("encoding/json takes them too: the exception is none")
	}
	if got, want := parse(t, text).Text(), "a\nb\x00\tc\x1f"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestNoLimitOfDepth(t *testing.T) {
	const levels = 1_000_000
	text := strings.Repeat(`[`, levels) + strings.Repeat(`]`, levels)
	if v := parse(t, text); v.Depth() != levels || !v.DeeperThan(levels-1) || v.DeeperThan(levels) {
		t.Errorf("depth %d, want %d", v.Depth(), levels)
	}
	text = strings.Repeat(`{"a":`, levels) + "1" + strings.Repeat(`}`, levels)
	if v := parse(t, text); v.Depth() != levels {
		t.Errorf("depth %d, want %d", v.Depth(), levels)
	}
}

func TestDepthOfAPart(t *testing.T) {
	v := parse(t, `{"shallow":[1,[]],"deep":[[[[{}]],[]]],"scalar":1}`)
	for name, want := range map[string]int{"shallow": 2, "deep": 5, "scalar": 0} {
		if got := v.Get(name).Depth(); got != want {
			t.Errorf("%s: depth %d, want %d", name, got, want)
		}
		if v.Get(name).DeeperThan(want) || want > 0 && !v.Get(name).DeeperThan(want-1) {
			t.Errorf("%s: DeeperThan(%d) and (%d) are wrong", name, want, want-1)
		}
	}
	if (Value{}).DeeperThan(0) || (Value{}).Depth() != 0 {
		t.Error("nothing has a depth")
	}
}

func TestMaxValues(t *testing.T) {
	doc := &Doc{MaxValues: 4}
	if err := doc.Parse([]byte(`[1,2,3]`)); err != nil {
		t.Errorf("4 values: %v", err)
	}
	for _, text := range []string{`[1,2,3,4]`, `{"a":1,"b":2}`, `[[[[[`} {
		if err := doc.Parse([]byte(text)); !errors.Is(err, ErrTooManyValues) {
			t.Errorf("%s: error %v", text, err)
		}
	}
	if err := doc.Parse([]byte(`1`)); err != nil || doc.Root().Text() != "1" || doc.Depth() != 0 {
		t.Errorf("a Doc does not parse after an error: %v", err)
	}
}

func TestIs(t *testing.T) {
	for text, want := range map[string]string{
		`"abc"`: "abc", `"\u0061bc"`: "abc", `"\ud83d\ude00"`: "😀", `""`: "", `"\u0000"`: "\x00", `"\"\\\/"`: `"\/`,
	} {
		if v := parse(t, text); !v.Is(want) || v.Is(want+"x") || v.Is("x"+want) {
			t.Errorf("%s.Is(%q) is wrong", text, want)
		}
	}
	if parse(t, `7`).Is("7") || (Value{}).Is("") {
		t.Error("what is no string is one")
	}
}

func TestTexts(t *testing.T) {
	for text, want := range map[string]string{
		`"\b\f\n\r\t\"\\\/"`:            "\b\f\n\r\t\"\\/",
		`"\u00e9\u2028\uFFFF\uabCD"`:    "é\u2028\uffff\uabcd",
		`"\ud83d\ude00"`:                "😀",
		`"\ud83d"`:                      "\ufffd",
		`"\ud83dx"`:                     "\ufffdx",
		`"\ud83d\n"`:                    "\ufffd\n",
		`"\ud83d\u0041"`:                "\ufffdA",
		`"\ude00\ud83d"`:                "\ufffd\ufffd",
		`"\ud83d\ud83d\ude00"`:          "\ufffd😀",
		"\"a\xffb\xc3\"":                "a\ufffdb\ufffd",
		"\"\xff\xfe\\u0041\xe2\x82\"":   "\ufffd\ufffdA\ufffd\ufffd",
		"\"\xed\xa0\x80\"":              "\ufffd\ufffd\ufffd", // a surrogate in UTF-8
		"[ \"\xff\" ,\t\" \\\" \" , 1]": "[\"\ufffd\",\" \\\" \",1]",
		"[\"\xff\"]":                    "[\"\ufffd\"]",
		`{ "a b" : "\u0041" }`:          `{"a b":"\u0041"}`,
		`-1.50E+0`:                      `-1.50E+0`,
	} {
		v := parse(t, text)
		if got := v.Text(); got != want {
			t.Errorf("%q: text %q, want %q", text, got, want)
		}
		buf := []byte("before")
		if got := v.View(&buf); string(got) != want || !bytes.HasPrefix(buf, []byte("before")) {
			t.Errorf("%q: view %q, want %q; buffer %q", text, got, want, buf)
		}
	}
}

// TestHighBytes puts one odd byte at every place of a string, so that each
// branch of the eight-byte search meets it.
func TestHighBytes(t *testing.T) {
	for n := range 20 {
		for at := range n {
			for _, odd := range []string{"\xff", "é", `\n`, `\"`} {
				inner := strings.Repeat("a", at) + odd + strings.Repeat("b", n-at)
				list := parse(t, `["`+inner+`",1]`)
				e := list.Elements()
				e.Next()
				want := strings.NewReplacer("\xff", "\ufffd", `\n`, "\n", `\"`, `"`).Replace(inner)
				if got := string(e.Value().View(new([]byte))); got != want {
					t.Fatalf("%q reads as %q", inner, got)
				}
				if got := list.View(new([]byte)); !utf8.Valid(got) {
					t.Fatalf("[%q] reads as %q", inner, got)
				}
			}
		}
	}
}

func TestParseKeepsNoMemoryOfTheTextBefore(t *testing.T) {
	doc := new(Doc)
	for _, text := range []string{`{"a":[1,2,3]}`, `1`, `[[]]`, `{`, `{"b":2}`} {
		err := doc.Parse([]byte(text))
		if (err == nil) != json.Valid([]byte(text)) {
			t.Errorf("%s: %v", text, err)
		}
		if err == nil && string(doc.Root().Raw()) != text {
			t.Errorf("%s: root is %s", text, doc.Root().Raw())
		}
	}
}
