package codec

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"genesys-audit-connector/internal/audit"
	"genesys-audit-connector/internal/mask"
)

// rulesOf are those of a file with this text; KEY in it is the path of a key.
func rulesOf(t testing.TB, text string) *mask.Rules {
	t.Helper()
	defaults, err := DefaultMasks()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	key := filepath.Join(dir, "key")
	file := filepath.Join(dir, "rules.yaml")
	for path, content := range map[string]string{key: "0123456789abcdef\n", file: strings.ReplaceAll(text, "KEY", key)} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if text == mask.Shipped {
		file = mask.Shipped
	}
	rules, err := mask.Load(file, defaults)
	if err != nil {
		t.Fatal(err)
	}
	return rules
}

func maskedChanges(t testing.TB, rules *mask.Rules, text string) (all []audit.Change, values [][]byte) {
	t.Helper()
	e, err := NewEncoder(Options{Mask: rules})
	if err != nil {
		t.Fatal(err)
	}
	decoder, err := NewDecoder(nil)
	if err != nil {
		t.Fatal(err)
	}
	ev := scan(t, text)
	values, _ = records(e, &ev)
	for _, value := range values {
		c, err := decoder.Decode(value)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		all = append(all, c)
	}
	return all, values
}

// inWords is what of a change can be masked, and what is.
func inWords(c audit.Change) string {
	var parts []string
	put := func(name string, v *string) {
		if v != nil {
			parts = append(parts, name+"="+*v)
		}
	}
	put("user", c.UserName)
	put("entity", c.EntityName)
	put("key", c.Key)
	put("old", c.Previous)
	put("new", c.New)
	if len(c.RemoteIP) > 0 {
		parts = append(parts, "ip="+strings.Join(c.RemoteIP, ","))
	}
	for _, k := range slices.Sorted(func(yield func(string) bool) {
		for k := range c.Context {
			if !yield(k) {
				return
			}
		}
	}) {
		parts = append(parts, k+"="+c.Context[k])
	}
	put("message", c.Message)
	put("member", c.MemberID)
	put("memberName", c.MemberName)
	return strings.Join(parts, " ") + " masked=" + strings.Join(c.MaskedFields, ",")
}

const hmacOfSecret = "59fa6a4dccc441a2ceb3d563296276a0a2293d927d294d695cca0ca3c3556b35"

func TestMaskingRules(t *testing.T) {
	for name, c := range map[string]struct{ rules, event, want string }{
		"a value by its path": {
			"rules: [{entityTypes: [thing], paths: [a.b], action: mask}]",
			`{"entityType":"Thing","before":{"a":{"b":"x","c":"y"}},"after":{"a":{"b":"z","c":"w"}}}`,
			"key=a.b old=*** new=*** masked=previousValue,newValue | key=a.c old=y new=w masked=",
		},
		"what is below a path": {
			"rules: [{paths: [a], action: mask}]", `{"before":{"a":{"b":1}},"after":{"a":{"b":2}}}`,
			"key=a.b old=*** new=*** masked=previousValue,newValue",
		},
		"names below a path that are data": {
			"rules: [{paths: [a], action: mask}]", `{"before":{"a":{"+4930":{"b":1}}},"after":{"a":{"+4930":{"b":2}}}}`,
			"key=a.***.b old=*** new=*** masked=configurationKey,previousValue,newValue",
		},
		"another entity type": {
			"rules: [{entityTypes: [Other], action: mask}]", `{"entityType":"Thing","after":{"a":1}}`, "key=a new=1 masked=",
		},
		"an object that holds it": {
			"rules: [{paths: [config.headers], action: mask}]", `{"after":{"config":{"url":"u","headers":{"x":"y"}}}}`, "key=config new=*** masked=newValue",
		},
		"an object that does not": {
			"rules: [{paths: [config.headers], action: mask}]", `{"after":{"config":{"url":"u"}}}`, `key=config new={"url":"u"} masked=`,
		},
		"an array of those that do": {
			"rules: [{paths: [list.pin], action: mask}]", `{"after":{"list":[{"pin":1},{"pin":2}]}}`, "key=list new=*** masked=newValue",
		},
		"JSON in a string": {
			"rules: [{paths: ['**.pin'], action: mask}]", `{"propertyChanges":[{"property":"p","newValues":["{\"a\":[{\"PIN\":1}]}"]},{"property":"q","newValues":["{pin}"]}]}`,
			"key=p new=*** masked=newValue | key=q new={pin} masked=",
		},
		"a snapshot without keys": {
			"rules: [{paths: [pin], action: mask}]", `{"after":[{"pin":1}]}`, "new=*** masked=newValue",
		},
		"wildcards": {
			"rules: [{paths: ['a.*.c', 'Queue*/*', '**.z'], action: mask}]",
			`{"propertyChanges":[{"property":"a.b.c","newValues":["1"]},{"property":"a.c","newValues":["2"]},{"property":"QueueMember/1","newValues":["3"]},{"property":"x.y.Z.w","newValues":["4"]}]}`,
			"key=a.b.c new=*** masked=newValue | key=a.c new=2 masked= | key=QueueMember/1 new=*** masked=newValue | key=x.y.Z.w new=*** masked=newValue",
		},
		"null stays null": {
			"rules: [{action: mask}]", `{"before":{"a":null},"after":{"a":"x"}}`, "key=a new=*** masked=newValue",
		},
		"dropped": {
			"rules: [{fields: [newValue, userName, remoteIp, context.k], action: drop}]",
			`{"userName":"Ada","remoteIp":["10.0.0.1"],"context":{"k":"v","l":"w"},"after":{"a":"x"}}`,
			"key=a l=w masked=userName,newValue,remoteIp,context",
		},
		"HMAC": {
			"{keyFile: KEY, rules: [{action: hmac}]}", `{"before":{"a":"secret","b":1},"after":{"a":"other","b":"secret"}}`,
			"key=a old=" + hmacOfSecret + " new=H masked=previousValue,newValue | key=b old=H new=" + hmacOfSecret + " masked=previousValue,newValue",
		},
		"the first rule decides": {
			"rules: [{paths: [a], action: keep}, {action: mask}]", `{"after":{"a":"x","b":"y"}}`, "key=a new=x masked= | key=b new=*** masked=newValue",
		},
		"what is kept may stand in something that is not": {
			"rules: [{paths: [a.b], action: keep}, {paths: [a], action: mask}]", `{"after":{"a":{"b":"x","c":"y"}}}`, "key=a new=*** masked=newValue",
		},
		"the sentence, the name and another change": {
			"rules: [{paths: [mail], action: mask}]",
			`{"entityName":"ada@x.org","message":"Mail of <ADA@x.org> was set","context":{"c":"ada@x.org"},"after":{"mail":"ada@x.org","login":"ada@x.org!"}}`,
			"entity=*** key=mail new=*** c=*** message=Mail of <***> was set masked=entityName,newValue,context,message | " +
				"entity=*** key=login new=***! c=*** message=Mail of <***> was set masked=entityName,newValue,context,message",
		},
		"a key with somebody's id in it": {
			"rules: [{fields: [memberId], action: mask}]",
			`{"entityType":"Queue","propertyChanges":[{"property":"QueueMember/q1:user-1234","newValues":["<queue member added>"]}]}`,
			"key=QueueMember/q1:*** new=<queue member added> member=*** masked=configurationKey,memberId",
		},
		"a grant": {
			"rules: [{fields: [memberId], action: mask}]", `{"entityType":"Role","action":"MemberAdd","entity":{"id":"r1","name":"user-1234--r1--d1"}}`,
			"key=members new=*** orgId=d1 roleId=r1 userId=*** member=*** masked=newValue,context,memberId",
		},
		"short texts are no words": {
			"rules: [{paths: [a], action: mask}]", `{"message":"an a","after":{"a":"a","b":"an a"}}`, "key=a new=*** message=an a masked=newValue | key=b new=an a message=an a masked=",
		},
		"part of another word": {
			"rules: [{paths: [a], action: mask}]", `{"message":"network","after":{"a":"work"}}`, "key=a new=*** message=network masked=newValue",
		},
		"spelled otherwise": {
			"rules: [{paths: [a], action: mask}]", `{"after":{"a":"secret","b":["x\u0020s\u0065cret"]}}`, "key=a new=*** masked=newValue | key=b new=*** masked=newValue",
		},
		"of what it is made": {
			"rules: [{paths: [a], action: mask}]", `{"message":"+49 30 is set","after":{"a":[{"number":"+49 30"}]}}`, "key=a new=*** message=*** is set masked=newValue,message",
		},
		"a sentence about what could not be read": {
			"rules: [{paths: [a], action: mask}]", `{"message":"m","after":` + strings.Repeat("[", 1001) + strings.Repeat("]", 1001) + `}`, "message=*** masked=message",
		},
		"the defaults": {
			"default",
			`{"entityType":"User","userName":"Ada","remoteIp":["10.0.0.1","::1"],"context":{"ipAddress":"10.0.0.1"},"after":{"title":"Dr","email":"a@b.c","extra":{"cellPhone":"1"}}}`,
			"user=Ada key=title new=Dr ip=***,*** ipAddress=*** masked=remoteIp,context | user=Ada key=email new=*** ip=***,*** ipAddress=*** masked=newValue,remoteIp,context | " +
				"user=Ada key=extra new=*** ip=***,*** ipAddress=*** masked=newValue,remoteIp,context",
		},
		"the defaults, of secrets": {
			"default", `{"entityType":"oauthclient","before":{"secret":"x","scope":["a"]},"after":{"secret":"y","scope":["b"]}}`,
			`key=secret old=*** new=*** masked=previousValue,newValue | key=scope old=["a"] new=["b"] masked=`,
		},
		"the defaults, how a queue handles mail": {
			"default", `{"entityType":"Queue","before":{"mediaSettings":{"email":{"x":1}}},"after":{"mediaSettings":{"email":{"x":2}}}}`, "key=mediaSettings.email.x old=1 new=2 masked=",
		},
	} {
		t.Run(name, func(t *testing.T) {
			all, _ := maskedChanges(t, rulesOf(t, c.rules), c.event)
			var got []string
			for _, change := range all {
				got = append(got, inWords(change))
			}
			text := strings.Join(got, " | ")
			if strings.Contains(c.want, "=H") {
				for _, v := range all {
					for _, h := range []*string{v.Previous, v.New} {
						if len(*h) == 64 && *h != hmacOfSecret {
							text = strings.ReplaceAll(text, *h, "H")
						}
					}
				}
			}
			if text != c.want {
				t.Errorf("%s\ngot  %s\nwant %s", c.event, text, c.want)
			}
		})
	}
}

// TestTypesOfWhatIsMaskedStay: a null of type STRING is one that was dropped.
func TestTypesOfWhatIsMaskedStay(t *testing.T) {
	for _, action := range []string{"drop", "mask"} {
		all, _ := maskedChanges(t, rulesOf(t, "rules: [{action: "+action+"}]"), `{"before":{"a":"x"},"after":{"a":[7]}}`)
		if c := all[0]; c.PreviousType != "STRING" || c.NewType != "ARRAY" || c.Type != "MODIFIED" || (action == "drop") != (c.New == nil) {
			t.Errorf("%s: %+v", action, c)
		}
	}
}

// TestUnmaskedRecordsAreTheSame, byte for byte, with rules that nothing meets.
func TestUnmaskedRecordsAreTheSame(t *testing.T) {
	rules := rulesOf(t, "rules: [{entityTypes: [Nothing], action: drop}, {paths: [no.such.path, '**.none'], action: mask}]")
	with, err := NewEncoder(Options{Mask: rules})
	if err != nil {
		t.Fatal(err)
	}
	without := newTestEncoder(t)
	texts := []string{typicalEvent, liveEvent, `1`, `{}`}
	for _, text := range hostileEvents(300) {
		texts = append(texts, text)
	}
	files, err := filepath.Glob("testdata/*/*.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if text, err := os.ReadFile(file); err == nil && json.Valid(text) {
			texts = append(texts, string(text))
		}
	}
	for seed := range uint64(300) {
		texts = append(texts, canaryEvent(rand.New(rand.NewPCG(seed, 1)), "canary-of-nobody"))
	}
	for _, text := range texts {
		ev := scan(t, text)
		got, meta := records(with, &ev)
		want, _ := records(without, &ev)
		if meta.Problem != "" {
			continue
		}
		if !slices.EqualFunc(got, want, bytes.Equal) {
			t.Errorf("%.200s: other bytes", text)
		}
	}
}

// canaryEvent is an event that has the canary where the rules of canaryRules mask it, and
// in some other places.
func canaryEvent(r *rand.Rand, canary string) string {
	mixed := func() string {
		s := canary
		if r.IntN(3) == 0 {
			s = strings.ToUpper(s)
		}
		return [...]string{"", "see ", "x", "["}[r.IntN(4)] + s + [...]string{"", ".", "x", `"`}[r.IntN(4)]
	}
	quote := func(s string) string {
		b, _ := json.Marshal(s)
		if r.IntN(2) == 0 {
			b = bytes.ReplaceAll(b, []byte("a"), []byte(`\u0061`))
		}
		return string(b)
	}
	value := func(s string) string {
		switch r.IntN(4) {
		case 0:
			return quote(s)
		case 1:
			return `[1,` + quote(s) + `]`
		case 2:
			return `{"in":{"deep":[` + quote(s) + `]}}`
		}
		return quote(`{"in":` + quote(s) + `}`)
	}
	var parts []string
	maybe := func(format string) {
		if r.IntN(2) == 0 {
			parts = append(parts, fmt.Sprintf(format, quote(mixed())))
		}
	}
	maybe(`"userName":%s`)
	maybe(`"entityName":%s`)
	maybe(`"message":%s`)
	maybe(`"context":{"k":%s,"other":"1"}`)
	maybe(`"remoteIp":[%s]`)
	maybe(`"application":%s`)
	switch r.IntN(4) {
	case 0:
		parts = append(parts, `"before":{"hidden":`+value(canary)+`,`+quote(mixed())+`:1,"b":`+value(mixed())+`},"after":{"b":2}`)
	case 1:
		parts = append(parts, `"after":{"o":{"hidden":`+value(canary)+`},"b":`+value(mixed())+`,"a.b":{`+quote(mixed())+`:3}}`)
	case 2:
		parts = append(parts, `"propertyChanges":[{"property":"hidden","newValues":[`+quote(canary)+`],"oldValues":["x","y"]},{"property":`+quote(mixed())+`,"newValues":[`+
			quote(mixed())+`,`+quote(mixed())+`]}]`)
	default:
		parts = append(parts, `"propertyChanges":[{"property":"QueueMember/q:`+canary+`:joined","newValues":["true"]}],"context":{"hidden":`+quote(canary)+`}`)
	}
	return `{"entityType":"Queue",` + strings.Join(parts, ",") + `}`
}

const canaryRules = `{keyFile: KEY, rules: [
  {paths: [hidden], fields: [previousValue, newValue], action: %s}, {paths: [o.hidden], action: %[1]s}, {fields: [memberId, context.hidden], action: %[1]s}]}`

// FuzzMaskedValuesOccurNowhere: neither as they are nor in other case, in no field of
// any record of the event.
func FuzzMaskedValuesOccurNowhere(f *testing.F) {
	for seed := range uint64(400) {
		f.Add(seed)
	}
	var encoders []*Encoder
	for _, action := range []string{"drop", "mask", "hmac"} {
		e, err := NewEncoder(Options{Mask: rulesOf(f, fmt.Sprintf(canaryRules, action))})
		if err != nil {
			f.Fatal(err)
		}
		encoders = append(encoders, e)
	}
	decoder, err := NewDecoder(nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		r := rand.New(rand.NewPCG(seed, 2))
		canary := fmt.Sprintf("canary-%d-%x", r.Uint64(), r.Uint32())
		text := canaryEvent(r, canary)
		ev := scan(t, text)
		for i, e := range encoders {
			values, _ := records(e, &ev)
			again, _ := records(e, &ev)
			if !slices.EqualFunc(values, again, bytes.Equal) {
				t.Errorf("%s: written again, it has other bytes", text)
			}
			for _, value := range values {
				c, err := decoder.Decode(value)
				if err != nil {
					t.Fatalf("%s: %v", text, err)
				}
				if unescaped := strings.ReplaceAll(string(value), `\u0061`, "a"); strings.Contains(strings.ToLower(unescaped), canary) {
					t.Errorf("encoder %d: %s\nleaks: %s", i, text, inWords(c))
				}
			}
		}
	})
}

// TestManyMaskedTextsCostNoMore: an event that has too many of them is hidden whole.
func TestManyMaskedTextsCostNoMore(t *testing.T) {
	rules := rulesOf(t, "rules: [{paths: [a], action: mask}]")
	var many strings.Builder
	for i := range 5000 {
		fmt.Fprintf(&many, `"text number %d",`, i)
	}
	all, _ := maskedChanges(t, rules, `{"message":"m","userName":"Ada","after":{"a":[`+many.String()+`1],"b":"text","c":2}}`)
	for _, c := range all {
		if inWords(c) != "user=*** key=*** new=*** message=*** masked=userName,configurationKey,newValue,message" {
			t.Errorf("%s", inWords(c))
		}
	}
	// Texts that begin alike, and a sentence that nearly has each of them.
	same := strings.Repeat("a", 2000)
	var alike strings.Builder
	for i := range 2000 {
		fmt.Fprintf(&alike, `"%s%d",`, same, i)
	}
	all, _ = maskedChanges(t, rules, `{"message":"`+strings.Repeat("a", 1<<20)+`","after":{"a":[`+alike.String()+`1]}}`)
	if *all[0].Message != mask.Stars {
		t.Errorf("a sentence of %d bytes is shown", len(*all[0].Message))
	}
}

func benchmarkMasked(b *testing.B, rules *mask.Rules, text string) {
	e, err := NewEncoder(Options{Mask: rules})
	if err != nil {
		b.Fatal(err)
	}
	ev := scan(b, text)
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		meta := e.Normalise(&ev, readAt)
		for i := range meta.Changes {
			e.Record(i)
		}
		n += meta.Changes
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/change")
}

func BenchmarkMasked(b *testing.B) {
	userEvent := strings.NewReplacer(`"queue"`, `"User"`, `acwTimeoutMs`, `email`).Replace(typicalEvent)
	for name, rules := range map[string]*mask.Rules{"none": nil, "default": rulesOf(b, mask.Shipped)} {
		b.Run(name+"/snapshots", func(b *testing.B) { benchmarkMasked(b, rules, typicalEvent) })
		b.Run(name+"/properties", func(b *testing.B) { benchmarkMasked(b, rules, liveEvent) })
		b.Run(name+"/user", func(b *testing.B) { benchmarkMasked(b, rules, userEvent) })
	}
}

// everybody is called the same.
type everybody struct{ name string }

func (e everybody) NameOf(audit.Kind, []byte) (audit.Name, bool) {
	return audit.Name{Text: e.name, Kind: audit.UserKind}, true
}

// TestNamesThatWereLookedUpAreMasked, also where the event has them elsewhere.
func TestNamesThatWereLookedUpAreMasked(t *testing.T) {
	e, err := NewEncoder(Options{Mask: rulesOf(t, "rules: [{fields: [memberName], action: mask}]")})
	if err != nil {
		t.Fatal(err)
	}
	decoder, err := NewDecoder(nil)
	if err != nil {
		t.Fatal(err)
	}
	ev := scan(t, `{"entityType":"Role","action":"MemberAdd","userId":"u1","message":"granted to Ada Lovelace","entity":{"id":"r1","name":"u2--r1--d1"}}`)
	e.Observe(func(yield func(*audit.Event) bool) { yield(&ev) }, everybody{"Ada Lovelace"})
	values, _ := records(e, &ev)
	c, err := decoder.Decode(values[0])
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(values[0]), "Lovelace") || *c.MemberName != mask.Stars || *c.UserName != mask.Stars || *c.Message != "granted to ***" ||
		!slices.Contains(c.ResolvedNames, "memberName") {
		t.Errorf("%s", inWords(c))
	}
}
