package sandbox

import (
	"fmt"
	"strings"
)

// kind is a sort of configuration object: its service and entity type in the
// query dialects' taxonomy, and how dialect auditlogs spells the type.
type kind struct {
	service, entityType, flatType string
}

var (
	queueKind       = kind{"ContactCenter", "Queue", "queue"}
	skillKind       = kind{"Routing", "RoutingSkill", "skill"}
	wrapupKind      = kind{"Routing", "WrapupCode", "wrapupCode"}
	roleKind        = kind{"PeoplePermissions", "Role", "role"}
	userKind        = kind{"Directory", "User", "user"}
	groupKind       = kind{"Groups", "DirectoryGroup", "group"}
	flowKind        = kind{"Architect", "Flow", "flow"}
	scheduleKind    = kind{"Architect", "Schedule", "schedule"}
	tableKind       = kind{"Datatables", "Schema", "dataTable"}
	rowKind         = kind{"Datatables", "Row", "dataTableRow"}
	integrationKind = kind{"Integrations", "Integration", "integration"}
	campaignKind    = kind{"Outbound", "Campaign", "campaign"}
	oauthKind       = kind{"PeoplePermissions", "OAuthClient", "oauthClient"}
	trunkKind       = kind{"Telephony", "Trunk", "trunk"}
	edgeKind        = kind{"Telephony", "Edge", "edge"}
	loginKind       = kind{"PeoplePermissions", "AuthUser", "session"}
)

// Types of events, as `filter=type=…` of dialect auditlogs selects them.
const (
	typeConfiguration  = "configuration"
	typeAuthentication = "authentication"
)

// scene is one thing that happens in the organisation, over and over, each time
// as another event. Its JSON is rendered once, so that an event costs a few
// appends.
type scene struct {
	kind
	typ                  string // typeConfiguration, typeAuthentication
	action               string
	entityID, entityName string
	message              string // told now and then
	status               string // "" is SUCCESS
	bySystem             bool   // no person did it
	by                   *actor // nil: whoever it is
	grant                bool   // somebody got or lost a role

	context       []byte // JSON object
	flatContext   []byte // the same in dialect auditlogs; nil: context
	before, after []byte // JSON, "null" where there is none
	properties    []byte // JSON array: propertyChanges
	entities      []byte // JSON array: entityChanges
}

// edit is one changed path of a snapshot.
type edit struct {
	path  string
	value any
}

func to(path string, value any) edit { return edit{path, value} }

// made, gone and edited are the three plain scenes of any kind.
func made(k kind, after object) *scene {
	return k.scene("Create", after, nil, after, propertyChanges(nil, after))
}

func gone(k kind, before object) *scene {
	return k.scene("Delete", before, before, nil, propertyChanges(before, nil))
}

func edited(k kind, action string, before object, edits ...edit) *scene {
	after := before
	changes := array{}
	for _, e := range edits {
		changes = append(changes, propertyChange(e.path, before.get(e.path), e.value))
		after = after.with(e.path, e.value)
	}
	return k.scene(action, before, before, after, changes)
}

// scene names the object by its own id and name.
func (k kind) scene(action string, about, before, after object, changes array) *scene {
	id, _ := about.get("id").(string)
	name, _ := about.get("name").(string)
	return &scene{
		kind: k, typ: typeConfiguration, action: action,
		entityID: id, entityName: name,
		message:    fmt.Sprintf("%s %s: %s", k.entityType, action, name),
		context:    []byte("{}"),
		before:     snapshot(before),
		after:      snapshot(after),
		properties: appendJSON(nil, changes),
		entities:   []byte("[]"),
	}
}

func (s *scene) withContext(pairs ...any) *scene {
	s.context = appendJSON(nil, obj(pairs...))
	return s
}

func (s *scene) system() *scene {
	s.bySystem = true
	return s
}

// changing replaces the scene's propertyChanges: property, old values, new values…
func (s *scene) changing(changes ...any) *scene {
	list := array{}
	for i := 0; i < len(changes); i += 3 {
		list = append(list, obj("property", changes[i], "oldValues", changes[i+1], "newValues", changes[i+2]))
	}
	s.properties = appendJSON(nil, list)
	return s
}

func snapshot(o object) []byte {
	if o == nil {
		return []byte("null")
	}
	return appendJSON(nil, o)
}

func propertyChange(property string, before, after any) object {
	if _, gone := after.(removed); gone {
		after = nil
	}
	return obj("property", property, "oldValues", valueTexts(before), "newValues", valueTexts(after))
}

// propertyChanges are those of an object that came or went whole.
func propertyChanges(before, after object) array {
	changes := array{}
	for _, m := range before {
		changes = append(changes, propertyChange(m.key, m.value, nil))
	}
	for _, m := range after {
		changes = append(changes, propertyChange(m.key, nil, m.value))
	}
	return changes
}

// kindOf is a kind whose auditlogs type is the entity type with a small letter in front.
func kindOf(service, entityType string) kind {
	return kind{service, entityType, strings.ToLower(entityType[:1]) + entityType[1:]}
}
