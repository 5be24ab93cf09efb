package codec

import (
	"strings"
	"testing"
)

// TestGrants: what a role's event says of who got it, and that its name never
// does as the entity's.
func TestGrants(t *testing.T) {
	const grant = `"entityType":"Role","entity":{"id":"r","name":"u--r--d"}`
	for name, c := range map[string]struct{ event, line, member, division, entity string }{
		"added":                       {`"action":"MemberAdd",` + grant, "members ADDED ABSENT → STRING u", "u", "d", ""},
		"removed":                     {`"action":"MemberRemove",` + grant, "members REMOVED STRING u → ABSENT", "u", "d", ""},
		"updated":                     {`"action":"MemberUpdate",` + grant, "members MODIFIED STRING u → STRING u", "u", "d", ""},
		"empty lists":                 {`"action":"MemberAdd","propertyChanges":[],"entityChanges":[],"context":{},` + grant, "members ADDED ABSENT → STRING u", "u", "d", ""},
		"all divisions":               {`"action":"MemberAdd","entityType":"role","entityId":"r","entityName":"u--r--*"`, "members ADDED ABSENT → STRING u", "u", "*", ""},
		"escaped":                     {`"action":"MemberAdd","entityType":"Role","entityName":"\u0075\u002d-r--d"`, "members ADDED ABSENT → STRING u", "u", "d", ""},
		"equal snapshots":             {`"action":"MemberAdd","before":{"a":1},"after":{"a":1},` + grant, "members ADDED ABSENT → STRING u", "u", "d", ""},
		"changes of its own":          {`"action":"MemberAdd","after":{"a":1},` + grant, "a ADDED ABSENT → NUMBER 1", "u", "d", ""},
		"properties of its own":       {`"action":"MemberAdd","propertyChanges":[{"property":"p","newValues":["1"]}],` + grant, "p ADDED ABSENT → STRING 1", "u", "d", ""},
		"names in the context":        {`"action":"MemberAdd","context":{"roleName":"Supervisor","memberName":"Ann"},` + grant, "members ADDED ABSENT → STRING u", "u", "d", "Supervisor"},
		"another action":              {`"action":"LicenseUpdate",` + grant, nothing, "u", "d", ""},
		"another action and role":     {`"action":"Update","entityType":"Role","entity":{"id":"x","name":"u--r--d"}`, nothing, "", "", "u--r--d"},
		"a role's name":               {`"action":"MemberAdd","entityType":"Role","entity":{"id":"r","name":"Supervisor"}`, nothing, "", "", "Supervisor"},
		"four parts":                  {`"action":"MemberAdd","entityType":"Role","entityName":"a--b--c--d"`, nothing, "", "", "a--b--c--d"},
		"two parts":                   {`"action":"MemberAdd","entityType":"Role","entityName":"a--b"`, nothing, "", "", "a--b"},
		"an empty part":               {`"action":"MemberAdd","entityType":"Role","entityName":"a----c"`, nothing, "", "", "a----c"},
		"not a role":                  {`"action":"MemberAdd","entityType":"Team","entityName":"a--b--c"`, nothing, "", "", "a--b--c"},
		"too deep":                    {`"action":"MemberAdd","x":` + strings.Repeat("[", 1001) + strings.Repeat("]", 1001) + `,` + grant, nothing, "u", "d", ""},
		"too many":                    {`"action":"MemberAdd","propertyChanges":[` + strings.Repeat("0,", 1_100_000) + `0],` + grant, nothing, "u", "d", ""},
		"no name":                     {`"action":"MemberAdd","entityType":"Role","entity":{"id":"r","name":""}`, nothing, "", "", ""},
		"its name stands in the flat": {`"action":"MemberAdd","entityName":"","entityType":"Role","entity":{"name":"u--r--d"}`, "members ADDED ABSENT → STRING u", "u", "d", ""},
	} {
		got, _ := changes(t, `{"auditId":"x",`+c.event+`}`)
		first := got[0]
		if len(got) != 1 || line(first) != c.line || refOr(first.MemberID) != c.member || refOr(first.DivisionID) != c.division ||
			refOr(first.EntityName) != c.entity || first.MemberType != nil || first.DivisionName != nil || len(first.ResolvedNames) > 0 {
			t.Errorf("%s: %s", name, asJSON(got))
		}
		if wantName := name == "names in the context"; wantName != (refOr(first.MemberName) == "Ann") {
			t.Errorf("%s: member's name %q", name, refOr(first.MemberName))
		}
	}
}

func TestQueueMembers(t *testing.T) {
	for property, want := range map[string]string{
		`"property":"QueueMember/q:u","newValues":["<queue member added>"]`:                          "u",
		`"property":"QueueMember/q:u:joined","oldValues":["false"],"newValues":["true"]`:             "u",
		`"property":"QueueMember/q:\u0075","oldValues":["<queue member deleted>"]`:                   "u",
		`"property":"QueueMember/q","newValues":["x"]`:                                               "",
		`"property":"QueueMember/q:","newValues":["x"]`:                                              "",
		`"property":"QueueMember/q::joined","newValues":["x"]`:                                       "",
		`"property":"queueMember/q:u","newValues":["x"]`:                                             "",
		`"property":"queueId:q:members","newValues":["queueMember:u"]`:                               "u",
		`"property":"queueId:q:members","oldValues":["queueMember:\u0075"]`:                          "u",
		`"property":"queueId:q:members","oldValues":["queueMember:u"],"newValues":["queueMember:u"]`: "u",
		`"property":"queueId:q:members","oldValues":["queueMember:u"],"newValues":["queueMember:v"]`: "",
		`"property":"queueId:q:members","newValues":["queueMember:u","queueMember:v"]`:               "",
		`"property":"queueId:q:members","newValues":["queueMember:"]`:                                "",
		`"property":"queueId:q:members","newValues":["u"]`:                                           "",
		`"property":"queueId:q:members","newValues":[null]`:                                          "",
		`"property":"queueId:q:members"`:                                                             "",
		`"property":"queueId:q:wrapupCodes","newValues":["queueMember:u"]`:                           "",
	} {
		got, _ := changes(t, `{"entityType":"Queue","propertyChanges":[{`+property+`}]}`)
		if len(got) != 1 || refOr(got[0].MemberID) != want || (want != "") != (refOr(got[0].MemberType) == "user") {
			t.Errorf("%s: %s", property, asJSON(got))
		}
	}
}

// TestEmptyMeansAbsent, where an id or a name belongs; a value that is empty stays.
func TestEmptyMeansAbsent(t *testing.T) {
	got, meta := changes(t, `{"id":"x","userId":"","user":{"id":"","name":""},"client":{"id":""},"application":"","userHomeOrgId":"","serviceName":"",
		"entity":{"id":"","name":""},"status":"","level":"","message":{"message":""},"initiatingAction":{"transactionId":""},"username":"","userDisplay":"",
		"context":{"k":""},"propertyChanges":[{"property":"title","oldValues":[""],"newValues":["a"]}]}`)
	c := got[0]
	for name, field := range map[string]*string{
		"userId": c.UserID, "userName": c.UserName, "clientId": c.ClientID, "application": c.Application, "orgId": c.OrgID, "serviceName": c.ServiceName,
		"entityId": c.EntityID, "entityName": c.EntityName, "status": c.Status, "level": c.Level, "message": c.Message, "transactionId": c.TransactionID,
	} {
		if field != nil {
			t.Errorf("%s is %q", name, *field)
		}
	}
	if meta.EntityID != nil || c.Previous == nil || *c.Previous != "" || c.Context["k"] != "" || len(c.Context) != 1 {
		t.Errorf("%s", asJSON(c))
	}
	// What is empty in one place may stand in another.
	got, _ = changes(t, `{"userId":"","user":{"id":"u","name":""},"userName":"","username":{"name":""},"userDisplay":"Ann","clientId":"","client":{"id":"c"},
		"entityId":"","entity":{"id":"e","name":"n"},"entityName":""}`)
	c = got[0]
	if refOr(c.UserID) != "u" || refOr(c.UserName) != "Ann" || refOr(c.ClientID) != "c" || refOr(c.EntityID) != "e" || refOr(c.EntityName) != "n" {
		t.Errorf("%s", asJSON(c))
	}
}
