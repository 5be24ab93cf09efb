package codec

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
)

func TestBuiltinMappings(t *testing.T) {
	mappings, err := BuiltinMappings()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"Role", "User", "Queue", "Flow", "Skill", "Group", "Integration", "OAuthClient", "Campaign", "Trunk", "Edge", "Schedule", "DataTable",
	} {
		for _, spelling := range []string{want, strings.ToLower(want[:1]) + want[1:], strings.ToUpper(want)} {
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

func TestWrongMappings(t *testing.T) {
	for text, want := range map[string]string{
		"":                                                       "entityType is missing",
		"paths: [a]":                                             "entityType is missing",
		"entityType: Y\nsets: [a]":                               "sets has a, which paths has not",
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
	for entityType, n := range map[string]int{"Queue": 2, "queue": 1, "Webhook": 3, "webhook": 1, "": 4, "Élan": 1} {
		for range n {
			ev := scan(t, fmt.Sprintf(`{"entityType":%q}`, entityType))
			e.Normalise(&ev, readAt)
		}
	}
	for _, none := range []string{`{}`, `{"entityType":null}`, `{"entityType":{}}`} {
		ev := scan(t, none)
		e.Normalise(&ev, readAt)
	}
	if got, want := e.Unmapped(), map[string]uint64{"Webhook": 3, "webhook": 1, "Élan": 1}; !maps.Equal(got, want) {
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
