package web

import (
	"strings"
	"time"

	"genesys-audit-connector/internal/audit"
)

// The most characters of a change that the page shows; the topics hold the rest.
const (
	maxName  = 60
	maxValue = 160
)

// changeRow is one change as a person reads it. None of it is trusted.
type changeRow struct {
	When     string
	At       string // RFC 3339
	Who      string
	WhoID    string // who exactly, where Who is only a name
	Action   string
	Entity   string // the type
	Name     string
	Key      string
	Type     string
	From, To side
	Role     bool // who may do what was changed
}

// side is one of the two values of a change.
type side struct {
	Text   string
	Absent bool // there was no value; Text says which kind of none
}

func changeRows(list []audit.Change, now time.Time) []changeRow {
	rows := make([]changeRow, len(list))
	for i := range list {
		rows[i] = newChangeRow(&list[i], now)
	}
	return rows
}

func newChangeRow(c *audit.Change, now time.Time) changeRow {
	who, id := actor(c)
	return changeRow{
		When: stamp(c.Time, now), At: c.Time.UTC().Format(audit.TimeFormat), Who: who, WhoID: id,
		Action: shown(c.Action, maxName), Entity: shown(c.EntityType, maxName),
		Name: shown(first(c.EntityName, c.EntityID), maxName),
		Key:  shown(first(c.Key), maxName), Type: c.Type,
		From: newSide(c.PreviousType, c.Previous), To: newSide(c.NewType, c.New),
		Role: strings.Contains(strings.ToLower(c.EntityType), "role"),
	}
}

// actor is who did it, and the id where the name does not hold it.
func actor(c *audit.Change) (who, id string) {
	user, client := shown(first(c.UserID), maxName), shown(first(c.ClientID), maxName)
	switch {
	case first(c.UserName) != "":
		return shown(*c.UserName, maxName), user
	case user != "":
		return "user " + user, ""
	case client != "":
		return "OAuth client " + client, ""
	case first(c.Level) != "" && *c.Level != "USER":
		return "the system", ""
	}
	return "unknown", ""
}

// first is the first of the texts that is there and not empty.
func first(texts ...*string) string {
	for _, s := range texts {
		if s != nil && *s != "" {
			return *s
		}
	}
	return ""
}

func newSide(kind string, value *string) side {
	switch {
	case kind == "ABSENT":
		return side{"nothing", true}
	case value == nil && kind != "NULL":
		return side{"masked", true}
	case value == nil:
		return side{"null", true}
	case *value == "":
		return side{"empty text", true}
	}
	return side{shown(*value, maxValue), false}
}
