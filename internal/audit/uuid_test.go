package audit

import (
	"strings"
	"testing"
)

func TestUUIDSpelling(t *testing.T) {
	const canonical = "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0"
	u, ok := ParseUUID(canonical)
	if !ok || FormatUUID(u) != canonical {
		t.Fatalf("%q became %q (%v)", canonical, FormatUUID(u), ok)
	}
	for i := range canonical {
		for _, c := range []byte("gGF-0 \x00\xff`/:@") {
			b := []byte(canonical)
			b[i] = c
			if u, ok := ParseUUID(string(b)); ok && FormatUUID(u) != string(b) {
				t.Errorf("%q became %q", b, FormatUUID(u))
			}
		}
	}
	if _, ok := ParseUUID(strings.ToUpper(canonical)); ok {
		t.Error("an upper-case UUID is another id than the lower-case one")
	}
}
