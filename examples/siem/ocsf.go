package main

import (
	"cmp"
	"strings"
	"time"

	"genesys-audit-connector/examples/consumer"
)

// ocsfVersion is the schema that events are of: https://schema.ocsf.io/1.8.0
const ocsfVersion = "1.8.0"

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
	StatusDetail string         `json:"status_detail,omitempty"` // of what failed, in Genesys' words
	Message      string         `json:"message"`
	Metadata     ocsfMetadata   `json:"metadata"`
	Actor        *ocsfActor     `json:"actor,omitempty"`
	SrcEndpoint  *ocsfEndpoint  `json:"src_endpoint,omitempty"`
	Entity       *ocsfEntity    `json:"entity,omitempty"`     // Entity Management
	User         *ocsfUser      `json:"user,omitempty"`       // whose account, rights or membership it is
	Group        *ocsfNamed     `json:"group,omitempty"`      // Group Management
	Privileges   []string       `json:"privileges,omitempty"` // the role that is given or taken
	Service      *ocsfNamed     `json:"service,omitempty"`    // Authentication: what one logs in to
	Protocol     string         `json:"auth_protocol,omitempty"`
	ProtocolID   int            `json:"auth_protocol_id,omitempty"`
	Attacks      []ocsfAttack   `json:"attacks,omitempty"`
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
	Profiles       []string    `json:"profiles,omitempty"` // security_control, to which attacks belongs
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
	UID    string `json:"uid,omitempty"`
	Name   string `json:"name,omitempty"`
	Type   string `json:"type,omitempty"`
	TypeID int    `json:"type_id,omitempty"`
}

// ocsfNamed is a group, a service or an ATT&CK technique.
type ocsfNamed struct {
	UID  string `json:"uid,omitempty"`
	Name string `json:"name,omitempty"`
}

type ocsfAttack struct {
	Technique    *ocsfNamed `json:"technique"`
	SubTechnique *ocsfNamed `json:"sub_technique,omitempty"`
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

// newOCSF is the event that a change is.
func newOCSF(m *consumer.Message) *OCSF {
	v := classes().judge(m)
	name := v.activityName(m)
	e := &OCSF{
		ActivityID: v.activity, ActivityName: name, CategoryUID: 3, CategoryName: "Identity & Access Management",
		ClassUID: v.class.uid, ClassName: v.class.name, TypeUID: 100*v.class.uid + v.activity, TypeName: v.class.name + ": " + name,
		Time: m.Time.UnixMilli(), SeverityID: v.severity, Severity: severities[v.severity], Message: sentence(m),
		Metadata: ocsfMetadata{
			Version: ocsfVersion, UID: m.ID, CorrelationUID: m.AuditID, EventCode: m.Action, LogName: "audit",
			LogProvider: consumer.Text(m.ServiceName), OriginalTime: m.Time.Format(time.RFC3339Nano), TenantUID: consumer.Text(m.OrgID),
			Product: ocsfProduct{Name: "Genesys Cloud", VendorName: "Genesys"},
		},
		Actor: actor(m), SrcEndpoint: endpoint(m), Unmapped: unmapped(m),
	}
	e.StatusID, e.Status = status(m, &v)
	if e.StatusID == 2 {
		e.StatusDetail = consumer.Text(m.Message)
	}
	for _, id := range v.techniques {
		e.Attacks = append(e.Attacks, attack(id))
		e.Metadata.Profiles = []string{"security_control"}
	}
	e.about(m, v.class)
	return e
}

// about sets the objects that a class requires.
func (e *OCSF) about(m *consumer.Message, c *class) {
	role := cmp.Or(entityName(m), m.Context["roleId"], consumer.Text(m.EntityID), "unknown")
	switch c {
	case &userAccess:
		e.User, e.Privileges = subject(m), []string{role}
	case &groupChange:
		if isRole(m) {
			e.Group, e.Privileges = &ocsfNamed{memberID(m), memberName(m)}, []string{role}
			break
		}
		e.Group = named(consumer.Text(m.EntityID), entityName(m))
		if memberID(m) != "" {
			e.User = subject(m)
		}
	case &accountChange:
		e.User = someone(account(m))
	case &authentication:
		e.User, e.Service = someone(account(m)), &ocsfNamed{Name: "Genesys Cloud"}
		if strings.EqualFold(m.EntityType, "UserSamlAuthentication") {
			e.Protocol, e.ProtocolID = "SAML", 5
		}
	default:
		e.Entity = entity(m)
	}
}

// subject is who gets or loses something.
func subject(m *consumer.Message) *ocsfUser {
	u := someone(memberID(m), memberName(m))
	switch consumer.Text(m.MemberType) {
	case "user":
		u.Type, u.TypeID = "User", 1
	case "client":
		u.Type, u.TypeID = "Service", 4
	}
	return u
}

// someone is a user, of whom OCSF wants an id or a name.
func someone(id, name string) *ocsfUser {
	u := named(id, name)
	return &ocsfUser{UID: u.UID, Name: u.Name}
}

func named(id, name string) *ocsfNamed {
	if id == "" && name == "" {
		name = "unknown"
	}
	return &ocsfNamed{UID: id, Name: name}
}

func entity(m *consumer.Message) *ocsfEntity {
	e := &ocsfEntity{Type: m.EntityType, UID: consumer.Text(m.EntityID), Name: entityName(m)}
	if e.UID == "" && e.Name == "" {
		e.Name = cmp.Or(m.EntityType, "unknown") // one of them is required
	} else if strings.EqualFold(m.EntityType, "user") {
		e.User = someone(e.UID, e.Name)
	}
	return e
}

func actor(m *consumer.Message) *ocsfActor {
	a := ocsfActor{AppUID: consumer.Text(m.ClientID)}
	switch id, name := consumer.Text(m.UserID), consumer.Text(m.UserName); {
	case actorType(m) == actorUser:
		a.User = someone(id, name)
	case name != "": // of the client
		a.User = &ocsfUser{UID: id, Name: name, Type: "Service", TypeID: 4}
	}
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

func attack(id string) ocsfAttack {
	names := classes().Techniques
	parent, _, sub := strings.Cut(id, ".")
	a := ocsfAttack{Technique: &ocsfNamed{parent, names[parent]}}
	if sub {
		a.SubTechnique = &ocsfNamed{id, names[id]}
	}
	return a
}

func status(m *consumer.Message, v *verdict) (id int, name string) {
	text := consumer.Text(m.Status)
	switch {
	case v.status == "Failure", text == "FAILURE": // some actions are the failure, whatever the status
		return 2, "Failure"
	case text == "":
		return 0, "Unknown"
	case text == "SUCCESS":
		return 1, "Success"
	}
	return 99, text
}

// unmapped is what OCSF has no place for, above all the change itself.
func unmapped(m *consumer.Message) map[string]any {
	u := map[string]any{
		"change_type": m.Type, "change_index": m.Index, "change_count": m.Count,
		"previous_type": m.PreviousType, "new_type": m.NewType, "entity_type": m.EntityType, "organisation": m.Org,
		"actor_type": actorType(m),
	}
	for name, text := range map[string]string{
		"level": consumer.Text(m.Level), "application": consumer.Text(m.Application), "message": consumer.Text(m.Message),
		"transaction_id": consumer.Text(m.TransactionID), "entity_id": consumer.Text(m.EntityID), "entity_name": entityName(m),
		"member_id": memberID(m), "member_name": memberName(m), "member_type": consumer.Text(m.MemberType),
		"division_id": consumer.Text(m.DivisionID), "division_name": consumer.Text(m.DivisionName), "actor_id": actorID(m),
	} {
		if text != "" {
			u[name] = text
		}
	}
	for name, text := range map[string]*string{"configuration_key": m.Key, "previous_value": m.Previous, "new_value": m.New} {
		if text != nil {
			u[name] = *text // a value may be the empty text
		}
	}
	if memberID(m) != "" {
		u["member_relation"] = relation(m)
	}
	if len(m.Context) > 0 {
		u["context"] = m.Context
	}
	for name, list := range map[string][]string{"resolved_names": m.ResolvedNames, "masked_fields": m.MaskedFields} {
		if len(list) > 0 {
			u[name] = list
		}
	}
	if len(m.RemoteIP) > len(addresses(m)) {
		u["remote_ip"] = m.RemoteIP
	}
	return u
}
