package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"genesys-audit-connector/examples/consumer"
)

var update = flag.Bool("update", false, "write the golden files anew")

func text(s string) *string { return &s }

// sample is a change like most; edit makes it another one.
func sample(edit func(*consumer.Message)) consumer.Message {
	m := consumer.Message{
		ID: "6d5cbf4f-9a52-4bd6-8b0a-3f6a1f6f2f61:0", Org: "acme",
		Change: consumer.Change{
			AuditID: "6d5cbf4f-9a52-4bd6-8b0a-3f6a1f6f2f61", Count: 1, Time: time.Date(2026, 9, 1, 8, 30, 15, 123e6, time.UTC),
			UserID: text("u-1"), UserName: text("Ada Admin"), Action: "Update", EntityType: "Queue", EntityID: text("q-1"), EntityName: text("Billing"),
			Key: text("acwSettings.timeoutMs"), Type: "MODIFIED", Previous: text("15000"), New: text("30000"), PreviousType: "NUMBER", NewType: "NUMBER",
			OrgID: text("org-1"), ServiceName: text("Routing"), Status: text("SUCCESS"), Level: text("USER"), RemoteIP: []string{"192.0.2.7", "198.51.100.1"},
		},
	}
	if edit != nil {
		edit(&m)
	}
	return m
}

func role(action string) consumer.Message {
	return sample(func(m *consumer.Message) {
		m.EntityType, m.Action, m.EntityID, m.EntityName = "Role", action, text("r-1"), text("u-2--r-1--org-1")
		m.Key, m.Type, m.Previous, m.New, m.PreviousType, m.NewType = nil, "NONE", nil, nil, "ABSENT", "ABSENT"
		m.Context = map[string]string{"userId": "u-2", "roleId": "r-1", "orgId": "org-1", "roleName": "Master Admin", "memberName": "Bob Builder"}
	})
}

// grant is a grant as live organisations show it, with the names looked up.
func grant(action string, edit func(*consumer.Message)) consumer.Message {
	return sample(func(m *consumer.Message) {
		m.EntityType, m.Action, m.EntityID, m.EntityName, m.ServiceName = "Role", action, text("r-1"), text("Supervisor"), text("PeoplePermissions")
		m.UserID, m.UserName, m.RemoteIP, m.Level = nil, nil, nil, text("SYSTEM")
		m.Key, m.Type, m.Previous, m.New, m.PreviousType, m.NewType = text("members"), "ADDED", nil, text("u-2"), "ABSENT", "STRING"
		if action == "MemberRemove" {
			m.Type, m.Previous, m.New, m.PreviousType, m.NewType = "REMOVED", text("u-2"), nil, "STRING", "ABSENT"
		}
		m.MemberID, m.MemberName, m.MemberType, m.DivisionID, m.DivisionName = text("u-2"), text("Bob Builder"), text("user"), text("d-1"), text("Berlin")
		m.ResolvedNames = []string{"entityName", "memberName", "divisionName"}
		m.Context = map[string]string{"userId": "u-2", "roleId": "r-1", "orgId": "d-1"}
		if edit != nil {
			edit(m)
		}
	})
}

func membership(changeType string) consumer.Message {
	return sample(func(m *consumer.Message) {
		m.EntityType, m.EntityID, m.EntityName, m.ServiceName = "DirectoryGroup", text("g-1"), text("Night shift"), text("Groups")
		m.Key, m.Type, m.Previous, m.New = text("group-membership"), changeType, nil, text("u-2")
		m.MemberID, m.MemberName, m.MemberType = text("u-2"), text("Bob Builder"), text("user")
		m.Context = map[string]string{"correlationId": "1"}
	})
}

func login(action string) consumer.Message {
	return sample(func(m *consumer.Message) {
		m.EntityType, m.Action, m.EntityID, m.EntityName, m.ServiceName = "AuthUser", action, text("u-2"), text("Bob Builder"), text("PeoplePermissions")
		m.Key, m.Type, m.Previous, m.New, m.PreviousType, m.NewType = nil, "NONE", nil, nil, "ABSENT", "ABSENT"
		if action == "AuthenticationFailed" {
			m.UserID, m.UserName, m.Status, m.Message = nil, nil, text("FAILURE"), text("Invalid login credentials")
		}
	})
}

// samples are by name what the golden files show.
var samples = []struct {
	name     string
	message  consumer.Message
	class    int
	activity int
}{
	{"queue updated", sample(nil), 3004, 3},
	{"queue deleted, by a client, from IPv6", sample(func(m *consumer.Message) {
		m.Action, m.Type, m.New, m.NewType = "Delete", "REMOVED", nil, "ABSENT"
		m.UserID, m.UserName, m.ClientID, m.RemoteIP = nil, nil, text("client-1"), []string{"2001:db8::1"}
	}), 3004, 4},
	{"flow published", sample(func(m *consumer.Message) { m.EntityType, m.Action = "Flow", "Publish" }), 3004, 8},
	{"role granted", role("MemberAdd"), 3005, 1},
	{"role taken", role("MemberRemove"), 3005, 2},
	{"membership changed", role("MemberUpdate"), 3005, 99},
	{"role granted, no names (dialect query)", func() consumer.Message {
		m := role("MemberAdd")
		m.EntityType, m.UserName, m.Context = "role", nil, map[string]string{"userId": "u-2", "roleId": "r-1"}
		return m
	}(), 3005, 1},
	{"role edited", sample(func(m *consumer.Message) { m.EntityType, m.Key = "Role", text("permissions") }), 3004, 3},
	{"user made", sample(func(m *consumer.Message) {
		m.EntityType, m.Action, m.Key, m.Type, m.ServiceName = "User", "Create", text("name"), "ADDED", text("Directory")
	}), 3001, 1},
	{"user disabled", sample(func(m *consumer.Message) {
		m.EntityType, m.Key, m.Previous, m.New = "user", text("state"), text("active"), text("inactive")
	}), 3001, 5},
	{"user enabled", sample(func(m *consumer.Message) { m.EntityType, m.Key, m.New = "user", text("state"), text("active") }), 3001, 2},
	{"user's title", sample(func(m *consumer.Message) { m.EntityType, m.Key = "User", text("title") }), 3004, 3},
	{"role granted, as live organisations show it", grant("MemberAdd", nil), 3005, 1},
	{"role granted to oneself", grant("MemberAdd", func(m *consumer.Message) { m.UserID, m.UserName, m.Level = m.MemberID, m.MemberName, text("USER") }), 3005, 1},
	{"role granted to a group", grant("MemberAdd", func(m *consumer.Message) { m.MemberType, m.MemberName = text("group"), text("Night shift") }), 3006, 1},
	{"role taken from a group", grant("MemberRemove", func(m *consumer.Message) { m.MemberType = text("group") }), 3006, 2},
	{"member joined a group", membership("ADDED"), 3006, 3},
	{"member left a group", membership("REMOVED"), 3006, 4},
	{"member came or went", membership("MODIFIED"), 3006, 99},
	{"group made", sample(func(m *consumer.Message) { m.EntityType, m.Action = "DirectoryGroup", "Create" }), 3006, 6},
	{"login", login("Authenticate"), 3002, 1},
	{"login failed", login("AuthenticationFailed"), 3002, 1},
	{"logout", login("SingleLogout"), 3002, 2},
	{"login by SAML", sample(func(m *consumer.Message) {
		m.EntityType, m.Action, m.Key, m.Type = "UserSamlAuthentication", "Authenticate", nil, "NONE"
	}), 3002, 1},
	{"password changed", login("ChangePassword"), 3001, 3},
	{"second factor gone", sample(func(m *consumer.Message) { m.EntityType, m.Action = "MFAVerifier", "Delete" }), 3001, 11},
	{"client made by a client that stands in userId", sample(func(m *consumer.Message) {
		m.EntityType, m.Action, m.UserID, m.ClientID, m.UserName = "OAuthClient", "Create", text("c-1"), text("c-1"), text("Terraform pipeline")
		m.ResolvedNames = []string{"userName"}
	}), 3004, 1},
	{"trust", sample(func(m *consumer.Message) {
		m.EntityType, m.Action, m.ServiceName = "OrganizationAuthorizationTrust", "Create", text("PeoplePermissions")
	}), 3004, 1},
	{"failed", sample(func(m *consumer.Message) { m.Status = text("FAILURE") }), 3004, 3},
	{"warning", sample(func(m *consumer.Message) { m.Status = text("WARNING") }), 3004, 3},
	{"nothing known", consumer.Message{ID: "sha256:ab:0", Change: consumer.Change{AuditID: "sha256:ab", Count: 1, Time: time.UnixMilli(0).UTC(), Type: "NONE", PreviousType: "ABSENT", NewType: "ABSENT"}}, 3004, 0},
	{"hostile", sample(func(m *consumer.Message) {
		m.EntityType, m.Action = "Que|ue\\", "Up\ndate"
		m.EntityName, m.Key, m.Previous = text("a=b\\c|d"), text("o[\"a.b\"].\r\nc"), text("line 1\nline 2\r\n= \x00 \\")
		m.RemoteIP = []string{"not an address", "::ffff:192.0.2.1", "fe80::1%eth0"}
		m.Context = map[string]string{"=": "\n"}
	}), 3004, 99},
	{"long", sample(func(m *consumer.Message) { m.New = text(strings.Repeat("ä=", 4000)) }), 3004, 3},
}

func TestClass(t *testing.T) {
	for _, s := range samples {
		e := newOCSF(&s.message)
		if e.ClassUID != s.class || e.ActivityID != s.activity || e.TypeUID != 100*s.class+s.activity {
			t.Errorf("%s: class %d, activity %d, type %d", s.name, e.ClassUID, e.ActivityID, e.TypeUID)
		}
	}
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is not as it was; see with -update what changed:\n%s", path, got)
	}
}

func TestGoldenOCSF(t *testing.T) {
	var b bytes.Buffer
	for _, s := range samples {
		b.WriteString("# " + s.name + "\n")
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(false)
		e.SetIndent("", "  ")
		if err := e.Encode(newOCSF(&s.message)); err != nil {
			t.Fatal(err)
		}
	}
	golden(t, "ocsf.golden", b.Bytes())
}

func TestGoldenSyslog(t *testing.T) {
	s := testSyslog(t, syslogConfig{Address: "127.0.0.1:514", Framing: "newline"})
	var b []byte
	for _, c := range samples {
		message, err := s.appendMessage(nil, &c.message)
		if err != nil {
			t.Fatal(err)
		}
		b = append(append(b, "# "+c.name+"\n"...), append(message, '\n')...)
	}
	golden(t, "syslog.golden", b)
}

// parseCEF reads a message as the standard says, by other means than it was written.
func parseCEF(t *testing.T, message string) (header []string, extensions map[string]string) {
	t.Helper()
	parts := regexp.MustCompile(`^CEF:0((?:\|(?:[^|\\]|\\[|\\])*){6})\|(.*)$`).FindStringSubmatch(message)
	if parts == nil {
		t.Errorf("no CEF: %q", message)
		return nil, nil
	}
	unescape := func(s string) string {
		return regexp.MustCompile(`\\(.)`).ReplaceAllStringFunc(s, func(e string) string {
			if e == `\n` {
				return "\n"
			}
			return e[1:]
		})
	}
	for _, field := range regexp.MustCompile(`\|((?:[^|\\]|\\[|\\])*)`).FindAllStringSubmatch(parts[1], -1) {
		header = append(header, unescape(field[1]))
	}
	extensions = map[string]string{}
	keys := regexp.MustCompile(`(?:^| )([A-Za-z0-9]+)=`)
	rest := parts[2]
	starts := keys.FindAllStringSubmatchIndex(rest, -1)
	for i, at := range starts {
		end := len(rest)
		if i+1 < len(starts) {
			end = starts[i+1][0]
		}
		key := rest[at[2]:at[3]]
		if _, twice := extensions[key]; twice {
			t.Errorf("%s twice in %q", key, message)
		}
		extensions[key] = unescape(rest[at[1]:end])
	}
	return header, extensions
}

func FuzzCEF(f *testing.F) {
	for _, s := range samples {
		f.Add(s.message.EntityType, s.message.Action, consumer.Text(s.message.Key), consumer.Text(s.message.New), s.message.ID)
	}
	f.Add("a", "b", " c1=x", "\\= msg=y\\", "id")
	f.Add(strings.Repeat("|", 600), strings.Repeat("\\", 600), strings.Repeat("=", 600), strings.Repeat("\\", 9000), strings.Repeat("=", 520))
	f.Fuzz(func(t *testing.T, entityType, action, key, value, id string) {
		id = strings.ToValidUTF8(id[:min(len(id), 520)], "")
		m := sample(func(m *consumer.Message) {
			m.EntityType, m.Action, m.Key, m.New, m.ID = entityType, action, &key, &value, id
			m.Previous, m.EntityName = &value, &key
		})
		message := string(appendCEF(nil, &m))
		if strings.ContainsFunc(message, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			t.Fatalf("a control character in %q", message)
		}
		if len(message) > cefBytes {
			t.Fatalf("%d bytes", len(message))
		}
		header, extensions := parseCEF(t, message)
		if header[0] != "Genesys" || len(header) != 6 {
			t.Errorf("header %q", header)
		}
		lines := strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(id)
		want := strings.Split(lines, "\n")
		for i := range want {
			want[i] = oneLine(want[i])
		}
		if got := extensions["externalId"]; got != strings.Join(want, "\n") {
			t.Errorf("externalId %q of %q", got, id)
		}
		if extensions["suser"] != "Ada Admin" || extensions["cn2"] != "1" {
			t.Errorf("extensions %q", extensions)
		}
		for k := range extensions {
			if strings.HasPrefix(k, "c1") && k != "c1" {
				t.Errorf("extension %q was smuggled in", k)
			}
		}
	})
}

// TestSyslogHeader reads the header as RFC 5424, 6 has it.
func TestSyslogHeader(t *testing.T) {
	s := testSyslog(t, syslogConfig{Address: "127.0.0.1:514", Framing: "newline", Hostname: "siem host\x01", AppName: strings.Repeat("x", 60)})
	for _, c := range samples {
		message, err := s.appendMessage(nil, &c.message)
		m := regexp.MustCompile(`^<(\d{1,3})>1 (\S+) ([!-~]{1,255}) ([!-~]{1,48}) - audit - CEF:`).FindStringSubmatch(string(message))
		if m == nil || err != nil {
			t.Fatalf("%s: %q %v", c.name, message, err)
		}
		if at, err := time.Parse(time.RFC3339Nano, m[2]); err != nil || !at.Equal(c.message.Time) {
			t.Errorf("%s: time %s", c.name, m[2])
		}
		if pri, _ := strconv.Atoi(m[1]); pri/8 != 13 || m[3] != "siemhost" {
			t.Errorf("%s: %q", c.name, m[0])
		}
	}
}

// TestSame makes an event twice: repeats must be the same in every byte.
func TestSame(t *testing.T) {
	for _, s := range samples {
		first, err := json.Marshal(newOCSF(&s.message))
		if err != nil {
			t.Fatal(err)
		}
		second, _ := json.Marshal(newOCSF(&s.message))
		if !bytes.Equal(first, second) || !bytes.Contains(first, []byte(`"uid":"`+s.message.ID+`"`)) {
			t.Errorf("%s:\n%s\n%s", s.name, first, second)
		}
	}
}
