package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/term"

	"genesys-audit-connector/internal/audit"
)

// printer writes changes as an administrator would tell them: who changed what,
// from what, to what. Role grants stand out.
type printer struct {
	out   io.Writer
	color bool
	width int // of the terminal, 0 where there is none

	crowd   string // time and actor of the changes that come now
	crowded int    // how many there were
	noise   int    // changes that tell nothing, since they were last counted aloud
}

// noiseLines is how many changes that tell nothing make one line.
const noiseLines = 10

// crowdLines is how many changes by one actor in one millisecond, a deployment, are told one by one.
const crowdLines = 4

const (
	bold   = "\x1b[1m"
	dim    = "\x1b[2m"
	yellow = "\x1b[1;33m"
	plain  = "\x1b[0m"
)

func newPrinter(out io.Writer) printer {
	p := printer{out: out, color: isTerminal(out)}
	if f, ok := out.(*os.File); ok {
		p.width, _, _ = term.GetSize(int(f.Fd())) // 0 where it is no terminal
	}
	return p
}

func (p *printer) paint(style, s string) string {
	if !p.color || s == "" {
		return s
	}
	return style + s + plain
}

// change prints one change: on one line, or on two where the terminal is too narrow.
func (p *printer) change(c audit.Change) {
	if isNoise(c) {
		if p.noise++; p.noise == noiseLines {
			p.note(fmt.Sprintf("%d times synchronisation, with nothing but a new version", p.noise))
			p.noise = 0
		}
		return
	}
	at := c.Time.Format("15:04:05.000")
	crowd := at + actor(c)
	if crowd != p.crowd {
		if more := p.crowded - crowdLines; more > 0 {
			p.note(fmt.Sprintf("%d more in the same millisecond", more))
		}
		p.crowd, p.crowded = crowd, 0
	}
	if grant, ok := roleGrant(c); ok {
		if c.Index == 0 { // the other changes of the event say the same in other words
			p.role(at, c, grant)
		}
		return
	}
	if p.crowded++; p.crowded > crowdLines {
		return
	}
	style, difference := difference(c)
	if key := member(c); key != "" {
		c.Key = &key
		style, difference = memberDifference(c)
	}
	p.line(at, span{bold, actor(c)}, span{"", " " + what(c)}, span{style, " " + difference})
}

// past prints a role change of the last day: with its date.
func (p *printer) past(c audit.Change) {
	grant, _ := roleGrant(c)
	p.role(c.Time.Format("02 Jan 15:04"), c, grant)
}

func (p *printer) role(at string, c audit.Change, grant string) {
	p.line(at, span{yellow, "ROLE"}, span{bold, actor(c)}, span{yellow, grant})
}

// note prints what is no change.
func (p *printer) note(text string) {
	fmt.Fprintf(p.out, "%14s%s\n", "", p.paint(dim, "… "+text))
}

// span is a piece of a line.
type span struct{ style, text string }

// line prints a time and what belongs to it. What does not fit goes on below.
func (p *printer) line(at string, spans ...span) {
	const indent = 14
	var b strings.Builder
	b.WriteString(p.paint(dim, at) + " ")
	column := indent - 1
	for i, s := range spans {
		n := utf8.RuneCountInString(s.text) + 1
		if i > 0 && p.width > 0 && column+n > p.width {
			fmt.Fprintf(&b, "\n%*s", indent-1, "")
			column, s.text = indent-1, strings.TrimSpace(s.text)
		}
		b.WriteString(" " + p.paint(s.style, s.text))
		column += n
	}
	fmt.Fprintln(p.out, b.String())
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

// difference is what became of the key, and how that is printed.
func difference(c audit.Change) (style, text string) {
	key := ""
	if c.Key != nil {
		key = shown(*c.Key, 48) + ": "
	}
	from, to := side(c.PreviousType, c.Previous), side(c.NewType, c.New)
	switch c.Type {
	case "NONE":
		return dim, strings.TrimSuffix(key, ": ")
	case "ADDED":
		return "", key + "+ " + to
	case "REMOVED":
		return "", key + "- " + from
	case "REORDERED":
		return "", key + "reordered to " + to
	}
	return "", key + from + " → " + to
}

func side(kind string, value *string) string {
	switch {
	case kind == "ABSENT":
		return "nothing"
	case value == nil && kind != "NULL":
		return "something masked"
	case value == nil:
		return "null"
	case kind == "STRING":
		return fmt.Sprintf("%q", shown(*value, 40))
	}
	return shown(*value, 40)
}

// isNoise reports whether a change says nothing: most events of live organisations
// are synchronisation, of which only a version tells.
func isNoise(c audit.Change) bool {
	if c.Key == nil {
		return false
	}
	return *c.Key == "individuals" || *c.Key == "version" && c.Count == 1 && c.Level != nil && *c.Level == "SYSTEM"
}

// member is who came, went or changed in a queue or a group, "" where that is not it.
func member(c audit.Change) string {
	if c.MemberID == nil || *c.MemberID == "" {
		return ""
	}
	return "member " + nameOr(c.MemberName, c.MemberID)
}

// memberDifference says it of a member, whose id is not worth a second time.
func memberDifference(c audit.Change) (style, text string) {
	who := *c.Key
	switch {
	case c.Type == "ADDED":
		return "", "+ " + who
	case c.Type == "REMOVED":
		return "", "- " + who
	case c.Previous != nil && c.New != nil && *c.Previous != *c.New:
		return "", who + ": " + shown(*c.Previous, 20) + " → " + shown(*c.New, 20)
	}
	return "", who + " came or went"
}

// nameOr is a name in quotes, or the id where nobody knows the name.
func nameOr(name, id *string) string {
	switch {
	case name != nil && *name != "":
		return fmt.Sprintf("%q", shown(*name, 40))
	case id != nil:
		return shown(*id, 36)
	}
	return "unknown"
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
	kind := "user"
	if c.MemberType != nil {
		kind = shown(*c.MemberType, 10)
	}
	text := verb + " role " + nameOr(c.EntityName, c.EntityID) + " " + link + " " + kind + " " + nameOr(c.MemberName, c.MemberID)
	switch {
	case c.DivisionID != nil && *c.DivisionID == "*":
		text += " in all divisions"
	case c.DivisionID != nil:
		text += " in division " + nameOr(c.DivisionName, c.DivisionID)
	}
	return text, true
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
