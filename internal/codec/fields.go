package codec

import "genesys-audit-connector/internal/jsonscan"

// fields are the parts of an event that a record is made of, wherever the
// event's shape has them. One that holds no text, or the empty one, is not there:
// where an id or a name belongs, "" says that there is none.
type fields struct {
	userID, userName       jsonscan.Value
	action                 jsonscan.Value
	entityType             jsonscan.Value
	entityID, entityName   jsonscan.Value
	orgID                  jsonscan.Value
	serviceName            jsonscan.Value
	clientID               jsonscan.Value
	status, level          jsonscan.Value
	application            jsonscan.Value
	remoteIP, context      jsonscan.Value
	message                jsonscan.Value
	transactionID          jsonscan.Value // of initiatingAction
	before, after          jsonscan.Value
	rawPayload             jsonscan.Value
	propertyChanges        jsonscan.Value
	entityChanges          jsonscan.Value
	user, entity, oauthApp jsonscan.Value // where dialects query and realtime keep ids and names
	initiatingAction       jsonscan.Value
	// Where a notification keeps the user's name: AuditTopicAuditLogMessage of the
	// vendor's SDK. Its username may be an object, and so may its clientId.
	username, userDisplay jsonscan.Value
}

// read takes the fields out of an event in one pass. A later member of the same
// name replaces an earlier one. text is memory for escaped names.
func (f *fields) read(event jsonscan.Value, text *[]byte) {
	*f = fields{}
	for m := event.Members(); m.Next(); {
		if field := f.named(m.Key().View(text)); field != nil {
			*field = m.Value()
		}
	}
	f.userID = nameOf(f.userID, f.user, "id")
	f.userName = nameOf(f.userName, f.user, "name")
	f.entityID = nameOf(f.entityID, f.entity, "id")
	f.entityName = nameOf(f.entityName, f.entity, "name")
	f.transactionID = f.initiatingAction.Get("transactionId")
	f.message = nameOf(f.message, f.message, "message")
	if f.clientID.Kind() != jsonscan.Object {
		f.clientID = nameOf(f.clientID, f.oauthApp, "id")
	} else {
		f.clientID = nameOf(f.oauthApp.Get("id"), f.clientID, "id")
	}
	if f.username.Kind() != jsonscan.Absent || f.userDisplay.Kind() != jsonscan.Absent {
		f.readNotification()
	}
}

// readNotification takes what only a notification has, where nothing else says it.
func (f *fields) readNotification() {
	f.userID = nameOf(f.userID, f.username, "id")
	if !isName(f.userName) {
		f.userName = nameOf(f.username, f.username, "name")
	}
	if !isName(f.userName) {
		f.userName = f.userDisplay
	}
}

func (f *fields) named(name []byte) *jsonscan.Value {
	switch string(name) {
	case "userId":
		return &f.userID
	case "userName":
		return &f.userName
	case "action":
		return &f.action
	case "entityType":
		return &f.entityType
	case "entityId":
		return &f.entityID
	case "entityName":
		return &f.entityName
	case "userHomeOrgId":
		return &f.orgID
	case "serviceName":
		return &f.serviceName
	case "clientId":
		return &f.clientID
	case "status":
		return &f.status
	case "level":
		return &f.level
	case "application":
		return &f.application
	case "remoteIp":
		return &f.remoteIP
	case "context":
		return &f.context
	case "username":
		return &f.username
	case "userDisplay":
		return &f.userDisplay
	case "message":
		return &f.message
	case "initiatingAction":
		return &f.initiatingAction
	case "before":
		return &f.before
	case "after":
		return &f.after
	case "rawPayload":
		return &f.rawPayload
	case "propertyChanges":
		return &f.propertyChanges
	case "entityChanges":
		return &f.entityChanges
	case "user":
		return &f.user
	case "entity":
		return &f.entity
	case "client":
		return &f.oauthApp
	}
	return nil
}

// nameOf is the flat field where that holds a name, else the member called name of the
// object.
func nameOf(flat, object jsonscan.Value, name string) jsonscan.Value {
	if object.Kind() != jsonscan.Object || isName(flat) {
		return flat
	}
	return object.Get(name)
}

// isName reports whether v counts where an id or a name belongs: a text that is not
// empty.
func isName(v jsonscan.Value) bool {
	return isText(v) && string(v.Raw()) != `""`
}

// isText reports whether v counts where a string belongs: a string, or a number
// or boolean by its spelling. Null, objects and arrays count as none.
func isText(v jsonscan.Value) bool {
	switch v.Kind() {
	case jsonscan.String, jsonscan.Number, jsonscan.Bool:
		return true
	default:
		return false
	}
}
