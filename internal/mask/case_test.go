package mask

import "testing"

// TestHiddenTextsInAnyCase, also where the first letters are none of ASCII's, whose other
// case differs in more than a bit.
func TestHiddenTextsInAnyCase(t *testing.T) {
	t.Parallel()
	rules, err := New([]Rule{{Action: Mask}}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, pair := range [][2]string{
		{"Łukasz Nowak", "łUKASZ nowak"}, {"łukasz nowak", "ŁUKASZ NOWAK"}, {"Роман Иванов", "РОМАН ИВАНОВ"}, {"РОМАН ИВАНОВ", "роман иванов"},
		{"Ärzte Müller", "ärzte MÜLLER"}, {"Jürgen", "JÜRGEN"}, {"Ángel Gómez", "ángel gómez"}, {"Ωμέγα Π", "ωΜΈΓΑ π"},
		{"𐐀", "𐐨"},
	} {
		m := rules.Matcher()
		m.Begin([]byte("User"))
		m.Conceal([]byte(pair[0]), Mask)
		if got, _ := m.AppendClean(nil, []byte("by "+pair[1]+" today")); string(got) != "by *** today" {
			t.Errorf("%q is hidden, and shown is %q", pair[0], got)
		}
	}
}
