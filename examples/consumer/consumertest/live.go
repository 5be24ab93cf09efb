package consumertest

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"genesys-audit-connector/internal/audit"
	"genesys-audit-connector/internal/codec"
	"genesys-audit-connector/internal/jsonscan"
)

// Live is an event in the shape in which live organisations show it in the dialects
// query and realtime: user {} where nobody is named, client.id "" where no OAuth
// client acted, empty application, initiatingAction, context and entityChanges.
// The shape is that of the SDK's model AuditLogMessage.
type Live struct {
	ID                          string
	At                          time.Time
	Service, EntityType, Action string
	EntityID, EntityName        string
	User, UserName, Client      string
	Level                       string // "": SYSTEM without user and client, else USER
	Status                      string // "": SUCCESS
	Address                     string
	Changes                     []LiveChange
	Context                     map[string]string
}

// LiveChange is one of propertyChanges.
type LiveChange struct {
	Property string
	Old, New []string
}

// LiveGrant is an event by which a subject gets (MemberAdd) or loses a role: the
// entity's name has three ids and nobody's name, and nothing was changed.
func LiveGrant(id, action, subject, role, division string) Live {
	return Live{
		ID: id, Service: "PeoplePermissions", EntityType: "Role", Action: action,
		EntityID: role, EntityName: strings.Join([]string{subject, role, division}, "--"),
	}
}

// JSON is the event as the API sends it.
func (l Live) JSON() []byte {
	type object = map[string]any
	user, level, status := object{}, l.Level, l.Status
	if l.User != "" {
		user = object{"id": l.User, "selfUri": "/api/v2/users/" + l.User}
		if l.UserName != "" {
			user["name"] = l.UserName
		}
	}
	if level == "" {
		level = "USER"
		if l.User == "" && l.Client == "" {
			level = "SYSTEM"
		}
	}
	if status == "" {
		status = "SUCCESS"
	}
	addresses, changes, context := []string{}, []object{}, l.Context
	if l.Address != "" {
		addresses = append(addresses, l.Address)
	}
	for _, c := range l.Changes {
		changes = append(changes, object{"property": c.Property, "oldValues": listed(c.Old), "newValues": listed(c.New)})
	}
	if context == nil {
		context = map[string]string{}
	}
	body, err := json.Marshal(object{
		"id": l.ID, "userHomeOrgId": "5f31b306-b186-402a-91d1-b8cd13ed206c", "user": user, "client": object{"id": l.Client},
		"remoteIp": addresses, "serviceName": l.Service, "level": level, "eventDate": l.At.UTC().Format(audit.TimeFormat),
		"action": l.Action, "entity": object{"id": l.EntityID, "name": l.EntityName}, "entityType": l.EntityType,
		"status": status, "application": "", "initiatingAction": object{}, "transactionInitiator": true,
		"propertyChanges": changes, "entityChanges": []object{}, "context": context,
	})
	if err != nil {
		panic("consumertest: " + err.Error()) // strings can be encoded
	}
	return body
}

func listed(values []string) []string { return append([]string{}, values...) }

// Values are the event's change records as the connector encodes them, with a framing
// in front (nil: single-object encoding).
func (l Live) Values(t testing.TB, framing []byte) [][]byte {
	t.Helper()
	encoder, err := codec.NewEncoder(codec.Options{Framing: framing})
	if err != nil {
		t.Fatal(err)
	}
	var doc jsonscan.Doc
	if err := doc.Parse(l.JSON()); err != nil {
		t.Fatal(err)
	}
	event := audit.NewEvent(doc.Root())
	meta := encoder.Normalise(&event, l.At)
	if meta.Problem != "" {
		t.Fatal(meta.Problem)
	}
	var values [][]byte
	for i := range meta.Changes {
		values = append(values, append([]byte(nil), encoder.Record(i)...))
	}
	return values
}

// Decoded are the event's changes as a consumer reads them.
func (l Live) Decoded(t testing.TB) []audit.Change {
	t.Helper()
	decoder, err := codec.NewDecoder(nil)
	if err != nil {
		t.Fatal(err)
	}
	var changes []audit.Change
	for _, value := range l.Values(t, nil) {
		change, err := decoder.Decode(value)
		if err != nil {
			t.Fatal(err)
		}
		changes = append(changes, change)
	}
	return changes
}
