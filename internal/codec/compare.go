package codec

import (
	"bytes"
	"cmp"
	"hash/maphash"
	"math/bits"
	"slices"

	"genesys-audit-connector/internal/jsonscan"
)

// comparer says what is equal. Strings are compared by their characters, numbers
// by their spelling, arrays in order, objects by their members in any order; of
// two members with one key the later counts. Time is O(n log n) for any JSON of
// n values, chosen by an enemy or not: hashes are keyed. It calls itself for each
// level of nesting, of which collect admits maxLevels.
//
// The values that one call compares belong to one Doc.
type comparer struct {
	seed    maphash.Seed
	matched []match  // a stack: each level of nesting puts its own on top
	table   []uint32 // open-addressing hash table over the matches being made
	sides   [2][]hashed
	text    []byte // characters that do not stand in the text as they are
}

// match is a key of either of two objects, with the values that it has there.
// All are jsonscan.Value.Ref; 0 stands for none.
type match struct {
	hash               uint32
	key, before, after uint32
}

type hashed struct {
	hash uint64
	ref  uint32
}

func newComparer() comparer { return comparer{seed: maphash.MakeSeed()} }

func (c *comparer) reset() {
	c.matched, c.table = kept(c.matched, keptItems), kept(c.table, keptItems)
	c.sides[0], c.sides[1] = kept(c.sides[0], keptItems), kept(c.sides[1], keptItems)
	c.text = kept(c.text, keptBytes)
}

// match pairs the members of two objects by key and puts them on top of
// c.matched, [start,end): the keys of before in its order, then those that only
// after has. Whoever calls takes them off again.
func (c *comparer) match(before, after jsonscan.Value) (start, end int) {
	doc := cmp.Or(before.Doc(), after.Doc())
	start = len(c.matched)
	n := 0
	for _, v := range [2]jsonscan.Value{before, after} {
		for m := v.Members(); m.Next(); {
			n++
		}
	}
	size := 1 << bits.Len(uint(2*n)) // at most half full
	c.table = slices.Grow(c.table[:0], size)[:size]
	clear(c.table)
	for m := before.Members(); m.Next(); {
		c.slot(doc, start, m.Key()).before = m.Value().Ref()
	}
	// Most objects keep the order of their keys.
	for m, i := after.Members(), start; m.Next(); i++ {
		if i < len(c.matched) && bytes.Equal(doc.At(c.matched[i].key).Raw(), m.Key().Raw()) {
			c.matched[i].after = m.Value().Ref()
			continue
		}
		c.slot(doc, start, m.Key()).after = m.Value().Ref()
	}
	return start, len(c.matched)
}

// slot finds the match of a key among those from start on, or adds it.
func (c *comparer) slot(doc *jsonscan.Doc, start int, key jsonscan.Value) *match {
	h := uint32(c.hashText(key))
	mask := len(c.table) - 1
	for i := int(h) & mask; ; i = (i + 1) & mask {
		at := c.table[i]
		if at == 0 {
			c.matched = append(c.matched, match{hash: h, key: key.Ref()})
			c.table[i] = uint32(len(c.matched) - start)
			return &c.matched[len(c.matched)-1]
		}
		m := &c.matched[start+int(at)-1]
		if m.hash == h && c.sameText(doc.At(m.key), key) {
			return m
		}
	}
}

// equal reports whether two values are the same.
func (c *comparer) equal(a, b jsonscan.Value) bool {
	if a.Kind() != b.Kind() {
		return false
	}
	if sameBytes(a, b) {
		return true
	}
	switch a.Kind() {
	case jsonscan.String:
		return c.sameText(a, b)
	case jsonscan.Array:
		x, y := a.Elements(), b.Elements()
		for x.Next() {
			if !y.Next() || !c.equal(x.Value(), y.Value()) {
				return false
			}
		}
		return !y.Next()
	case jsonscan.Object:
		start, end := c.match(a, b)
		same := true
		for i := start; i < end && same; i++ {
			m := c.matched[i]
			same = c.equal(a.Doc().At(m.before), a.Doc().At(m.after))
		}
		c.matched = c.matched[:start]
		return same
	default: // a number, a boolean
		return bytes.Equal(a.Raw(), b.Raw())
	}
}

// longBytes is how long a value may be for sameBytes to look at it: comparing the
// whole of it at each of a thousand levels would take a thousand times as long.
const longBytes = 1024

// sameBytes reports whether two values are spelled alike, as most are that did
// not change. It is false where telling would take long.
func sameBytes(a, b jsonscan.Value) bool {
	x, y := a.Raw(), b.Raw()
	return len(x) == len(y) && len(x) > 0 && len(x) <= longBytes && bytes.Equal(x, y)
}

// sameText compares the characters of two strings, or the spelling of other scalars.
func (c *comparer) sameText(a, b jsonscan.Value) bool {
	mark := len(c.text)
	same := bytes.Equal(a.View(&c.text), b.View(&c.text))
	c.text = c.text[:mark]
	return same
}

// sameMembers reports whether two arrays hold equal values, each equally often,
// in any order.
func (c *comparer) sameMembers(a, b jsonscan.Value) bool {
	for i, array := range [2]jsonscan.Value{a, b} {
		side := c.sides[i][:0]
		for el := array.Elements(); el.Next(); {
			side = append(side, hashed{c.hash(el.Value()), el.Value().Ref()})
		}
		slices.SortFunc(side, func(x, y hashed) int { return cmp.Compare(x.hash, y.hash) })
		c.sides[i] = side
	}
	// Values with one hash are equal but for a chance of 2^-64, which only makes
	// an array MODIFIED that is REORDERED: what is reported was compared.
	return slices.EqualFunc(c.sides[0], c.sides[1], func(x, y hashed) bool {
		return x.hash == y.hash && c.equal(a.Doc().At(x.ref), a.Doc().At(y.ref))
	})
}

// hash is equal for values that are equal.
func (c *comparer) hash(v jsonscan.Value) uint64 {
	sum := uint64(v.Kind())
	switch v.Kind() {
	case jsonscan.Array:
		for el := v.Elements(); el.Next(); {
			sum = mix(sum, c.hash(el.Value()))
		}
	case jsonscan.Object:
		start, end := c.match(v, jsonscan.Value{})
		for i := start; i < end; i++ {
			m := c.matched[i]
			sum += mix(c.hashText(v.Doc().At(m.key)), c.hash(v.Doc().At(m.before)))
		}
		c.matched = c.matched[:start]
	default:
		sum = mix(sum, c.hashText(v))
	}
	return sum
}

func (c *comparer) hashText(v jsonscan.Value) uint64 {
	mark := len(c.text)
	h := maphash.Bytes(c.seed, v.View(&c.text))
	c.text = c.text[:mark]
	return h
}

// mix joins two hashes into one that depends on their order.
func mix(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a^0x9E3779B97F4A7C15, b^0xD1B54A32D192ED03)
	return hi ^ lo
}
