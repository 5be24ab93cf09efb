package codec

import (
	"encoding/json"
	"fmt"
	"iter"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"genesys-audit-connector/internal/audit"
)

// phoneBook has names by "kind id", such as "r role-1", of kinds by their letter.
type phoneBook map[string]string

var kindLetters = map[string]audit.Kind{"u": audit.UserKind, "c": audit.ClientKind, "g": audit.GroupKind,
	"r": audit.RoleKind, "q": audit.QueueKind, "d": audit.DivisionKind, "a": actorKinds}

func (b phoneBook) NameOf(kinds audit.Kind, id []byte) (audit.Name, bool) {
	for letter, kind := range kindLetters {
		if text, ok := b[letter+" "+string(id)]; ok && kinds&kind != 0 {
			return audit.Name{Text: text, Kind: kind}, true
		}
	}
	return audit.Name{}, false
}

// namedChanges are the changes of an event whose ids are looked up in a book.
func namedChanges(t *testing.T, book audit.Names, event string) []audit.Change {
	t.Helper()
	ev := scan(t, event)
	e := newTestEncoder(t)
	e.Observe(slices.Values([]*audit.Event{&ev}), book)
	decoder, err := NewDecoder(nil)
	if err != nil {
		t.Fatal(err)
	}
	values, _ := records(e, &ev)
	var all []audit.Change
	for _, value := range values {
		c, err := decoder.Decode(value)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, c)
	}
	return all
}

// A record has the names of the ids that the event has no name for, and says which
// of its fields do not come from the event.
func TestNamesThatWereLookedUp(t *testing.T) {
	book := phoneBook{"a who": "Ann or Robot", "u ann": "Ann", "u bob": "Bob", "c bot": "Robot", "g team": "Team", "r role": "Supervisor", "q queue": "Support", "d div": "Berlin"}
	const grant = `"action":"MemberAdd","entityType":"Role","entity":{"id":"role","name":"SUBJECT--role--DIVISION"}`
	grantOf := func(subject, division string) string {
		return strings.NewReplacer("SUBJECT", subject, "DIVISION", division).Replace(grant)
	}
	for name, c := range map[string]struct{ event, want string }{
		"a grant by the system": {`"level":"SYSTEM","user":{},` + grantOf("bob", "div"),
			"user= entity=Supervisor member=user Bob division=Berlin resolved=entityName memberType memberName divisionName"},
		"a grant by somebody, in all divisions": {`"user":{"id":"ann"},` + grantOf("bob", "*"),
			"user=Ann entity=Supervisor member=user Bob division= resolved=userName entityName memberType memberName"},
		"to a group":                 {grantOf("team", "div"), "user= entity=Supervisor member=group Team division=Berlin resolved=entityName memberType memberName divisionName"},
		"to an OAuth client":         {grantOf("bot", "?"), "user= entity=Supervisor member=client Robot division= resolved=entityName memberType memberName"},
		"to a user or client":        {grantOf("who", "?"), "user= entity=Supervisor member= Ann or Robot division= resolved=entityName memberName"},
		"to somebody unknown":        {grantOf("eve", "?"), "user= entity=Supervisor member=  division= resolved=entityName"},
		"names in the context":       {`"context":{"roleName":"Own","memberName":"Robert"},` + grantOf("bob", "div"), "user= entity=Own member=user Robert division=Berlin resolved=memberType divisionName"},
		"a client in a user's place": {`"action":"Update","user":{"id":"bot"},"entityType":"Queue","entity":{"id":"queue","name":"Its own"}`, "user=Robot entity=Its own member=  division= resolved=userName"},
		"names of the event":         {`"userId":"ann","userName":"Anna","entityType":"queue","entityId":"queue","entityName":"Old"`, "user=Anna entity=Old member=  division= resolved="},
		"an empty name":              {`"user":{"id":"ann","name":""},"entityType":"DirectoryGroup","entity":{"id":"team","name":""}`, "user=Ann entity=Team member=  division= resolved=userName entityName"},
		"another kind's id":          {`"user":{"id":"role"},"entityType":"DirectoryGroup","entity":{"id":"queue"}`, "user= entity= member=  division= resolved="},
		"a type without names":       {`"entityType":"Trunk","entity":{"id":"ann"}`, "user= entity= member=  division= resolved="},
		"a user of the directory":    {`"entityType":"User","entity":{"id":"ann"}`, "user= entity=Ann member=  division= resolved=entityName"},
		"a member of a queue": {`"entityType":"Queue","entity":{"id":"queue","name":"Q"},"propertyChanges":[{"property":"QueueMember/queue:bob","newValues":["<queue member added>"]}]`,
			"user= entity=Q member=user Bob division= resolved=memberName"},
		"a member of a group": {`"entityType":"DirectoryGroup","entity":{"id":"team","name":""},"propertyChanges":[{"property":"group-membership","oldValues":[],"newValues":["[bob]"]}]`,
			"user= entity=Team member=user Bob division= resolved=entityName memberType memberName"},
	} {
		got := namedChanges(t, book, `{"auditId":"x",`+c.event+`}`)
		first := got[0]
		line := fmt.Sprintf("user=%s entity=%s member=%s %s division=%s resolved=%s", refOr(first.UserName), refOr(first.EntityName),
			refOr(first.MemberType), refOr(first.MemberName), refOr(first.DivisionName), strings.Join(first.ResolvedNames, " "))
		if line != c.want || len(got) != 1 {
			t.Errorf("%s: %s, want %s", name, line, c.want)
		}
		// Nothing else of the record depends on names.
		for _, field := range first.ResolvedNames {
			*map[string]**string{"userName": &first.UserName, "entityName": &first.EntityName, "memberType": &first.MemberType,
				"memberName": &first.MemberName, "divisionName": &first.DivisionName}[field] = nil
		}
		first.ResolvedNames = nil
		if plain := namedChanges(t, nil, `{"auditId":"x",`+c.event+`}`); asJSON(plain) != asJSON([]audit.Change{first}) {
			t.Errorf("%s: without names %s, with them %s", name, asJSON(plain), asJSON(first))
		}
	}
}

// The records of one event may be about several members: each has its own name.
func TestEachMemberHasItsName(t *testing.T) {
	got := namedChanges(t, phoneBook{"u a": "Ann", "u c": "Cid"}, `{"auditId":"x","action":"Update","entityType":"DirectoryGroup","entity":{"id":"g"},
		"propertyChanges":[{"property":"group-membership","newValues":["[a, b, c]"]}]}`)
	var lines []string
	for _, c := range got {
		lines = append(lines, refOr(c.MemberID)+"="+refOr(c.MemberName)+strings.Join(c.ResolvedNames, "+"))
	}
	if want := "a=AnnmemberType+memberName b= c=CidmemberType+memberName"; strings.Join(lines, " ") != want {
		t.Errorf("got %q, want %q", lines, want)
	}
}

// askedFor notes what is asked for, and knows everybody.
type askedFor map[string]bool

func (a askedFor) NameOf(kinds audit.Kind, id []byte) (audit.Name, bool) {
	a[fmt.Sprint(int(kinds), " ", string(id))] = true
	return audit.Name{Text: "somebody", Kind: kinds & -kinds}, true
}

// Whatever an event is, the Asker asks for every name that the Encoder then needs:
// one that it did not ask for would never be there.
func TestAskerAsksForWhatTheEncoderNeeds(t *testing.T) {
	asker, err := NewAsker()
	if err != nil {
		t.Fatal(err)
	}
	needed, events := 0, 0
	for event := range allEvents(t) {
		ev := scan(t, event)
		asked, needs := askedFor{}, askedFor{}
		asker.Ask(&ev, asked, func(audit.Kind, []byte, []byte) {})
		e := newTestEncoder(t)
		e.Observe(slices.Values([]*audit.Event{&ev}), needs)
		records(e, &ev)
		for id := range needs {
			if needed++; !asked[id] {
				t.Errorf("%q is needed and was not asked for: %s", id, event)
			}
		}
		events++
	}
	if needed < events/10 || needed < 100 {
		t.Errorf("only %d names were needed by %d events", needed, events)
	}
}

// allEvents are those of the golden files, and random ones.
func allEvents(t *testing.T) iter.Seq[string] {
	files, err := filepath.Glob("testdata/events/*.json")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	return func(yield func(string) bool) {
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var events []json.RawMessage
			if err := json.Unmarshal(text, &events); err != nil {
				t.Fatal(file, err)
			}
			for _, event := range events {
				if !yield(string(event)) {
					return
				}
			}
		}
		for _, kind := range []string{"Role", "Queue", "DirectoryGroup", "User", "Trunk"} {
			for _, action := range []string{"MemberAdd", "MemberRemove", "Update", "Create"} {
				for _, change := range []string{`{"property":"QueueMember/q:u","newValues":["x"]}`, `{"property":"queueId:q:members","oldValues":["queueMember:u"]}`,
					`{"property":"group-membership","newValues":["[u1, u2]"]}`, `{"property":"group-membership","oldValues":["a"],"newValues":["b","c"]}`, ``} {
					if !yield(fmt.Sprintf(`{"id":"x","action":%q,"user":{"id":"a"},"entityType":%q,"entity":{"id":"r","name":"u--r--d"},"propertyChanges":[%s]}`, action, kind, change)) {
						return
					}
				}
			}
		}
		w := &writer{Rand: rand.New(rand.NewPCG(7, 7))}
		for range 3000 {
			if !yield(w.event()) {
				return
			}
		}
	}
}

// Names that an event has are told, but for those that are three ids. Who acts may be a
// user or a client.
func TestAskerTellsNamesOfTheEvent(t *testing.T) {
	asker, err := NewAsker()
	if err != nil {
		t.Fatal(err)
	}
	for event, want := range map[string]string{
		`{"user":{"id":"a","name":"Ann"},"entityType":"Queue","entity":{"id":"q","name":"Support"}}`:                                 "things of several kinds a=Ann queues q=Support",
		`{"userId":"a","userName":"Ann","entityType":"role","entityId":"r","entityName":"Admin"}`:                                    "things of several kinds a=Ann roles r=Admin",
		`{"user":{"name":"Ann"},"entityType":"Trunk","entity":{"id":"q","name":"T"}}`:                                                "",
		`{"action":"MemberAdd","entityType":"Role","entity":{"id":"r","name":"u--r--d"}}`:                                            "",
		`{"action":"Create","entityType":"Role","entity":{"id":"r","name":"a--b--c"}}`:                                               "",
		`{"id":"x","eventTime":"2026-01-01T00:00:00Z","userId":"a","username":"Ann","entityType":"OAuthClient","entity":{"id":"c"}}`: "things of several kinds a=Ann",
	} {
		ev := scan(t, event)
		var told []string
		asker.Ask(&ev, askedFor{}, func(kind audit.Kind, id, name []byte) { told = append(told, fmt.Sprintf("%s %s=%s", kind, id, name)) })
		if got := strings.Join(told, " "); got != want {
			t.Errorf("%s: %q, want %q", event, got, want)
		}
	}
}
