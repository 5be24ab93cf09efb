package main

import (
	"bytes"
	"regexp"
)

// orgsPiece is a part of the file that begins at a line.
type orgsPiece struct {
	text []byte
	line int
}

var listBegins = regexp.MustCompile(`(?m)^organisations:[ \t]*(#.*)?\r?\n`)

// splitOrgs cuts the items of a list of organisations in block style out of the file. In
// their place the head has empty lines, so that its lines keep their numbers. Without such
// a list there are no items, and the head is all.
//
// Within an item every line has more indentation than the item's own "-", in YAML that is
// right: so a line that has the same and a "-" begins the next one.
func splitOrgs(content []byte) (head []byte, items []orgsPiece) {
	at := listBegins.FindIndex(content)
	if at == nil {
		return content, nil
	}
	head = append(head, content[:at[1]]...)
	line := bytes.Count(head, []byte("\n")) + 1
	indent, from := -1, 0
	for begin := at[1]; begin < len(content); line++ {
		end := len(content)
		if n := bytes.IndexByte(content[begin:], '\n'); n >= 0 {
			end = begin + n + 1
		}
		spaces, item, blank := lineBegins(content[begin:end])
		switch {
		case blank:
		case indent < 0 && !item:
			return content, nil // a list in flow style, or no list at all
		case indent < 0 || spaces == indent && item:
			indent, from = spaces, begin
			items = append(items, orgsPiece{line: line})
		case spaces <= indent:
			return append(head, content[begin:]...), items // the list has ended
		}
		if len(items) > 0 {
			items[len(items)-1].text = content[from:end]
		}
		head = append(head, '\n')
		begin = end
	}
	if indent < 0 {
		return content, nil
	}
	return head, items
}

// lineBegins reports how many spaces a line begins with, whether an item of a list follows,
// and whether there is nothing but a comment.
func lineBegins(line []byte) (spaces int, item, blank bool) {
	text := bytes.TrimLeft(line, " ")
	spaces = len(line) - len(text)
	text = bytes.TrimRight(text, "\r\n")
	item = len(text) > 0 && text[0] == '-' && (len(text) == 1 || text[1] == ' ' || text[1] == '\t')
	return spaces, item, len(bytes.TrimSpace(text)) == 0 || text[0] == '#'
}

// nesting is how deep brackets go, and the most indicators on one line, of which each may
// begin something inside of what the one before began. The parser calls itself for each.
func nesting(text []byte) int {
	deepest, open := 0, 0
	for line := range bytes.Lines(text) {
		indicators := 0
		for _, c := range line {
			switch c {
			case '[', '{':
				open++
			case ']', '}':
				open = max(0, open-1)
			case '-', '?', '!', '&', ':':
				indicators++
			}
			deepest = max(deepest, open)
		}
		if _, _, blank := lineBegins(line); !blank {
			deepest = max(deepest, indicators)
		}
	}
	return deepest
}
