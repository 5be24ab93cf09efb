package codec

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"github.com/goccy/go-yaml"
)

func TestBuiltinMappings(t *testing.T) {
	mappings := builtin(t)
	for name, want := range map[string]string{
		"Role": "", "User": "", "Queue": "", "Flow": "", "Integration": "", "OAuthClient": "", "Campaign": "", "Trunk": "", "Edge": "", "Schedule": "",
		"Skill": "RoutingSkill", "Group": "DirectoryGroup", "DataTable": "Schema", // what the simulated organisation calls them
	} {
		want = cmp.Or(want, name)
		for _, spelling := range []string{name, strings.ToLower(name[:1]) + name[1:], strings.ToUpper(name), want} {
			if m := mappings.of([]byte(spelling)); m == nil || m.EntityType != want {
				t.Errorf("the mapping of %s is %v", spelling, m)
			}
		}
	}
	for _, unknown := range []string{"", "Roles", "Rol", strings.Repeat("Role", 100), "ROLÉ"} {
		if m := mappings.of([]byte(unknown)); m != nil {
			t.Errorf("%q has the mapping of %s", unknown, m.EntityType)
		}
	}
}

func builtin(t *testing.T) *Mappings {
	t.Helper()
	mappings, err := BuiltinMappings()
	if err != nil {
		t.Fatal(err)
	}
	return mappings
}

// every are the mappings, each once.
func (all *Mappings) every() []*Mapping {
	var list []*Mapping
	for key, m := range all.byType {
		if strings.EqualFold(key, m.EntityType) {
			list = append(list, m)
		}
	}
	return list
}

// TestMappingsHaveTheVendorsNames: schemas/sdk_names.yaml is the vendor's SDK's
// list; a name that is not in it is an alias.
func TestMappingsHaveTheVendorsNames(t *testing.T) {
	text, err := os.ReadFile("../../schemas/sdk_names.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var sdk struct {
		Services, Actions []string
		EntityTypes       []string `yaml:"entityTypes"`
	}
	if err := yaml.Unmarshal(text, &sdk); err != nil {
		t.Fatal(err)
	}
	if len(sdk.Services) != 61 || len(sdk.EntityTypes) != 285 || len(sdk.Actions) != 138 {
		t.Fatalf("%d services, %d entity types, %d actions", len(sdk.Services), len(sdk.EntityTypes), len(sdk.Actions))
	}
	mappings := builtin(t)
	for _, m := range mappings.every() {
		if !slices.Contains(sdk.EntityTypes, m.EntityType) {
			t.Errorf("the vendor has no entity type %s", m.EntityType)
		}
		for _, alias := range m.Aliases {
			if slices.Contains(sdk.EntityTypes, alias) {
				t.Errorf("%s is a type of the vendor's, and no alias of %s", alias, m.EntityType)
			}
		}
		if m.Name != nil {
			for _, action := range m.Name.Actions {
				if !slices.Contains(sdk.Actions, action) {
					t.Errorf("the vendor has no action %s", action)
				}
			}
		}
		if len(m.Paths) == 0 && m.EntityType != "UserSamlAuthentication" { // a login changes nothing
			t.Errorf("%s has no paths", m.EntityType)
		}
	}
	for _, wanted := range strings.Fields(`DirectoryGroup SkillGroup Team RoutingSkill Schema Row OAuthClient AccessToken IdentityProvider
		OrganizationAuthorizationTrust Policy MFAVerifier AuthUser UserSamlAuthentication Flow Prompt Queue WrapupCode Trunk DID Edge Campaign
		ContactList Integration Action Credential RecordingKeyConfig`) {
		if mappings.of([]byte(wanted)) == nil {
			t.Errorf("%s has no mapping", wanted)
		}
	}
	if n := len(mappings.every()); n < 40 {
		t.Errorf("%d mappings", n)
	}
}

// TestSetsOfEveryMapping: an array in another order is a change, unless its
// mapping calls it a set.
func TestSetsOfEveryMapping(t *testing.T) {
	for _, m := range builtin(t).every() {
		for _, path := range m.Paths {
			got, _ := changes(t, fmt.Sprintf(`{"entityType":%q,"before":{%[2]q:[1,2]},"after":{%[2]q:[2,1]}}`, m.EntityType, path))
			want := "REORDERED"
			if slices.Contains(m.Sets, path) {
				want = "NONE"
			}
			if got[0].Type != want {
				t.Errorf("%s of a %s in another order: %s, want %s", path, m.EntityType, got[0].Type, want)
			}
		}
	}
}

func TestSecretsAndPersonalDataAreNamed(t *testing.T) {
	mappings := builtin(t)
	for name, want := range map[string]struct{ secrets, personal string }{
		"OAuthClient": {"secret", ""}, "Credential": {"credentialFields", ""}, "MFAVerifier": {"credential", ""},
		"RecordingKeyConfig": {"apiKey", ""}, "AuthUser": {"newPassword oldPassword", ""}, "Row": {"", "*"}, "Queue": {"", ""},
		"User": {"", "name email username addresses primaryContactInfo images biography employerInfo preferredName certifications geolocation"},
	} {
		m := mappings.of([]byte(name))
		if secrets, personal := strings.Join(m.Secrets, " "), strings.Join(m.Personal, " "); secrets != want.secrets || personal != want.personal {
			t.Errorf("%s: secrets %s, personal %s", name, secrets, personal)
		}
	}
}

func TestWrongMappings(t *testing.T) {
	for text, want := range map[string]string{
		"":                         "entityType is missing",
		"paths: [a]":               "entityType is missing",
		"entityType: Y\nsets: [a]": "a is listed in sets but not in paths",
		"entityType: Y\npaths: [a]\nsecrets: [b.a]":              "b.a is listed in secrets but not in paths",
		"entityType: Y\npersonal: [b]":                           "b is listed in personal but not in paths",
		"entityType: Y\naliases: [x]":                            "there is another one of entityType x",
		"entityType: Y\naliases: [y]":                            "there is another one of entityType y",
		"entityType: Y\naliases: [\"\"]":                         "entityType is missing",
		"entityType: Y\npath: [a]":                               "path",
		"entityType: [":                                          "",
		"entityType: Y\npaths: a":                                "",
		"entityType: x\nname: {pattern: <a>}":                    "there is another one of entityType x",
		"entityType: Y\nname: {pattern: \"\"}":                   "an id in angle brackets is expected",
		"entityType: Y\nname: {pattern: a}":                      "an id in angle brackets is expected",
		"entityType: Y\nname: {pattern: <a}":                     "an id in angle brackets is expected",
		"entityType: Y\nname: {pattern: <>}":                     "an id in angle brackets is expected",
		"entityType: Y\nname: {pattern: <a><b>}":                 "text between two ids is expected",
		"entityType: Y\nname: {pattern: <a>-}":                   "text between two ids is expected",
		"entityType: Y\nname: {pattern: <a>-b>}":                 "text between two ids is expected",
		"entityType: Y\nname: {pattern: <a>-<b}":                 "an id in angle brackets is expected",
		"entityType: Y\nname: {pattern: <a>, actions: {a: [b]}}": "",
	} {
		_, err := LoadMappings(fstest.MapFS{
			"entities/a.yaml": {Data: []byte("entityType: X\npaths: [a]\nsets: [a]\n")},
			"entities/b.yaml": {Data: []byte(text)},
		})
		if !errors.Is(err, ErrMapping) || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "b.yaml") {
			t.Errorf("%q: error %v, want %q", text, err, want)
		}
	}
	unreadable := fstest.MapFS{"entities/a.yaml": {Mode: fs.ModeDir}}
	if _, err := LoadMappings(unreadable); err == nil {
		t.Error("a directory is taken for a mapping")
	}
}

func TestNamePatterns(t *testing.T) {
	for _, c := range []struct{ pattern, name, want string }{
		{"<a>", "x", "a=x"},
		{"<a>--<b>", "x--y", "a=x b=y"},
		{"<a>:<b>/<c>", "x:y/z", "a=x b=y c=z"},
		{"<a>:<b>/<c>", "x:y:y/z", "a=x b=y:y c=z"},
		{"<a>:<b>/<c>", "x/y:z", ""},
		{"<a>--<b>", "x", ""},
		{"<a>--<b>", "--y", ""},
		{"<a>--<b>", "x--", ""},
		{"<a>--<b>", "x--y--z", ""},
		{"<a>", "", ""},
	} {
		mappings, err := LoadMappings(fstest.MapFS{
			"entities/x.yaml": {Data: fmt.Appendf(nil, "entityType: X\nname: {actions: [Do], pattern: %q}\n", c.pattern)},
		})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, p := range mappings.of([]byte("x")).appendIDs(nil, []byte("Do"), []byte(c.name)) {
			got = append(got, fmt.Sprintf("%s=%s", p.key, p.value))
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s in %q: %q, want %q", c.pattern, c.name, got, c.want)
		}
	}
}

func TestUnmapped(t *testing.T) {
	e := newTestEncoder(t)
	if len(e.Unmapped()) != 0 {
		t.Errorf("unmapped at first: %v", e.Unmapped())
	}
	for entityType, n := range map[string]int{"Queue": 2, "queue": 1, "Gizmo": 3, "gizmo": 1, "": 4, "Élan": 1} {
		for range n {
			ev := scan(t, fmt.Sprintf(`{"entityType":%q}`, entityType))
			e.Normalise(&ev, readAt)
		}
	}
	for _, none := range []string{`{}`, `{"entityType":null}`, `{"entityType":{}}`} {
		ev := scan(t, none)
		e.Normalise(&ev, readAt)
	}
	if got, want := e.Unmapped(), map[string]uint64{"Gizmo": 3, "gizmo": 1, "Élan": 1}; !maps.Equal(got, want) {
		t.Errorf("unmapped %v, want %v", got, want)
	}
}

// TestUnmappedIsBounded: names without end, and asked for from another goroutine.
func TestUnmappedIsBounded(t *testing.T) {
	e := newTestEncoder(t)
	var asking sync.WaitGroup
	stop := make(chan struct{})
	asking.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				e.Unmapped()
			}
		}
	})
	const events = 10_000
	for i := range events {
		ev := scan(t, fmt.Sprintf(`{"entityType":"Type %d%s"}`, i, strings.Repeat("x", i%100)))
		e.Normalise(&ev, readAt)
	}
	close(stop)
	asking.Wait()
	counts := e.Unmapped()
	total := uint64(0)
	for name, n := range counts {
		total += n
		if len(name) > talliedTypeBytes {
			t.Errorf("name of %d bytes", len(name))
		}
	}
	if len(counts) > talliedTypes+1 || total != events {
		t.Errorf("%d names, %d events of %d", len(counts), total, events)
	}
	if _, has := counts[otherTypes]; !has {
		t.Errorf("no %q among %v", otherTypes, slices.Collect(maps.Keys(counts)))
	}
}
