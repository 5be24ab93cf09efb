package main

import (
	"bytes"
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"testing"

	"genesys-audit-connector/examples/consumer"
)

// TestGoldenFormats: what every sample is in each of the other formats.
func TestGoldenFormats(t *testing.T) {
	for name, encode := range map[string]format{
		"leef.golden": formats["leef"],
		"ecs.golden":  formats["ecs"],
		"sentinel.golden": func(b []byte, m *consumer.Message) ([]byte, error) {
			row, err := encodeRow(m)
			return append(b, row...), err
		},
	} {
		var b []byte
		for _, s := range samples {
			var err error
			if b, err = encode(append(b, "# "+s.name+"\n"...), &s.message); err != nil {
				t.Fatal(err)
			}
			b = append(b, '\n')
		}
		golden(t, name, b)
	}
}

// parseLEEF reads a message as IBM's documentation has it.
func parseLEEF(t *testing.T, message string) (header []string, attributes map[string]string) {
	t.Helper()
	parts := strings.SplitN(message, "|", 7)
	if len(parts) != 7 || parts[0] != "LEEF:2.0" || parts[5] != "x09" {
		t.Fatalf("no LEEF: %q", message)
	}
	attributes = map[string]string{}
	for _, attribute := range strings.Split(parts[6], "\t") {
		key, value, ok := strings.Cut(attribute, "=")
		if _, twice := attributes[key]; !ok || twice || !regexp.MustCompile(`^[A-Za-z]+$`).MatchString(key) {
			t.Errorf("attribute %q", attribute)
		}
		attributes[key] = value
	}
	return parts[1:5], attributes
}

func TestLEEF(t *testing.T) {
	m := grant("MemberAdd", nil)
	header, got := parseLEEF(t, string(appendLEEF(nil, &m)))
	if strings.Join(header, "|") != "Genesys|Genesys Cloud|1|Role:MemberAdd" {
		t.Errorf("header %q", header)
	}
	for key, want := range map[string]string{
		"devTime": "1788251415123", "sev": "6", "cat": "User Access Management: Assign Privileges", "usrName": "", "actorType": "system", "role": "Supervisor",
		"memberName": "Bob Builder", "division": "Berlin", "attack": "T1098.003", "isLoginEvent": "",
	} {
		if got[key] != want {
			t.Errorf("%s: %q, want %q", key, got[key], want)
		}
	}
	m = login("AuthenticationFailed")
	if _, got = parseLEEF(t, string(appendLEEF(nil, &m))); got["isLoginEvent"] != "true" || got["usrName"] != "Bob Builder" || got["outcome"] != "Failure" {
		t.Errorf("a login: %q", got)
	}
}

// forgeries would be a line, a field or another reading order in some format.
var forgeries = []string{
	"x\tusrName=root", "x\nLEEF:2.0|a|b|c|d|", "x|9|suser=root", "a=b suser=root", "x\r\n<13>1 - - -", "x\u2028<13>1", "x\u0085y", "\x1b[2Jx", "x\u202egpj.exe", "\\", "x\\",
	"\u2066x", "\ufeffCEF:0|", "\x00",
}

// TestTextForgesNothing puts every forgery into every text of an event, and finds the
// lines and fields as they are without it.
func TestTextForgesNothing(t *testing.T) {
	keys := func(m *consumer.Message) (cef, leef []string) {
		message := string(appendCEF(nil, m))
		header, extensions := parseCEF(t, message)
		if len(header) != 6 || strings.ContainsFunc(message, func(r rune) bool { return r != visible(r) }) {
			t.Errorf("CEF %q", message)
		}
		for key := range extensions {
			cef = append(cef, key)
		}
		line := string(appendLEEF(nil, m))
		_, attributes := parseLEEF(t, line)
		if strings.ContainsFunc(strings.ReplaceAll(line, "\t", ""), func(r rune) bool { return r != visible(r) }) {
			t.Errorf("LEEF %q", line)
		}
		for key := range attributes {
			leef = append(leef, key)
		}
		slices.Sort(cef)
		slices.Sort(leef)
		return cef, leef
	}
	fill := func(x string) consumer.Message {
		return grant("MemberUpdate", func(m *consumer.Message) {
			m.EntityType, m.Action, m.Type = "Role"+x, "MemberUpdate"+x, "MODIFIED"
			for _, field := range []**string{&m.UserID, &m.UserName, &m.ClientID, &m.EntityID, &m.EntityName, &m.Key, &m.Previous, &m.New, &m.ServiceName, &m.Level,
				&m.Application, &m.Message, &m.MemberID, &m.MemberName, &m.DivisionID, &m.DivisionName, &m.Status, &m.TransactionID} {
				*field = text("a" + x)
			}
			m.Context = map[string]string{x + "k": x}
		})
	}
	plain := fill("x")
	plainCEF, plainLEEF := keys(&plain)
	for _, x := range forgeries {
		m := fill(x)
		cef, leef := keys(&m)
		if !slices.Equal(cef, plainCEF) || !slices.Equal(leef, plainLEEF) {
			t.Errorf("%q makes other fields: %q, %q", x, cef, leef)
		}
		for _, name := range []string{"ecs", "ocsf"} {
			line, err := formats[name](nil, &m)
			if err != nil || bytes.ContainsAny(line, "\n\r") || !json.Valid(line) {
				t.Errorf("%s: %q, %v", name, line, err)
			}
		}
	}
}

func FuzzLEEF(f *testing.F) {
	for _, x := range forgeries {
		f.Add(x, x, x, x)
	}
	f.Add(strings.Repeat("ä|", 600), "b", strings.Repeat("=", 9000), strings.Repeat("\t", 9000))
	f.Fuzz(func(t *testing.T, entityType, action, key, value string) {
		m := sample(func(m *consumer.Message) {
			m.EntityType, m.Action, m.Key, m.New, m.Previous = entityType, action, &key, &value, &value
		})
		message := string(appendLEEF(nil, &m))
		if len(message) > cefBytes || strings.ContainsAny(message, "\n\r") {
			t.Fatalf("%d bytes: %q", len(message), message)
		}
		if _, attributes := parseLEEF(t, message); attributes["usrName"] != "Ada Admin" || attributes["externalId"] != m.ID {
			t.Errorf("attributes %q", attributes)
		}
	})
}

// TestECS: the names that Elastic gives, with values that it expects.
func TestECS(t *testing.T) {
	categories := map[string][]string{ // https://www.elastic.co/docs/reference/ecs/ecs-allowed-values-event-category
		"authentication": {"start", "end", "info"}, "session": {"start", "end", "info"}, "configuration": {"access", "change", "creation", "deletion", "info"},
		"iam": {"admin", "change", "creation", "deletion", "group", "info", "user"},
	}
	check := func(name string, m *consumer.Message) ecs {
		e := newECS(m)
		for _, category := range e["event.category"].([]string) {
			for _, kind := range e["event.type"].([]string) {
				if !slices.Contains(categories[category], kind) {
					t.Errorf("%s: type %q in category %q", name, kind, category)
				}
			}
		}
		return e
	}
	for _, s := range samples {
		check(s.name, &s.message)
	}
	for action := range classes().byAction {
		check(action, &consumer.Message{Change: consumer.Change{Action: action}})
	}
	m := grant("MemberAdd", func(m *consumer.Message) {
		m.UserID, m.UserName, m.DivisionID, m.DivisionName = text("u-1"), text("Ada Admin"), text("*"), nil
	})
	e := check("grant", &m)
	for name, want := range map[string]any{
		"event.action": "memberadd", "user.name": "Ada Admin", "user.target.name": "Bob Builder", "genesys.audit.role.name": "supervisor", "genesys.audit.division.id": "*",
		"genesys.audit.member.relation": "other", "message": `Ada Admin: MemberAdd of Role "Supervisor", member "Bob Builder" in "all divisions"`,
	} {
		if e[name] != want {
			t.Errorf("%s: %v, want %v", name, e[name], want)
		}
	}
}

// TestActorType: people, OAuth clients also where they stand in userId, the system.
func TestActorType(t *testing.T) {
	for want, c := range map[string][]consumer.Message{
		actorUser: {sample(nil), sample(func(m *consumer.Message) { m.ClientID = text("c") }), sample(func(m *consumer.Message) { m.UserID = nil })},
		actorClient: {sample(func(m *consumer.Message) { m.UserID, m.UserName, m.ClientID = nil, nil, text("c") }),
			sample(func(m *consumer.Message) { m.UserID, m.ClientID = text("c"), text("c") })},
		actorSystem: {sample(func(m *consumer.Message) { m.UserID, m.UserName = nil, nil })},
	} {
		for i := range c {
			if got := actorType(&c[i]); got != want {
				t.Errorf("%s %d: %s", want, i, got)
			}
		}
	}
}
