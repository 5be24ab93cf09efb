package codec

import (
	"fmt"
	"strings"
	"testing"

	"genesys-audit-connector/internal/audit"
)

// line is a change as the tables below write it: key TYPE before → after.
func line(c audit.Change) string {
	key := "null"
	if c.Key != nil {
		key = *c.Key
	}
	side := func(text *string, typ string) string {
		if text == nil {
			return typ
		}
		return typ + " " + *text
	}
	return fmt.Sprintf("%s %s %s → %s", key, c.Type, side(c.Previous, c.PreviousType), side(c.New, c.NewType))
}

const nothing = "null NONE ABSENT → ABSENT"

// changeTable: an event's JSON without its braces, and the changes.
type changeTable map[string]struct {
	event string
	want  []string
}

func (table changeTable) run(t *testing.T) {
	for name, c := range table {
		t.Run(name, func(t *testing.T) {
			got, meta := changes(t, `{"auditId":"x",`+c.event+`}`)
			var lines []string
			for i, change := range got {
				lines = append(lines, line(change))
				if change.Index != i || change.Count != len(got) {
					t.Errorf("change %d of %d says %d of %d", i, len(got), change.Index, change.Count)
				}
			}
			if strings.Join(lines, "\n") != strings.Join(c.want, "\n") {
				t.Errorf("%s\n got:\n%s\nwant:\n%s", c.event, strings.Join(lines, "\n"), strings.Join(c.want, "\n"))
			}
			if meta.Problem != "" {
				t.Errorf("problem %q", meta.Problem)
			}
		})
	}
}

func TestSnapshots(t *testing.T) {
	changeTable{
		"scalars": {`"before":{"a":1,"b":"x","c":true,"d":null},"after":{"a":2,"b":"y","c":false,"d":0}`, []string{
			"a MODIFIED NUMBER 1 → NUMBER 2", "b MODIFIED STRING x → STRING y", "c MODIFIED BOOLEAN true → BOOLEAN false", "d MODIFIED NULL → NUMBER 0"}},
		"types":              {`"before":{"a":1,"b":"true","c":{}},"after":{"a":"1","b":true,"c":[]}`, []string{"a MODIFIED NUMBER 1 → STRING 1", "b MODIFIED STRING true → BOOLEAN true", "c MODIFIED OBJECT {} → ARRAY []"}},
		"equal":              {`"before":{"a":[1,{"b":null}]},"after":{"a":[1,{"b":null}]}`, []string{nothing}},
		"descends":           {`"before":{"o":{"p":{"q":1,"r":2}}},"after":{"o":{"p":{"q":1,"r":3}}}`, []string{"o.p.r MODIFIED NUMBER 2 → NUMBER 3"}},
		"topmost path came":  {`"before":{"o":{}},"after":{"o":{"p":{"q":1}}}`, []string{`o.p ADDED ABSENT → OBJECT {"q":1}`}},
		"topmost path went":  {`"before":{"o":{"p":{"q":1}}},"after":{}`, []string{`o REMOVED OBJECT {"p":{"q":1}} → ABSENT`}},
		"null is a value":    {`"before":{"a":null,"c":null},"after":{"b":null,"c":{"d":1}}`, []string{"a REMOVED NULL → ABSENT", `c MODIFIED NULL → OBJECT {"d":1}`, "b ADDED ABSENT → NULL"}},
		"array is one value": {`"before":{"a":[1, 2]},"after":{"a":[1, 2, {"x" : 3}]}`, []string{`a MODIFIED ARRAY [1,2] → ARRAY [1,2,{"x":3}]`}},
		"order of keys":      {`"before":{"a":{"x":1,"y":2},"b":[{"x":1,"y":2}]},"after":{"b":[{"y":2,"x":1}],"a":{"y":2,"x":1}}`, []string{nothing}},
		"order of changes":   {`"before":{"c":1,"b":1,"a":1},"after":{"z":1,"a":2,"y":1,"b":1}`, []string{"c REMOVED NUMBER 1 → ABSENT", "a MODIFIED NUMBER 1 → NUMBER 2", "z ADDED ABSENT → NUMBER 1", "y ADDED ABSENT → NUMBER 1"}},
		"spelling of numbers": {`"before":{"a":1.0,"b":1e3,"c":12345678901234567890,"d":-0,"e":0.10},"after":{"a":1,"b":1000,"c":12345678901234567891,"d":0,"e":0.10}`, []string{
			"a MODIFIED NUMBER 1.0 → NUMBER 1", "b MODIFIED NUMBER 1e3 → NUMBER 1000",
			"c MODIFIED NUMBER 12345678901234567890 → NUMBER 12345678901234567891", "d MODIFIED NUMBER -0 → NUMBER 0"}},
		"characters of strings": {`"before":{"a":"\u0041\/","b":"é","c":"A"},"after":{"a":"A/","b":"\u00e9","c":"a"}`, []string{"c MODIFIED STRING A → STRING a"}},
		"escaped keys":          {`"before":{"\u0061":1},"after":{"a":2}`, []string{"a MODIFIED NUMBER 1 → NUMBER 2"}},
		"the last of two keys":  {`"before":{"n":"first","n":"last"},"after":{"n":"last","n":"first"}`, []string{"n MODIFIED STRING last → STRING first"}},
		"two keys, one value":   {`"before":{"n":"first","n":"last"},"after":{"n":"last"}`, []string{nothing}},
		"two keys below":        {`"before":{"a":[{"n":1,"n":2}]},"after":{"a":[{"n":2}]}`, []string{nothing}},
		"odd keys": {`"before":{"o":{"a.b":{"c":1}},"":1,"x[0]":1,"]":1,"q\"":1,"ключ":1,"a b":1,"back\\":1,"tab\t.":1},
			"after":{"o":{"a.b":{"c":2}},"":2,"x[0]":2,"]":2,"q\"":2,"ключ":2,"a b":2,"back\\":2,"tab\t.":2}`, []string{
			`o["a.b"].c MODIFIED NUMBER 1 → NUMBER 2`, `[""] MODIFIED NUMBER 1 → NUMBER 2`, `["x[0]"] MODIFIED NUMBER 1 → NUMBER 2`,
			`["]"] MODIFIED NUMBER 1 → NUMBER 2`, `["q\""] MODIFIED NUMBER 1 → NUMBER 2`, `ключ MODIFIED NUMBER 1 → NUMBER 2`,
			`a b MODIFIED NUMBER 1 → NUMBER 2`, `back\ MODIFIED NUMBER 1 → NUMBER 2`, `["tab\t."] MODIFIED NUMBER 1 → NUMBER 2`}},
		"odd keys in a row":        {`"before":{"":{"":{"a":{"":1}}}},"after":{"":{"":{"a":{}}}}`, []string{`[""][""].a[""] REMOVED NUMBER 1 → ABSENT`}},
		"strings stay as they are": {`"before":{"a":" {\"x\" : 1} "},"after":{"a":""}`, []string{`a MODIFIED STRING  {"x" : 1}  → STRING `}},
		"white space goes":         {"\"before\":{\"a\":[]},\"after\":{\"a\":[ \" x \" ,\n{ \"k\" : \"\\\" \" } ]}", []string{`a MODIFIED ARRAY [] → ARRAY [" x ",{"k":"\" "}]`}},
		"escapes stay in arrays":   {`"before":{"a":[]},"after":{"a":["\u0041"]}`, []string{`a MODIFIED ARRAY [] → ARRAY ["\u0041"]`}},
	}.run(t)
}

func TestSnapshotsThatAreNoObjects(t *testing.T) {
	changeTable{
		"created":               {`"before":null,"after":{"a":1,"b":{"c":2}}`, []string{"a ADDED ABSENT → NUMBER 1", `b ADDED ABSENT → OBJECT {"c":2}`}},
		"created, no before":    {`"after":{"a":null}`, []string{"a ADDED ABSENT → NULL"}},
		"deleted":               {`"before":{"a":1},"after":null`, []string{"a REMOVED NUMBER 1 → ABSENT"}},
		"deleted, no after":     {`"before":{"a":1}`, []string{"a REMOVED NUMBER 1 → ABSENT"}},
		"created with nothing":  {`"before":null,"after":{}`, []string{nothing}},
		"scalars":               {`"before":"enabled","after":false`, []string{"null MODIFIED STRING enabled → BOOLEAN false"}},
		"equal scalars":         {`"before":7,"after":7`, []string{nothing}},
		"scalar came":           {`"before":null,"after":"on"`, []string{"null ADDED ABSENT → STRING on"}},
		"scalar went":           {`"before":"on"`, []string{"null REMOVED STRING on → ABSENT"}},
		"arrays":                {`"before":[1,2],"after":[1,2,3]`, []string{"null MODIFIED ARRAY [1,2] → ARRAY [1,2,3]"}},
		"arrays in other order": {`"before":[1,2,3],"after":[3,2,1]`, []string{"null REORDERED ARRAY [1,2,3] → ARRAY [3,2,1]"}},
		"object to array":       {`"before":{"a":1},"after":["a",1]`, []string{`null MODIFIED OBJECT {"a":1} → ARRAY ["a",1]`}},
		"scalar to object":      {`"before":0,"after":{"a":1}`, []string{`null MODIFIED NUMBER 0 → OBJECT {"a":1}`}},
	}.run(t)
}

func TestArrays(t *testing.T) {
	changeTable{
		"other order":         {`"before":{"a":[1,"x",{"k":[1]},null]},"after":{"a":[null,{"k":[1]},"x",1]}`, []string{`a REORDERED ARRAY [1,"x",{"k":[1]},null] → ARRAY [null,{"k":[1]},"x",1]`}},
		"equally often":       {`"before":{"a":[1,1,2]},"after":{"a":[2,1,1]}`, []string{"a REORDERED ARRAY [1,1,2] → ARRAY [2,1,1]"}},
		"not equally often":   {`"before":{"a":[1,1,2]},"after":{"a":[1,2,2]}`, []string{"a MODIFIED ARRAY [1,1,2] → ARRAY [1,2,2]"}},
		"1 is not \"1\"":      {`"before":{"a":[1,"1"]},"after":{"a":["1","1"]}`, []string{`a MODIFIED ARRAY [1,"1"] → ARRAY ["1","1"]`}},
		"1 and \"1\"":         {`"before":{"a":[1,"1"]},"after":{"a":["1",1]}`, []string{`a REORDERED ARRAY [1,"1"] → ARRAY ["1",1]`}},
		"members deeper":      {`"before":{"a":[[1,2],[3]]},"after":{"a":[[3],[2,1]]}`, []string{"a MODIFIED ARRAY [[1,2],[3]] → ARRAY [[3],[2,1]]"}},
		"objects alike":       {`"before":{"a":[{"x":1,"y":2},5]},"after":{"a":[5,{"y":2,"x":1}]}`, []string{`a REORDERED ARRAY [{"x":1,"y":2},5] → ARRAY [5,{"y":2,"x":1}]`}},
		"objects by key":      {`"before":{"a":[{"x":1,"y":2}]},"after":{"a":[{"x":2,"y":1}]}`, []string{`a MODIFIED ARRAY [{"x":1,"y":2}] → ARRAY [{"x":2,"y":1}]`}},
		"other spelling":      {`"before":{"a":["\u0061","b"]},"after":{"a":["b","a"]}`, []string{`a REORDERED ARRAY ["\u0061","b"] → ARRAY ["b","a"]`}},
		"a set":               {`"entityType":"Group","before":{"memberIds":[1,2]},"after":{"memberIds":[2,1]}`, []string{nothing}},
		"a set, lower case":   {`"entityType":"group","before":{"memberIds":[1,2]},"after":{"memberIds":[2,1]}`, []string{nothing}},
		"a set that changed":  {`"entityType":"Group","before":{"memberIds":[1,2]},"after":{"memberIds":[3,1]}`, []string{"memberIds MODIFIED ARRAY [1,2] → ARRAY [3,1]"}},
		"no set of this type": {`"entityType":"Edge","before":{"memberIds":[1,2]},"after":{"memberIds":[2,1]}`, []string{"memberIds REORDERED ARRAY [1,2] → ARRAY [2,1]"}},
		"no set deeper":       {`"entityType":"Group","before":{"o":{"memberIds":[1,2]}},"after":{"o":{"memberIds":[2,1]}}`, []string{"o.memberIds REORDERED ARRAY [1,2] → ARRAY [2,1]"}},
	}.run(t)
}

func TestListedChanges(t *testing.T) {
	changeTable{
		"property":       {`"propertyChanges":[{"property":"acw.timeout","oldValues":["10"],"newValues":["20"]}]`, []string{"acw.timeout MODIFIED STRING 10 → STRING 20"}},
		"came and went":  {`"propertyChanges":[{"property":"a","oldValues":[],"newValues":["x"]},{"property":"b","oldValues":["x"]}]`, []string{"a ADDED ABSENT → STRING x", "b REMOVED STRING x → ABSENT"}},
		"several values": {`"propertyChanges":[{"property":"a","oldValues":["1", "2"],"newValues":["3"]}]`, []string{`a MODIFIED ARRAY ["1","2"] → STRING 3`}},
		"other order":    {`"propertyChanges":[{"property":"a","oldValues":["1","2"],"newValues":["2","1"]}]`, []string{`a REORDERED ARRAY ["1","2"] → ARRAY ["2","1"]`}},
		"a set":          {`"entityType":"Group","propertyChanges":[{"property":"group-membership","oldValues":["1","2"],"newValues":["2","1"]}]`, []string{`group-membership NONE ARRAY ["1","2"] → ARRAY ["2","1"]`}},
		"equal keeps its key": {`"propertyChanges":[{"property":"a","oldValues":["1"],"newValues":["\u0031"]},{"property":"b","oldValues":["1","2"],"newValues":["1","2"]},{"property":"c"}]`, []string{
			"a NONE STRING 1 → STRING 1", `b NONE ARRAY ["1","2"] → ARRAY ["1","2"]`, "c NONE ABSENT → ABSENT"}},
		"values of other types": {`"propertyChanges":[{"property":7,"oldValues":[1],"newValues":[true]},{"property":"b","oldValues":[null],"newValues":[{"a":1}]},{"property":"c","oldValues":"one","newValues":{"a":1}},{"property":"d","oldValues":null,"newValues":[1,null]}]`, []string{
			"7 MODIFIED STRING 1 → STRING true", "b NONE NULL → NULL", "c REMOVED STRING one → ABSENT", "d ADDED ABSENT → ARRAY [1,null]"}},
		"elements of other types": {`"propertyChanges":[null,"x",[],{"property":"a","newValues":["1"]},{"property":{},"newValues":["1"]}]`, []string{
			nothing, nothing, nothing, "a ADDED ABSENT → STRING 1", "null ADDED ABSENT → STRING 1"}},
		"key as it is":       {`"propertyChanges":[{"property":"QueueMember/q1:u1:joined","oldValues":["false"],"newValues":["true"]},{"property":"","newValues":["1"]}]`, []string{"QueueMember/q1:u1:joined MODIFIED STRING false → STRING true", " ADDED ABSENT → STRING 1"}},
		"entity":             {`"entityChanges":[{"entityId":"7","entityName":"Row 7","entityType":"DataTableRow","oldValues":["a"],"newValues":["b"]}]`, []string{"DataTableRow/7 MODIFIED STRING a → STRING b"}},
		"equal entity":       {`"entityChanges":[{"entityId":"7","entityType":"Row","oldValues":["a"],"newValues":["a"]}]`, []string{"Row/7 NONE STRING a → STRING a"}},
		"entity in part":     {`"entityChanges":[{"entityId":7,"newValues":["a"]},{"entityType":"Row","newValues":["a"]},{"entityId":null,"newValues":["a"]}]`, []string{"/7 ADDED ABSENT → STRING a", "Row/ ADDED ABSENT → STRING a", "null ADDED ABSENT → STRING a"}},
		"both":               {`"entityChanges":[{"entityId":"7","entityType":"Row","newValues":["a"]}],"propertyChanges":[{"property":"p","newValues":["1"]}]`, []string{"p ADDED ABSENT → STRING 1", "Row/7 ADDED ABSENT → STRING a"}},
		"before snapshots":   {`"propertyChanges":[{"property":"p","newValues":["1"]}],"before":{"a":1},"after":{"a":2}`, []string{"p ADDED ABSENT → STRING 1"}},
		"empty":              {`"propertyChanges":[],"entityChanges":[],"before":{"a":1},"after":{"a":2}`, []string{"a MODIFIED NUMBER 1 → NUMBER 2"}},
		"no lists":           {`"propertyChanges":{"property":"p"},"entityChanges":"x","before":{"a":1},"after":{"a":2}`, []string{"a MODIFIED NUMBER 1 → NUMBER 2"}},
		"lists in a payload": {`"rawPayload":{"propertyChanges":[{"property":"p","newValues":["1"]}]}`, []string{nothing}},
	}.run(t)
}

func TestRawPayload(t *testing.T) {
	changeTable{
		"object":                 {`"rawPayload":{"before":{"a":1},"after":{"a":2}}`, []string{"a MODIFIED NUMBER 1 → NUMBER 2"}},
		"string":                 {`"rawPayload":"{\"before\":{\"a\":\"\\u00e9\"},\"after\":{\"a\":2}}"`, []string{"a MODIFIED STRING é → NUMBER 2"}},
		"beside snapshots":       {`"rawPayload":{"before":{"a":1}},"after":{"b":2}`, []string{"b ADDED ABSENT → NUMBER 2"}},
		"beside null snapshots":  {`"rawPayload":{"before":{"a":1}},"before":null,"after":null`, []string{"a REMOVED NUMBER 1 → ABSENT"}},
		"beside equal snapshots": {`"rawPayload":{"before":{"a":1}},"before":{},"after":{}`, []string{nothing}},
		"null snapshots":         {`"rawPayload":{"before":null,"after":null}`, []string{nothing}},
		"no object":              {`"rawPayload":[{"before":{"a":1}}]`, []string{nothing}},
		"string of no object":    {`"rawPayload":"[{\"before\":1}]"`, []string{nothing}},
		"no JSON":                {`"rawPayload":"{\"before\":"`, []string{nothing}},
		"empty string":           {`"rawPayload":""`, []string{nothing}},
		"string in a string":     {`"rawPayload":"\"{}\""`, []string{nothing}},
		"null":                   {`"rawPayload":null`, []string{nothing}},
		"set":                    {`"entityType":"Group","rawPayload":"{\"before\":{\"ownerIds\":[1,2]},\"after\":{\"ownerIds\":[2,1]}}"`, []string{nothing}},
	}.run(t)
}

func TestEventsThatAreNoObjects(t *testing.T) {
	for _, text := range []string{`null`, `"x"`, `7`, `[{"auditId":"a"}]`, `{}`, `true`} {
		got, meta := changes(t, text)
		if len(got) != 1 || line(got[0]) != nothing || got[0].Action != "" || got[0].EntityType != "" || got[0].UserID != nil ||
			got[0].RemoteIP != nil || len(got[0].Context) != 0 || !got[0].Time.Equal(readAt) || !strings.HasPrefix(got[0].AuditID, "sha256:") {
			t.Errorf("%s: %+v", text, got)
		}
		if len(meta.EntityID)+len(meta.EntityType)+len(meta.Action)+len(meta.Problem) > 0 {
			t.Errorf("%s: %+v", text, meta)
		}
	}
}

func TestTooDeep(t *testing.T) {
	nested := func(levels int) string {
		return strings.Repeat(`{"a":`, levels) + `1` + strings.Repeat(`}`, levels)
	}
	lists := func(levels int) string { return strings.Repeat(`[`, levels) + strings.Repeat(`]`, levels) }
	quote := strings.NewReplacer(`"`, `\"`)
	for name, c := range map[string]struct {
		event string
		deep  bool
	}{
		"1,000 levels":                     {`{"userId":"u","after":` + nested(999) + `}`, false},
		"1,001 levels":                     {`{"userId":"u","after":` + nested(1000) + `}`, true},
		"1,000 levels of array":            {`{"userId":"u","after":{"a":` + lists(998) + `}}`, false},
		"in an unknown field":              {`{"userId":"u","trace":` + lists(20_000) + `,"after":{"a":1}}`, true},
		"1,000 levels in a payload string": {`{"userId":"u","rawPayload":"` + quote.Replace(`{"after":`+nested(999)+`}`) + `"}`, false},
		"1,001 levels in a payload string": {`{"userId":"u","rawPayload":"` + quote.Replace(`{"after":`+nested(1000)+`}`) + `"}`, true},
		"beside a deep neighbour":          {`{"userId":"u","after":{"a":1}}`, false},
	} {
		t.Run(name, func(t *testing.T) {
			// All events stand in one page with a very deep one.
			page := scan(t, `[`+c.event+`,`+lists(5000)+`]`)
			e := page.Fields.Elements()
			e.Next()
			ev := audit.NewEvent(e.Value())
			values, meta := records(newTestEncoder(t), &ev)
			decoder, err := NewDecoder(nil)
			if err != nil {
				t.Fatal(err)
			}
			first, err := decoder.Decode(values[0])
			if err != nil {
				t.Fatal(err)
			}
			if first.UserID == nil || *first.UserID != "u" {
				t.Errorf("the event's own fields are lost: %+v", first)
			}
			if deep := line(first) == nothing; len(values) != 1 || deep != c.deep || (meta.Problem == problemTooDeep) != c.deep {
				t.Errorf("%d records, problem %q, %.80s", len(values), meta.Problem, line(first))
			}
		})
	}
}
