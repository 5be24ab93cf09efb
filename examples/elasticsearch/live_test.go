//go:build connect && linux

package elasticsearch

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/linkedin/goavro/v2"
	"github.com/twmb/franz-go/pkg/kgo"

	"genesys-audit-connector/examples/consumer/consumertest"
	"genesys-audit-connector/internal/codec"
	"genesys-audit-connector/internal/connecttest"
	"genesys-audit-connector/schemas"
)

// Names and ids that the questions ask for.
const (
	liveMember  = "e7163f78-e888-45e7-8839-fa4f62cc6608"
	liveRole    = "62fafe63-df2e-4895-b058-05b7b18ed495"
	liveClient  = "a362a0e4-9282-49ee-a07c-033e30b175eb"
	liveAddress = "198.51.100.77"
)

// liveEvent is an event as live organisations show it, with what the connector looks
// up for its record.
type liveEvent struct {
	consumertest.Live
	lookedUp map[string]string // by field
}

// liveEvents are of each kind that the questions ask for, now.
func liveEvents(member string) []liveEvent {
	grant := func(action, division string) consumertest.Live {
		return consumertest.LiveGrant("", action, liveMember, liveRole, division)
	}
	user := func(l consumertest.Live) consumertest.Live {
		l.User, l.UserName, l.Address = "66ad0862-89e9-4c78-8969-3c90068c374b", "Anna Berg", "203.0.113.7"
		return l
	}
	program := func(l consumertest.Live) consumertest.Live { l.Client = liveClient; return l }
	login := func(action, status string) consumertest.Live {
		return consumertest.Live{Service: "PeoplePermissions", EntityType: "AuthUser", Action: action, Level: "USER", Status: status,
			EntityID: liveMember, EntityName: member, Address: liveAddress}
	}
	thing := func(service, entityType, action string) consumertest.Live {
		return consumertest.Live{Service: service, EntityType: entityType, Action: action, EntityID: "4703b8ae-3e37-4d46-9e4f-a107772f0b9d", EntityName: "One"}
	}
	change := func(l consumertest.Live, property string, old, new []string) consumertest.Live {
		l.Changes = append(l.Changes, consumertest.LiveChange{Property: property, Old: old, New: new})
		return l
	}
	names := map[string]string{"entityName": "Agent", "memberName": member, "memberType": "user", "divisionName": "Berlin"}
	bot := program(thing("Routing", "RoutingSkill", "Create"))
	bot.User = liveClient // it stands in both
	return []liveEvent{
		{grant("MemberAdd", "9a2ed756-3f02-447b-b03e-d47069bf4b64"), names},
		{grant("MemberAdd", "*"), nil},
		{user(grant("MemberRemove", "*")), names},
		{user(grant("MemberAdd", "*")), map[string]string{"memberName": "Support", "memberType": "group"}},
		{program(grant("MemberAdd", "*")), map[string]string{"memberName": "Terraform", "memberType": "client"}},
		{login("AuthenticationFailed", "FAILURE"), nil},
		{user(login("Authenticate", "")), nil},
		{user(login("SingleLogout", "")), nil},
		{user(login("ChangePassword", "")), nil},
		{program(thing("PeoplePermissions", "AccessToken", "Create")), nil},
		{thing("PeoplePermissions", "AccessToken", "Revoke"), nil},
		{user(change(thing("PeoplePermissions", "IdentityProvider", "Update"), "disabled", []string{"false"}, []string{"true"})), nil},
		{user(thing("PeoplePermissions", "Policy", "Update")), nil},
		{user(thing("Quality", "Policy", "Update")), nil},
		{change(thing("ContactCenter", "Queue", "MemberAdd"), "QueueMember/4703b8ae-3e37-4d46-9e4f-a107772f0b9d:"+liveMember, nil, []string{"<queue member added>"}), nil},
		{change(thing("Groups", "DirectoryGroup", "Update"), "group-membership", nil, []string{"[" + liveMember + "]"}), nil},
		{change(thing("Directory", "User", "Update"), "version", []string{"12"}, []string{"13"}), nil},
		{program(thing("Datatables", "Row", "BulkDelete")), nil},
		{user(thing("Quality", "Recording", "Download")), nil},
		{bot, nil},
	}
}

// publishLive writes their records in one transaction, as the connector does.
func (o outsider) publishLive(registry connecttest.Service, member string, now time.Time) {
	o.Helper()
	r, err := codec.NewRegistry(codec.RegistryOptions{URL: registry.URL})
	if err != nil {
		o.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	id, err := r.SchemaID(ctx, topic)
	if err != nil {
		o.Fatal(err)
	}
	if err := o.BeginTransaction(); err != nil {
		o.Fatal(err)
	}
	for i, e := range liveEvents(member) {
		e.ID, e.At = fmt.Sprintf("live-%02d", i), now
		for at, value := range e.Values(o.T, codec.ConfluentFraming(id)) {
			record := &kgo.Record{Topic: topic, Partition: int32(i % partitions), Key: fmt.Appendf(nil, "%s:%d", e.ID, at),
				Value: lookedUp(o.T, value, e.lookedUp), Timestamp: now}
			if err := o.ProduceSync(ctx, record).FirstErr(); err != nil {
				o.Fatal(err)
			}
		}
	}
	o.end(kgo.TryCommit)
}

// lookedUp is a record with names in it that the connector has looked up.
func lookedUp(t *testing.T, value []byte, names map[string]string) []byte {
	t.Helper()
	if len(names) == 0 {
		return value
	}
	avro, err := goavro.NewCodec(schemas.ConfigurationChange)
	if err != nil {
		t.Fatal(err)
	}
	const framing = 1 + 4
	native, rest, err := avro.NativeFromBinary(value[framing:])
	if err != nil || len(rest) > 0 {
		t.Fatal(err, binary.BigEndian.Uint32(value[1:framing]))
	}
	record := native.(map[string]any)
	for field, name := range names {
		record[field] = goavro.Union("string", name)
	}
	value, err = avro.BinaryFromNative(slices.Clone(value[:framing]), record)
	if err != nil {
		t.Fatal(err)
	}
	return value
}

func isType(c published, types ...string) bool {
	return slices.ContainsFunc(types, func(t string) bool { return strings.EqualFold(c.EntityType, t) })
}

// isLogin reports whether an event is a login, a refused one or a logout.
func isLogin(c published) bool {
	return isType(c, "AuthUser", "UserSamlAuthentication") && slices.Contains([]string{"Authenticate", "AuthenticationFailed", "SingleLogout"}, c.Action)
}

// actorType is who a record says has acted.
func actorType(c published) string {
	user, client := text(c.UserID), text(c.ClientID)
	switch {
	case client != "" && (user == "" || user == client):
		return "client"
	case user != "":
		return "user"
	case text(c.Level) == "USER":
		return "unknown"
	}
	return "system"
}

// isAccess reports whether a change is one of who may do what.
func isAccess(c published) bool {
	if isLogin(c) {
		return false
	}
	return isType(c, "User", "Users", "Group", "DirectoryGroup", "SkillGroup", "Team", "Role", "RoleSettings", "OAuthClient",
		"OAuthClientAuthorization", "AuthUser", "AuthOrganization", "UserSamlAuthentication", "MFAVerifier", "IdentityProvider", "AccessToken",
		"OrganizationAuthorizationTrust", "OrganizationAuthorizationUserTrust") || isType(c, "Policy") && text(c.ServiceName) == "PeoplePermissions"
}
