package main

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// What events say is written by people and programs that nobody here trusts: a
// queue may be called "\n*CRITICAL* <!channel> see http://evil.example". In an alert
// such text is one line (plain) that a sentence cannot be mistaken for (quoted), and
// a chat shows it without making anything of it (inert).

// mostMarks is how many combining marks in a row are shown: a pile of them covers
// the lines above and below.
const mostMarks = 3

// plain returns a text as one line of visible characters. Control characters and
// every kind of white space become one space. Characters that show nothing but change
// how others are shown or read (directions, joiners, soft hyphens, tags) go.
func plain(text string) string {
	var b strings.Builder
	space, marks := false, 0
	for _, r := range text {
		switch {
		case unicode.Is(unicode.Cf, r) || r == '\u034F': // combining grapheme joiner
			continue
		case unicode.IsControl(r) || unicode.Is(unicode.Z, r) || isBlank(r):
			space = true
			continue
		case unicode.Is(unicode.M, r):
			if marks++; marks > mostMarks {
				continue
			}
		case !unicode.IsGraphic(r):
			r = utf8.RuneError
		}
		if !unicode.Is(unicode.M, r) {
			marks = 0
		}
		if space && b.Len() > 0 {
			b.WriteByte(' ')
		}
		space = false
		b.WriteRune(r)
	}
	return b.String()
}

// isBlank reports whether a character is a letter or a symbol that shows nothing:
// the fillers of Hangul, and Braille without a dot.
func isBlank(r rune) bool {
	switch r {
	case '\u115F', '\u1160', '\u3164', '\uFFA0', '\u2800':
		return true
	}
	return false
}

// quoted returns a text in quotation marks, of which it has none itself, nor any that
// look like them, so that nothing in it can be taken for a word of the sentence around it.
func quoted(text string, most int) string {
	return `"` + strings.Map(unquoted, cut(plain(text), most)) + `"`
}

func unquoted(r rune) rune {
	switch r {
	case '"', '“', '”', '„', '‟', '″', '‶', '＂', '〃', '〝', '〞', '〟', '״', 'ˮ', 'ʺ', '❝', '❞':
		return '\''
	}
	return r
}

// word returns the name of an action or a type: as it is where it looks like one.
func word(text string) string {
	odd := func(r rune) bool {
		return r > unicode.MaxASCII || !unicode.IsLetter(r) && !unicode.IsDigit(r) && r != '_'
	}
	if text == "" || len(text) > 60 || strings.ContainsFunc(text, odd) {
		return quoted(text, 60)
	}
	return text
}

// inert returns a line that no chat makes a mention, a link, an emoji or a format of.
// Characters that mean something are shown by others that look like them: which of
// them a backslash escapes differs between chats, and changes; none gives a meaning to
// these. Dots and colons stay where they cannot be part of an address. The line is
// valid UTF-8, as plain returns it.
func inert(line string) string {
	var b strings.Builder
	for i, r := range line {
		next, _ := utf8.DecodeRuneInString(line[i+utf8.RuneLen(r):])
		switch r {
		case '.', '。', '．', '｡':
			if unicode.IsLetter(next) || unicode.IsMark(next) {
				r = '․'
			}
		case ':':
			if next != ' ' {
				r = '꞉'
			}
		default:
			if alike, ok := lookalikes[r]; ok {
				r = alike
			}
		}
		b.WriteRune(r)
	}
	return b.String()
}

var lookalikes = map[rune]rune{
	'*': '∗', '_': '＿', '~': '∼', '`': 'ˋ', '<': '‹', '>': '›', '[': '［', ']': '］', '|': '¦', '\\': '＼',
	'#': '＃', '@': '＠', '&': '＆', '$': '＄',
}

// cut shortens a text to at most n bytes, without breaking a character.
func cut(text string, n int) string {
	const mark = "…"
	if len(text) <= n {
		return text
	}
	return strings.ToValidUTF8(text[:n-len(mark)], "") + mark
}
