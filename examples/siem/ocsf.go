package main

import (
	"cmp"
	"net/netip"
	"strings"
	"time"

	"genesys-audit-connector/examples/consumer"
)

// ocsfVersion is the schema that events are of: https://schema.ocsf.io/1.5.0
const ocsfVersion = "1.5.0"

// OCSF is an event of one of the classes below. Its JSON is the same whenever it
// is made: a repeat can be told by metadata.uid and is the same in every byte.
type OCSF struct {
	ActivityID   int            `json:"activity_id"`
	ActivityName string         `json:"activity_name"`
	CategoryUID  int            `json:"category_uid"`
	CategoryName string         `json:"category_name"`
	ClassUID     int            `json:"class_uid"`
	ClassName    string         `json:"class_name"`
	TypeUID      int            `json:"type_uid"`
	TypeName     string         `json:"type_name"`
	Time         int64          `json:"time"` // ms since 1970
	SeverityID   int            `json:"severity_id"`
	Severity     string         `json:"severity"`
	StatusID     int            `json:"status_id"`
	Status       string         `json:"status"`
	Message      string         `json:"message"`
	Metadata     ocsfMetadata   `json:"metadata"`
	Actor        *ocsfActor     `json:"actor,omitempty"`
	SrcEndpoint  *ocsfEndpoint  `json:"src_endpoint,omitempty"`
	Entity       *ocsfEntity    `json:"entity,omitempty"`     // Entity Management
	User         *ocsfUser      `json:"user,omitempty"`       // Account Change, User Access Management
	Privileges   []string       `json:"privileges,omitempty"` // User Access Management
	Unmapped     map[string]any `json:"unmapped"`
}

type ocsfMetadata struct {
	Version        string      `json:"version"`
	UID            string      `json:"uid"`             // stable: <auditId>:<changeIndex>
	CorrelationUID string      `json:"correlation_uid"` // the audit event, of which there may be several changes
	EventCode      string      `json:"event_code,omitempty"`
	LogName        string      `json:"log_name"`
	LogProvider    string      `json:"log_provider,omitempty"`
	OriginalTime   string      `json:"original_time"`
	TenantUID      string      `json:"tenant_uid,omitempty"`
	Product        ocsfProduct `json:"product"`
}

type ocsfProduct struct {
	Name       string `json:"name"`
	VendorName string `json:"vendor_name"`
}

type ocsfActor struct {
	User   *ocsfUser `json:"user,omitempty"`
	AppUID string    `json:"app_uid,omitempty"` // an OAuth client
}

type ocsfUser struct {
	UID  string `json:"uid,omitempty"`
	Name string `json:"name,omitempty"`
}

type ocsfEntity struct {
	Type string    `json:"type,omitempty"`
	UID  string    `json:"uid,omitempty"`
	Name string    `json:"name,omitempty"`
	User *ocsfUser `json:"user,omitempty"`
}

type ocsfEndpoint struct {
	IP            string   `json:"ip"`
	Intermediates []string `json:"intermediate_ips,omitempty"`
}

// class is an OCSF class with the names of its activities.
type class struct {
	uid        int
	name       string
	activities map[int]string
}

// The classes, all of category Identity & Access Management (3).
var (
	accountChange = class{3001, "Account Change", map[int]string{1: "Create", 2: "Enable", 5: "Disable", 6: "Delete"}}
	entityChange  = class{3004, "Entity Management", map[int]string{
		1: "Create", 2: "Read", 3: "Update", 4: "Delete", 5: "Move", 8: "Enable", 9: "Disable", 10: "Activate", 11: "Deactivate",
		12: "Suspend", 13: "Resume",
	}}
	userAccess = class{3005, "User Access Management", map[int]string{1: "Assign Privileges", 2: "Revoke Privileges"}}
)

const (
	activityUnknown = 0
	activityOther   = 99 // activity_name then is the action in Genesys' words
)

// entityActivities are the actions, in lower case, that Entity Management knows.
var entityActivities = map[string]int{
	"create": 1, "add": 1, "copy": 1, "read": 2, "view": 2, "download": 2, "export": 2, "update": 3, "edit": 3, "replace": 3, "memberadd": 3,
	"memberupdate": 3, "memberremove": 3, "delete": 4, "remove": 4, "move": 5, "enable": 8, "disable": 9, "activate": 10, "deactivate": 11,
	"suspend": 12, "resume": 13,
}

// classify says what class and activity a change is. Who gets or loses a role is
// User Access Management; a user who comes, goes, or may log in or no longer is
// Account Change; everything else is Entity Management.
func classify(m *consumer.Message) (class, int) {
	action, entity := strings.ToLower(m.Action), strings.ToLower(m.EntityType)
	switch {
	case entity == "role" && m.Context["userId"] != "":
		switch action {
		case "memberadd":
			return userAccess, 1
		case "memberremove":
			return userAccess, 2
		case "memberupdate":
			return userAccess, activityOther
		}
	case entity == "user" && consumer.Text(m.EntityID)+consumer.Text(m.EntityName) != "":
		switch {
		case action == "create" || action == "add":
			return accountChange, 1
		case action == "delete" || action == "remove":
			return accountChange, 6
		case consumer.Text(m.Key) == "state" && consumer.Text(m.New) == "active":
			return accountChange, 2
		case consumer.Text(m.Key) == "state" && consumer.Text(m.New) == "inactive":
			return accountChange, 5
		case consumer.Text(m.Key) == "state" && consumer.Text(m.New) == "deleted":
			return accountChange, 6
		}
	}
	if action == "" {
		return entityChange, activityUnknown
	}
	return entityChange, cmp.Or(entityActivities[action], activityOther)
}

// newOCSF is the event that a change is.
func newOCSF(m *consumer.Message) *OCSF {
	class, activity := classify(m)
	name := class.activities[activity]
	switch activity {
	case activityUnknown:
		name = "Unknown"
	case activityOther:
		name = m.Action
	}
	e := &OCSF{
		ActivityID: activity, ActivityName: name, CategoryUID: 3, CategoryName: "Identity & Access Management",
		ClassUID: class.uid, ClassName: class.name, TypeUID: 100*class.uid + activity, TypeName: class.name + ": " + name,
		Time: m.Time.UnixMilli(), Message: sentence(m),
		Metadata: ocsfMetadata{
			Version: ocsfVersion, UID: m.ID, CorrelationUID: m.AuditID, EventCode: m.Action, LogName: "audit",
			LogProvider: consumer.Text(m.ServiceName), OriginalTime: m.Time.Format(time.RFC3339Nano), TenantUID: consumer.Text(m.OrgID),
			Product: ocsfProduct{Name: "Genesys Cloud", VendorName: "Genesys"},
		},
		Unmapped: unmapped(m),
	}
	e.SeverityID, e.Severity = severity(m)
	e.StatusID, e.Status = status(m)
	e.Actor = actor(m)
	e.SrcEndpoint = endpoint(m)
	switch class.uid {
	case userAccess.uid:
		e.User = &ocsfUser{UID: m.Context["userId"], Name: m.Context["memberName"]}
		e.Privileges = []string{cmp.Or(m.Context["roleName"], m.Context["roleId"], consumer.Text(m.EntityID), "unknown")}
	case accountChange.uid:
		e.User = user(m.EntityID, m.EntityName)
	default:
		e.Entity = entity(m)
	}
	return e
}

func user(id, name *string) *ocsfUser {
	u := ocsfUser{UID: consumer.Text(id), Name: consumer.Text(name)}
	if u == (ocsfUser{}) {
		return nil
	}
	return &u
}

func entity(m *consumer.Message) *ocsfEntity {
	e := &ocsfEntity{Type: m.EntityType, UID: consumer.Text(m.EntityID), Name: consumer.Text(m.EntityName)}
	if e.UID == "" && e.Name == "" {
		e.Name = cmp.Or(m.EntityType, "unknown") // one of them is required
	}
	if strings.EqualFold(m.EntityType, "user") {
		e.User = user(m.EntityID, m.EntityName)
	}
	return e
}

func actor(m *consumer.Message) *ocsfActor {
	a := ocsfActor{User: user(m.UserID, m.UserName), AppUID: consumer.Text(m.ClientID)}
	if a == (ocsfActor{}) {
		return nil
	}
	return &a
}

// endpoint is where the change was asked for. What is no address is left to unmapped.
func endpoint(m *consumer.Message) *ocsfEndpoint {
	addresses := addresses(m)
	if len(addresses) == 0 {
		return nil
	}
	e := &ocsfEndpoint{IP: addresses[0].String()}
	for _, a := range addresses[1:] {
		e.Intermediates = append(e.Intermediates, a.String())
	}
	return e
}

func addresses(m *consumer.Message) []netip.Addr {
	var list []netip.Addr
	for _, text := range m.RemoteIP {
		if a, err := netip.ParseAddr(text); err == nil {
			list = append(list, a.WithZone(""))
		}
	}
	return list
}

// severity is a judgement: who may do what comes first, then what is gone.
func severity(m *consumer.Message) (id int, name string) {
	switch strings.ToLower(m.EntityType) {
	case "role", "oauthclient":
		return 3, "Medium"
	}
	if strings.EqualFold(m.Action, "Delete") {
		return 2, "Low"
	}
	return 1, "Informational"
}

func status(m *consumer.Message) (id int, name string) {
	switch text := consumer.Text(m.Status); text {
	case "":
		return 0, "Unknown"
	case "SUCCESS":
		return 1, "Success"
	case "FAILURE":
		return 2, "Failure"
	default:
		return 99, text
	}
}

// unmapped is what OCSF has no place for, above all the change itself.
func unmapped(m *consumer.Message) map[string]any {
	u := map[string]any{
		"change_type": m.Type, "change_index": m.Index, "change_count": m.Count,
		"previous_type": m.PreviousType, "new_type": m.NewType, "entity_type": m.EntityType, "organisation": m.Org,
	}
	for name, text := range map[string]*string{
		"configuration_key": m.Key, "previous_value": m.Previous, "new_value": m.New, "entity_id": m.EntityID, "entity_name": m.EntityName,
		"level": m.Level, "application": m.Application,
	} {
		if text != nil {
			u[name] = *text
		}
	}
	if len(m.Context) > 0 {
		u["context"] = m.Context
	}
	if len(m.RemoteIP) > len(addresses(m)) {
		u["remote_ip"] = m.RemoteIP
	}
	return u
}

// sentenceValue is how much of a value a sentence quotes, in bytes.
const sentenceValue = 200

// sentence tells the change to a person, in one line.
func sentence(m *consumer.Message) string {
	var s strings.Builder
	s.WriteString(cmp.Or(consumer.Text(m.UserName), consumer.Text(m.UserID), consumer.Text(m.ClientID), "The system"))
	s.WriteString(": " + cmp.Or(m.Action, "change") + " of " + cmp.Or(m.EntityType, "an object"))
	if name := cmp.Or(m.Context["roleName"], m.Context["roleId"], consumer.Text(m.EntityName), consumer.Text(m.EntityID)); name != "" {
		s.WriteString(" " + quote(name))
	}
	if member := cmp.Or(m.Context["memberName"], m.Context["userId"]); member != "" {
		s.WriteString(", member " + quote(member))
	}
	if m.Key != nil {
		s.WriteString(", " + cut(*m.Key, sentenceValue))
	}
	switch m.Type {
	case "ADDED":
		s.WriteString(" = " + quote(consumer.Text(m.New)))
	case "REMOVED":
		s.WriteString(" (was " + quote(consumer.Text(m.Previous)) + ") removed")
	case "MODIFIED", "REORDERED":
		s.WriteString(" from " + quote(consumer.Text(m.Previous)) + " to " + quote(consumer.Text(m.New)))
	}
	return oneLine(s.String())
}

func quote(text string) string { return "\"" + cut(text, sentenceValue) + "\"" }

// cut shortens a text to at most n bytes, without breaking a character.
func cut(text string, n int) string {
	const mark = "…"
	if len(text) <= n {
		return text
	}
	return strings.ToValidUTF8(text[:n-len(mark)], "") + mark
}

// oneLine makes control characters spaces.
func oneLine(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, text)
}
