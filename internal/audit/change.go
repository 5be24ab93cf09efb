package audit

import "time"

// Change is one change record of the changes topic: one key of a configuration
// object that an event changed. Nil pointers are null.
type Change struct {
	AuditID               string
	Index, Count          int
	Time                  time.Time
	UserID                *string
	UserName              *string
	Action                string
	EntityType            string
	EntityID              *string
	EntityName            *string
	Key                   *string
	Type                  string // ADDED, REMOVED, MODIFIED, REORDERED, NONE
	Previous              *string
	New                   *string
	PreviousType, NewType string // ABSENT, NULL, STRING, NUMBER, BOOLEAN, OBJECT, ARRAY
	OrgID                 *string
	ServiceName           *string
	ClientID              *string
	Status                *string
	Level                 *string
	Application           *string
	RemoteIP              []string
	Context               map[string]string
	Message               *string
	TransactionID         *string
	MemberID              *string
	MemberType            *string // user, group, client
	MemberName            *string
	DivisionID            *string
	DivisionName          *string
	ResolvedNames         []string // fields whose names were looked up
	MaskedFields          []string
}
