package main

import (
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"

	"genesys-audit-connector/internal/audit"
)

// printer writes changes as an administrator would tell them: who changed what,
// from what, to what. Role grants stand out.
type printer struct {
	out   io.Writer
	color bool

	crowd   string // time and actor of the changes that come now
	crowded int    // how many there were
}

// crowdLines is how many changes by one actor in one millisecond, a deployment, are told one by one.
const crowdLines = 4

const (
	bold   = "\x1b[1m"
	dim    = "\x1b[2m"
	yellow = "\x1b[1;33m"
	plain  = "\x1b[0m"
)

func (p *printer) paint(style, s string) string {
	if !p.color || s == "" {
		return s
	}
	return style + s + plain
}

// change prints one change on one line.
func (p *printer) change(c audit.Change) {
	at := p.paint(dim, c.Time.Format("15:04:05.000"))
	who := p.paint(bold, actor(c))
	crowd := at + who
	if crowd != p.crowd {
		if more := p.crowded - crowdLines; more > 0 {
			fmt.Fprintf(p.out, "%s\n", p.paint(dim, fmt.Sprintf("              … and %d more in the same millisecond", more)))
		}
		p.crowd, p.crowded = crowd, 0
	}
	if grant, ok := roleGrant(c); ok {
		if c.Index == 0 { // the other changes of the event say the same in other words
			fmt.Fprintf(p.out, "%s  %s %s %s\n", at, p.paint(yellow, "ROLE"), who, p.paint(yellow, grant))
		}
		return
	}
	if p.crowded++; p.crowded <= crowdLines {
		fmt.Fprintf(p.out, "%s  %s  %s  %s\n", at, who, what(c), p.difference(c))
	}
}

// actor is who did it.
func actor(c audit.Change) string {
	switch {
	case c.UserName != nil && *c.UserName != "":
		return shown(*c.UserName, 30)
	case c.UserID != nil && *c.UserID != "":
		return "user " + shown(*c.UserID, 36)
	case c.ClientID != nil && *c.ClientID != "":
		return "OAuth client " + shown(*c.ClientID, 36)
	case c.Level != nil && *c.Level != "USER":
		return "the system"
	}
	return "somebody"
}

// what is the object that was changed, and how it is called.
func what(c audit.Change) string {
	s := strings.TrimSpace(shown(c.Action, 24) + " " + shown(c.EntityType, 24))
	switch {
	case c.EntityName != nil && *c.EntityName != "":
		s += fmt.Sprintf(" %q", shown(*c.EntityName, 40))
	case c.EntityID != nil && *c.EntityID != "":
		s += " " + shown(*c.EntityID, 36)
	}
	return s
}

func (p *printer) difference(c audit.Change) string {
	key := ""
	if c.Key != nil {
		key = shown(*c.Key, 48) + ": "
	}
	from, to := side(c.PreviousType, c.Previous), side(c.NewType, c.New)
	switch c.Type {
	case "NONE":
		return p.paint(dim, strings.TrimSuffix(key, ": "))
	case "ADDED":
		return key + "+ " + to
	case "REMOVED":
		return key + "- " + from
	case "REORDERED":
		return key + "reordered to " + to
	}
	return key + from + " → " + to
}

func side(kind string, value *string) string {
	switch {
	case kind == "ABSENT":
		return "nothing"
	case value == nil:
		return "null"
	case kind == "STRING":
		return fmt.Sprintf("%q", shown(*value, 40))
	}
	return shown(*value, 40)
}

// roleGrant tells of an event that changes who has which role.
func roleGrant(c audit.Change) (string, bool) {
	if !strings.EqualFold(c.EntityType, "role") {
		return "", false
	}
	verb, link := "", ""
	switch strings.ToLower(c.Action) {
	case "memberadd":
		verb, link = "granted", "to"
	case "memberremove":
		verb, link = "revoked", "from"
	default:
		return "", false
	}
	// The name of a membership is made of ids; what people call them is in the context.
	role, member := "a role", "somebody"
	if name := c.Context["roleName"]; name != "" {
		role = fmt.Sprintf("role %q", shown(name, 40))
	} else if c.EntityID != nil {
		role = "role " + shown(*c.EntityID, 36)
	}
	if name := orElse(c.Context["memberName"], c.Context["userId"]); name != "" {
		member = shown(name, 40)
	}
	return verb + " " + role + " " + link + " " + member, true
}

// shown makes s safe and short enough for a terminal: an audit event must not be
// able to move the cursor or to hide the line before it.
func shown(s string, most int) string {
	var b strings.Builder
	n := 0
	for _, r := range s {
		if n == most {
			b.WriteRune('…')
			break
		}
		if r == utf8.RuneError || !unicode.IsPrint(r) || unicode.Is(unicode.Bidi_Control, r) {
			r = '·'
		}
		b.WriteRune(r)
		n++
	}
	return b.String()
}
