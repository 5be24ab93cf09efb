package audit

// Kind is what an id belongs to. Kinds may be joined where an event does not say
// which one it is.
type Kind uint8

// The kinds whose names can be told.
const (
	UserKind Kind = 1 << iota
	ClientKind
	GroupKind
	RoleKind
	QueueKind
	DivisionKind
)

// Kinds are all of them.
var Kinds = []Kind{UserKind, ClientKind, GroupKind, RoleKind, QueueKind, DivisionKind}

// String is the kind in the plural, as people call it.
func (k Kind) String() string {
	switch k {
	case UserKind:
		return "users"
	case ClientKind:
		return "OAuth clients"
	case GroupKind:
		return "groups"
	case RoleKind:
		return "roles"
	case QueueKind:
		return "queues"
	case DivisionKind:
		return "divisions"
	}
	return "things of several kinds"
}

// Name is what an id is called, and of which kind it turned out to be.
type Name struct {
	Text string
	Kind Kind
}

// Names tells what ids are called, from memory: it waits for nothing, and gives the
// same answers as long as it lives.
type Names interface {
	// NameOf returns the name of an id that is of one of the kinds.
	NameOf(kinds Kind, id []byte) (Name, bool)
}
