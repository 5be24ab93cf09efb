//go:build siem || connect

package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"genesys-audit-connector/examples/consumer"
)

// live is an event as live organisations show it; the arguments are more members, or
// other values of these.
func live(service, entityType, action string, more ...string) string {
	event := map[string]json.RawMessage{}
	members := append([]string{
		`{"id":"8d116ece-1738-47d9-bd9c-172411e20b8f","userHomeOrgId":"6513270e-269e-4d37-b2a7-4de452e6b438","user":{"id":"u-admin","name":"Ada Admin"},
		"client":{"id":""},"remoteIp":["203.0.113.17"],"level":"USER","eventDate":"2026-09-16T08:15:01.120Z","entity":{"id":"e-1","name":"Billing"},
		"status":"SUCCESS","application":"","initiatingAction":{},"transactionInitiator":true,"propertyChanges":[],"context":{},"entityChanges":[]}`,
		fmt.Sprintf(`{"serviceName":%q,"entityType":%q,"action":%q}`, service, entityType, action),
	}, more...)
	for _, m := range members {
		if err := json.Unmarshal([]byte(m), &event); err != nil {
			panic(m + ": " + err.Error())
		}
	}
	b, _ := json.Marshal(event)
	return string(b)
}

func changed(property, before, after string) string {
	return fmt.Sprintf(`{"propertyChanges":[{"property":%q,"oldValues":[%q],"newValues":[%q]}]}`, property, before, after)
}

const (
	triple = `{"entity":{"id":"r-1","name":"u-1--r-1--d-1"}}`
	system = `{"user":{},"level":"SYSTEM","remoteIp":[]}`
)

// names are what the connector looks up.
func names(role, memberType string) func(*consumer.Message) {
	return func(m *consumer.Message) {
		m.EntityName, m.MemberType, m.MemberName, m.ResolvedNames = &role, &memberType, text("Bob Builder"), []string{"entityName", "memberName"}
	}
}

// burst is n events, a while apart; each has what only edit makes its own.
func burst(event string, n int, apart time.Duration, edit func(i int) string) []string {
	var events []string
	for i := range n {
		at := time.Date(2026, 9, 16, 8, 0, 0, 0, time.UTC).Add(time.Duration(i) * apart).Format("2006-01-02T15:04:05.000Z")
		own := map[string]json.RawMessage{}
		for _, m := range []string{event, fmt.Sprintf(`{"id":"event-%d","eventDate":%q}`, i, at), edit(i)} {
			if err := json.Unmarshal([]byte(m), &own); err != nil {
				panic(err)
			}
		}
		b, _ := json.Marshal(own)
		events = append(events, string(b))
	}
	return events
}

type sigmaCase struct {
	events []string
	edit   func(*consumer.Message)
	rules  []string // that fire
}

func one(event string, rules ...string) sigmaCase { return sigmaCase{[]string{event}, nil, rules} }

func grantCases() map[string]sigmaCase {
	grant := live("PeoplePermissions", "Role", "MemberAdd", triple)
	role := func(action, property, before, after string) string {
		return live("PeoplePermissions", "Role", action, `{"entity":{"id":"r-1","name":"Supervisor"}}`, changed(property, before, after))
	}
	return map[string]sigmaCase{
		"a grant by the system, an admin's role": {[]string{live("PeoplePermissions", "Role", "MemberAdd", triple, system)}, names("Master Admin", "user"), []string{"admin_role_granted"}},
		"an admin's role in lower case":          {[]string{grant}, names("telephony admin", "user"), []string{"admin_role_granted"}},
		"another role":                           {[]string{grant}, names("Supervisor", "user"), nil},
		"a grant without names":                  one(grant),
		"an admin's role taken":                  {[]string{live("PeoplePermissions", "Role", "MemberRemove", triple)}, names("Master Admin", "user"), nil},
		"to oneself":                             {[]string{live("PeoplePermissions", "Role", "MemberAdd", triple, `{"user":{"id":"u-1"}}`)}, names("Supervisor", "user"), []string{"role_granted_to_oneself"}},
		"to oneself, dialect auditlogs": one(`{"auditId":"a","timestamp":"2026-09-16T08:15:01.120Z","userId":"u-1","userName":"Ada","action":"MemberAdd","entityType":"role",
			"entityId":"r-1","entityName":"u-1--r-1--d-1","before":null,"after":{"a":1,"b":2},"context":{"roleName":"Admin","memberName":"Ada"}}`,
			"admin_role_granted", "role_granted_to_oneself"),
		"by a client to itself":     {[]string{live("PeoplePermissions", "Role", "MemberAdd", triple, `{"user":{},"client":{"id":"u-1"}}`)}, names("Supervisor", "client"), []string{"role_granted_to_oneself"}},
		"taken from oneself":        {[]string{live("PeoplePermissions", "Role", "MemberRemove", triple, `{"user":{"id":"u-1"}}`)}, nil, nil},
		"to a group":                {[]string{grant}, names("Supervisor", "group"), []string{"role_granted_to_group"}},
		"taken from a group":        {[]string{live("PeoplePermissions", "Role", "MemberRemove", triple)}, names("Supervisor", "group"), nil},
		"a role that may grant":     one(role("Update", "permissions", `["a:b:c"]`, `["a:b:c","authorization:grant:add"]`), "role_may_grant_roles"),
		"a role with a policy":      one(role("Update", "permissionPolicies", `[]`, `["{\"domain\": \"authorization\",\"entityName\":\"grant\",\"actionSet\":[\"add\"]}"]`), "role_may_grant_roles"),
		"a role with another one":   one(role("Update", "permissionPolicies", `[]`, `["{\"domain\":\"routing\",\"entityName\":\"authorization\"}"]`)),
		"a role that may see more":  one(role("Update", "permissions", `["a:b:c"]`, `["a:b:c","analytics:view:view"]`)),
		"a role that may no longer": one(role("Update", "permissions", `["authorization:grant:add"]`, `["a:b:c"]`)),
		"a role's name":             one(role("Update", "name", "a", "authorization:")),
		"a queue named like one":    one(live("ContactCenter", "Queue", "Update", changed("permissions", "", "authorization:grant:add"))),
		"a queue's member, an admin": one(live("ContactCenter", "Queue", "MemberAdd", `{"entity":{"id":"q-1","name":"Admins"}}`,
			`{"propertyChanges":[{"property":"QueueMember/q-1:u-admin","oldValues":[],"newValues":["<queue member added>"]}]}`)),
	}
}

func platformCases() map[string]sigmaCase {
	people := func(entityType, action string, more ...string) string {
		return live("PeoplePermissions", entityType, action, more...)
	}
	return map[string]sigmaCase{
		"a client made":              one(people("OAuthClient", "Create"), "oauth_client_created"),
		"a client of many keys made": one(people("OAuthClient", "Create", `{"propertyChanges":[{"property":"name","newValues":["x"]},{"property":"roleIds","newValues":["r-1"]}]}`), "oauth_client_created"),
		"a client's secret":          one(people("OAuthClient", "Update", changed("secret", "***", "***2")), "oauth_client_secret_or_roles"),
		"a client's roles":           one(people("OAuthClient", "Update", changed("roleIds", "[]", "[r-1]")), "oauth_client_secret_or_roles"),
		"a client's name":            one(people("OAuthClient", "Update", changed("name", "a", "b"))),
		"a client gone":              one(people("OAuthClient", "Delete")),
		"single sign-on":             one(people("IdentityProvider", "Update", changed("ssoTargetURI", "https://a", "https://b")), "identity_provider_changed"),
		"single sign-on set up":      one(people("IdentityProvider", "Create"), "identity_provider_changed"),
		"single sign-on looked at":   one(people("IdentityProvider", "View")),
		"a second factor gone":       one(people("MFAVerifier", "Delete"), "second_factor_removed"),
		"a second factor added":      one(people("MFAVerifier", "Create")),
		"a password policy":          one(people("Policy", "Update", changed("minimumLength", "12", "8")), "login_policy_changed"),
		"requirements of MFA":        one(people("AuthOrganization", "Update", changed("requireMfa", "true", "false")), "login_policy_changed"),
		"addresses":                  one(people("Organization", "IpAllowlistClear"), "login_policy_changed"),
		"a policy of recordings":     one(live("Quality", "Policy", "Update", changed("enabled", "true", "false"))),
		"a trust":                    one(people("OrganizationAuthorizationTrust", "Create"), "organization_trusted"),
		"a trusted user":             one(people("OrganizationAuthorizationUserTrust", "Add"), "organization_trusted"),
		"a role for a pairing":       one(people("OrganizationAuthorizationTrust", "AddPairingRole"), "organization_trusted"),
		"a trust ended":              one(people("OrganizationAuthorizationTrust", "Delete")),
		"who keeps the keys":         one(live("Quality", "RecordingKeyConfig", "Update", changed("keyConfigurationType", "Native", "LocalKeyManager")), "recording_keys_changed"),
		"a key by hand":              one(live("Quality", "RecordingKey", "Create"), "recording_keys_changed"),
		"a key by the platform":      one(live("Quality", "RecordingKey", "Create", system)),
		"a recording":                one(live("Quality", "Recording", "Update", changed("retention", "1", "2"))),
		"a capture begins":           one(live("LogCapture", "User", "EnableCapture"), "log_capture"),
		"a capture is taken":         one(live("LogCapture", "User", "DownloadCapture"), "log_capture"),
		"contacts, all of them":      one(live("Outbound", "ContactList", "BulkDelete"), "bulk_delete"),
		"one contact list":           one(live("Outbound", "ContactList", "Delete")),
		"a flow for good":            one(live("Architect", "Flow", "HardDelete"), "bulk_delete"),
		"a login":                    one(people("AuthUser", "Authenticate", `{"entity":{"id":"u-2","name":"Bob Builder"}}`)),
		"a version of a user":        one(live("Directory", "User", "Update", system, changed("version", "41", "42"))),
	}
}

func burstCases() map[string]sigmaCase {
	failed := live("PeoplePermissions", "AuthUser", "AuthenticationFailed", `{"user":{},"status":"FAILURE","message":{"message":"Invalid login credentials"}}`)
	login := func(user, address func(int) string) func(int) string {
		return func(i int) string {
			return fmt.Sprintf(`{"entity":{"id":%q,"name":""},"remoteIp":[%q]}`, user(i), address(i))
		}
	}
	same := func(text string) func(int) string { return func(int) string { return text } }
	each := func(text string) func(int) string { return func(i int) string { return fmt.Sprint(text, i) } }
	gone := live("Architect", "Prompt", "Delete")
	by := func(actor string) func(int) string {
		return func(i int) string { return fmt.Sprintf(`{"entity":{"id":"p-%d"},%s}`, i, actor) }
	}
	return map[string]sigmaCase{
		"10 failed logins of one user":              {burst(failed, 10, 30*time.Second, login(same("u-2"), each("198.51.100."))), nil, []string{"failed_logins_of_user"}},
		"9 of them":                                 {burst(failed, 9, 30*time.Second, login(same("u-2"), each("198.51.100."))), nil, nil},
		"10 in an hour":                             {burst(failed, 10, 6*time.Minute, login(same("u-2"), each("198.51.100."))), nil, nil},
		"10 of ten users":                           {burst(failed, 10, 30*time.Second, login(each("u-"), each("198.51.100."))), nil, nil},
		"20 from one address":                       {burst(failed, 20, 20*time.Second, login(each("u-"), same("198.51.100.7"))), nil, []string{"failed_logins_from_address"}},
		"19 from one address":                       {burst(failed, 19, 20*time.Second, login(each("u-"), same("198.51.100.7"))), nil, nil},
		"20 of one user from one address":           {burst(failed, 20, 20*time.Second, login(same("u-2"), same("198.51.100.7"))), nil, []string{"failed_logins_from_address", "failed_logins_of_user"}},
		"20 logins from one address":                {burst(live("PeoplePermissions", "AuthUser", "Authenticate"), 20, time.Second, login(each("u-"), same("198.51.100.7"))), nil, nil},
		"20 deletions by a client":                  {burst(gone, 20, time.Second, by(`"user":{},"client":{"id":"c-1"}`)), nil, []string{"deletions_burst"}},
		"20 by a client that stands in user.id":     {burst(gone, 20, time.Second, by(`"user":{"id":"c-1"},"client":{"id":""}`)), nil, []string{"deletions_burst"}},
		"19 deletions":                              {burst(gone, 19, time.Second, by(`"user":{},"client":{"id":"c-1"}`)), nil, nil},
		"20 deletions by the system":                {burst(gone, 20, time.Second, by(`"user":{}`)), nil, nil},
		"20 updates by a client":                    {burst(live("Architect", "Prompt", "Update", changed("name", "a", "b")), 20, time.Second, by(`"client":{"id":"c-1"}`)), nil, nil},
		"2 deletions of ten keys each, by a client": {burst(gone, 2, time.Second, func(int) string { return tenKeys }), nil, nil},
	}
}

var tenKeys = `{"user":{},"client":{"id":"c-1"},"propertyChanges":[` + strings.TrimSuffix(strings.Repeat(`{"property":"p","oldValues":["x"]},`, 10), ",") + `]}`

// sigmaCases are all of them.
func sigmaCases() map[string]sigmaCase {
	cases := grantCases()
	maps.Copy(cases, platformCases())
	maps.Copy(cases, burstCases())
	return cases
}

// messages are the change records of a case's events.
func (c *sigmaCase) messages(t *testing.T) []consumer.Message {
	t.Helper()
	var messages []consumer.Message
	for _, event := range c.events {
		messages = append(messages, records(t, event)...)
	}
	for i := range messages {
		if c.edit != nil {
			c.edit(&messages[i])
		}
	}
	return messages
}
