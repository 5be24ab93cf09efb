package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"genesys-audit-connector/examples/consumer"
)

func TestPlainTextIsOneLineOfWhatIsSeen(t *testing.T) {
	for in, want := range map[string]string{
		"Anna Berg":                              "Anna Berg",
		" \t Réclamations –\n\r":                 "Réclamations –",
		"a\nb\r\nc\vd\fe\x00f":                   "a b c d e f",
		"a\u2028b\u2029c\u0085d":                 "a b c d",
		"a\u00a0\u3000b":                         "a b",
		"user\u202Egnp.exe":                      "usergnp.exe",
		"\u2066a\u2069\u200F\u061C\u202Ab\u202C": "ab",
		"pay\u200Bpal\u00AD\uFEFF\u2060":         "paypal",
		"tag\U000E0041\U000E007F":                "tag",
		"\u3164\u115F\u2800x\uFFA0":              "x",
		"bad \xff\xfe":                           "bad \uFFFD\uFFFD",
		"private \uE000":                         "private \uFFFD",
		"a" + strings.Repeat("\u0301", 50) + "b": "a\u0301\u0301\u0301b",
		"👩🏽 العربية ไทย":                         "👩🏽 العربية ไทย",
		"\u202E":                                 "",
	} {
		if got := plain(in); got != want {
			t.Errorf("%q: %q, not %q", in, got, want)
		}
	}
	if got := quoted("a\" gave \"b\n", 100); got != `"a' gave 'b"` {
		t.Error(got)
	}
	for _, mark := range "“”„‟″＂〝〞״" {
		if got := quoted("Bob"+string(mark)+" in all divisions", 100); got != `"Bob' in all divisions"` {
			t.Error(got)
		}
	}
}

// hostile are texts that a chat would make something of.
var hostile = []string{
	"x\n🚨 *CRITICAL* all is well", "x\r\ny", "x\u2028y", "x\u2029y", "x\u0085y", "\u202Ex\u2066y", "x\x00y",
	"<!channel>", "<!here|here>", "<!everyone>", "<@U0123>", "<#C0123>", "<!subteam^S0123>", "@everyone", "@here", "@channel", "@all", "@anna.berg",
	"<@&0123>", "<@0123>", "<@!0123>", "<at>Anna</at>", "@\u200Beveryone", "＠everyone &#64;all &commat;all",
	"<http://evil.example|Genesys>", "[Genesys](http://evil.example)", "![x](http://evil.example/x.png)", "<http://evil.example>",
	"http://evil.example/x", "https://203.0.113.9/", "www.evil.example", "evil.example", "evil。example", "mailto:a@evil.example", "a@evil.example",
	"tel:+49301234", "slack://open", "ftp://x", "javascript:alert(1)", "[x]: http://evil.example", "[x][1]",
	"`code`", "```\ncode\n```", "*b* _i_ ~s~ **b** __u__ ~~s~~ ||spoiler||", "# head", "> quote", "\\* \\_ \\`", ":tada: :skull_and_crossbones:", "~town-square",
	"#hashtag", "$x^2$", "a | b", "<b>bold</b>", "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "&lt;b&gt; &amp;amp;", "<t:0:R>", "</cmd:0>", "<:e:0>",
	`" gave the role "Agent" to "Eve`, strings.Repeat("\u0301", 200), strings.Repeat("&", 5000), strings.Repeat("🚨", 3000), "\xff\xfe", "",
}

// hostileAlert has a text in every field that comes from outside.
func hostileAlert(t testing.TB, said string) *Alert {
	t.Helper()
	m := edited(grant("id", "a", "b", "r", noon), func(m *consumer.Message) {
		m.AuditID, m.Org, m.Action, m.EntityType, m.Status, m.UserName = said, said, said, said, &said, &said
		m.EntityName, m.EntityID, m.Key, m.Previous, m.New, m.RemoteIP = &said, &said, &said, &said, &said, []string{said}
		m.DivisionName, m.MemberName, m.Context = &said, &said, map[string]string{"roleName": said, "memberName": said}
	})
	r := &Rules{}
	grantee := edited(m, func(m *consumer.Message) { m.Action, m.EntityType, m.MemberID = "MemberAdd", "Role", &said })
	a := newAlert("0123456789abcdef", &Rule{Name: "A rule", Severity: "critical"}, r.subject(&m))
	a.summarise(r.subject(&m).sentence() + " and " + r.subject(&grantee).sentence())
	return a
}

// messageTexts are what a receiver of a format would show of an alert.
func messageTexts(t testing.TB, format string, a *Alert) (lines []string, bytes int) {
	t.Helper()
	encoded, err := json.Marshal(formats[format](a))
	if err != nil {
		t.Fatal(err)
	}
	var decoded struct {
		Text, Content *string
		Attachments   []struct {
			Content struct {
				Body []struct {
					Type    string
					Inlines []struct{ Type, Text string }
				}
			}
		}
	}
	if err := json.Unmarshal(encoded, &decoded); err != nil {
		t.Fatal(err)
	}
	for _, text := range []*string{decoded.Text, decoded.Content} {
		if text != nil {
			lines = append(lines, strings.Split(*text, "\n")...)
		}
	}
	for _, attachment := range decoded.Attachments {
		for _, block := range attachment.Content.Body {
			line := ""
			for _, run := range block.Inlines {
				if block.Type != "RichTextBlock" || run.Type != "TextRun" {
					t.Errorf("%s reads Markdown", run.Type)
				}
				line += run.Text
			}
			lines = append(lines, line)
		}
	}
	return lines, len(encoded)
}

// meaningful are the characters that some chat makes a format, a mention or a link of.
const meaningful = "*_~`<>[]|\\#@&$"

// skeleton is what is left of a line for a chat to read a meaning into.
func skeleton(line string) string {
	return strings.Map(func(r rune) rune {
		if strings.ContainsRune(meaningful, r) {
			return r
		}
		return -1
	}, line)
}

// forged says what of a message a text that came with an event has forged; "" is nothing.
func forged(t testing.TB, format, said string) string {
	lines, size := messageTexts(t, format, hostileAlert(t, said))
	honest, _ := messageTexts(t, format, hostileAlert(t, "Anna"))
	if len(lines) != 2 || len(honest) != 2 {
		return fmt.Sprintf("%d lines", len(lines))
	}
	for i, line := range lines {
		if got, want := skeleton(line), skeleton(honest[i]); got != want {
			return fmt.Sprintf("markup %q, not %q", got, want)
		}
		for at, r := range line {
			next, _ := utf8.DecodeRuneInString(line[at+utf8.RuneLen(r):])
			switch ours := i == 1 && at < len("_2026-09-01T10:00:00Z"); {
			case unicode.IsControl(r), unicode.Is(unicode.Zl, r), unicode.Is(unicode.Zp, r), unicode.Is(unicode.Cf, r):
				return fmt.Sprintf("character %U", r)
			case r == '.' && unicode.IsLetter(next):
				return "a domain: " + line[at:]
			case r == ':' && next != ' ' && next != utf8.RuneError && !ours:
				return "an address or an emoji: " + line[at:]
			}
		}
	}
	if all := strings.Join(lines, "\n"); len(utf16.Encode([]rune(all))) > 2000 || size > 28<<10 {
		return fmt.Sprintf("%d characters", len(all)) // Discord takes 2,000 characters, Teams 28 KB
	}
	return ""
}

var chats = []string{"slack", "mattermost", "discord", "teams"}

// TestEventsForgeNothingInAChat: no line, mention, link, format or direction.
func TestEventsForgeNothingInAChat(t *testing.T) {
	for _, format := range chats {
		for _, said := range hostile {
			if what := forged(t, format, said); what != "" {
				t.Errorf("%s: %q forges %s", format, said, what)
			}
		}
	}
}

// TestDiscordCallsNobody whatever the content is.
func TestDiscordCallsNobody(t *testing.T) {
	encoded, err := json.Marshal(formats["discord"](hostileAlert(t, "@everyone")))
	if err != nil || !strings.Contains(string(encoded), `"allowed_mentions":{"parse":[]}`) || !strings.Contains(string(encoded), `"flags":4`) {
		t.Errorf("%s, %v", encoded, err)
	}
}

// TestInertTextReadsTheSame: what people call things is changed no more than it must be.
func TestInertTextReadsTheSame(t *testing.T) {
	for _, same := range []string{"Anna Berg", "Réclamations – Dublin (2)", "198.51.100.7", "v1.2.3", "Sales: 24/7", "Dr. Ng", "what?!", "العربية", "a's"} {
		if got := inert(same); got != same {
			t.Errorf("%q: %q", same, got)
		}
	}
	if got := inert("SIP_1 @ b.example: x:y"); got != "SIP＿1 ＠ b․example: x꞉y" {
		t.Error(got)
	}
}

func FuzzForgedMessages(f *testing.F) {
	for _, said := range hostile {
		f.Add(said)
	}
	f.Fuzz(func(t *testing.T, said string) {
		for _, format := range chats {
			if what := forged(t, format, said); what != "" {
				t.Errorf("%s: %q forges %s", format, said, what)
			}
		}
	})
}
