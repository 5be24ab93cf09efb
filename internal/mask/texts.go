package mask

import (
	"bytes"
	"encoding/binary"
	"unicode"
	"unicode/utf8"
)

const (
	// minText is the shortest text that is looked for elsewhere: shorter ones are in
	// every other word.
	minText = 4
	// sureText is how long a text must be to be hidden inside of a word, too.
	sureText = 12
	// maxTexts and maxWork bound what one event costs: beyond, all its fields that can be
	// hidden are.
	maxTexts = 4096
	maxWork  = 1 << 26
)

// texts are the texts of an event that are hidden wherever they occur.
type texts struct {
	list   []text
	all    []byte           // their characters
	first  map[uint32]int32 // by how they begin, in list
	filter [64]uint64       // of what first holds
	least  int              // how long the shortest of them is
	work   int
	over   bool // there are more than are looked for
}

type text struct {
	start, end uint32
	next       int32 // that begins alike; -1 for none
	action     Action
}

func (t *texts) reset() {
	t.list, t.all, t.work, t.over = t.list[:0], t.all[:0], 0, false
	if cap(t.all) > keptBytes {
		t.all = nil
	}
	if len(t.first) > 0 {
		clear(t.first)
		t.filter = [64]uint64{}
	}
}

func (t *texts) text(of *text) []byte { return t.all[of.start:of.end] }

// beginning is how a text begins, in any case: the same for two texts that are equal in all
// but case. Outside of ASCII the cases of a letter differ in more than a bit.
func beginning(b []byte) uint32 {
	first := binary.LittleEndian.Uint32(b)
	if first&0x80808080 == 0 {
		return first | 0x20202020
	}
	one, n := utf8.DecodeRune(b)
	if n == minText { // it may be all of a text
		return uint32(folded(one)) | 1<<31
	}
	two, _ := utf8.DecodeRune(b[n:])
	return uint32(folded(one))<<16 ^ uint32(folded(two)) | 1<<31
}

func folded(r rune) rune { return unicode.ToLower(unicode.ToUpper(r)) }

func place(beginning uint32) (word, bit uint32) {
	h := beginning * 0x9E3779B1 >> 20
	return h >> 6, h & 63
}

func (t *texts) add(s []byte, a Action) {
	if len(s) < minText || t.over {
		return
	}
	b := beginning(s)
	head, has := t.first[b]
	if !has {
		head = -1
	}
	for i := head; i >= 0; i = t.list[i].next {
		if t.fits(&t.list[i], s) && int(t.list[i].end-t.list[i].start) == len(s) {
			return
		}
	}
	if t.over = t.over || len(t.list) == maxTexts || len(t.all)+len(s) > maxWork; t.over {
		return
	}
	if t.first == nil {
		t.first = map[uint32]int32{}
	}
	if len(t.list) == 0 || len(s) < t.least {
		t.least = len(s)
	}
	start := uint32(len(t.all))
	t.all = append(t.all, s...)
	t.first[b] = int32(len(t.list))
	t.list = append(t.list, text{start, uint32(len(t.all)), head, a})
	word, bit := place(b)
	t.filter[word] |= 1 << bit
}

// fits reports whether s begins with the text, in any case.
func (t *texts) fits(of *text, s []byte) bool {
	n := int(of.end - of.start)
	if n > len(s) {
		return false
	}
	if t.work += n; t.work > maxWork {
		t.over = true
		return false
	}
	return bytes.EqualFold(s[:n], t.text(of))
}

// mayBegin reports whether one of the texts may be at the beginning of s.
func (t *texts) mayBegin(s []byte) bool {
	word, bit := place(beginning(s))
	return t.filter[word]>>bit&1 != 0
}

// at is the longest text that occurs in s at i; nil where none does.
func (t *texts) at(s []byte, i int) (found *text) {
	head, has := t.first[beginning(s[i:])]
	if !has {
		return nil
	}
	for ; head >= 0; head = t.list[head].next {
		of := &t.list[head]
		n := int(of.end - of.start)
		if (found == nil || n > int(found.end-found.start)) && t.fits(of, s[i:]) && (n >= sureText || isWord(s, i, i+n)) {
			found = of
		}
	}
	return found
}

// isWord reports whether no letter or digit goes on before or behind s[from:to].
func isWord(s []byte, from, to int) bool {
	return !(from > 0 && isAlphanumeric(s[from-1]) && isAlphanumeric(s[from])) &&
		!(to < len(s) && isAlphanumeric(s[to-1]) && isAlphanumeric(s[to]))
}

func isAlphanumeric(c byte) bool {
	return c >= 0x80 || '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'z'
}

func hasEscapes(s []byte) bool {
	return mayBeJSON(s) && bytes.IndexByte(s, '\\') >= 0
}
