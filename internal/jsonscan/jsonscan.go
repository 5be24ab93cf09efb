// Package jsonscan reads a JSON text once and remembers where every value of it
// stands, without copying or interpreting any of them.
//
// It promises: one pass, no recursion and therefore no limit of depth, memory
// proportional to the number of values and bounded by MaxValues, and the exact
// bytes of every value (Raw). It refuses to know what the values mean.
//
// It is as strict as RFC 8259 but for one thing: a raw control character inside
// a string is accepted. An audit event that holds one must be published like any
// other; refusing it would block the page that it stands on for ever.
package jsonscan

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/bits"
)

// Kind is the JSON type of a Value. The zero Kind is Absent: no value at all.
type Kind uint8

// The kinds of a JSON value.
const (
	Absent Kind = iota
	Null
	Bool
	Number
	String
	Object
	Array
)

// DefaultMaxValues bounds the memory of a Doc: 12 bytes a value.
const DefaultMaxValues = 4 << 20

// ErrTooManyValues says that a text holds more than Doc.MaxValues values.
var ErrTooManyValues = errors.New("too many JSON values")

// SyntaxError tells where a text stops being JSON.
type SyntaxError struct {
	Offset int // in bytes from the start of the text
	Reason string
}

func (e *SyntaxError) Error() string {
	return fmt.Sprintf("not JSON at byte %d: %s", e.Offset, e.Reason)
}

const (
	flagEscaped = 1 << iota // string: holds at least one backslash
	flagSpaced              // object, array: holds white space between its values
	flagHigh                // holds a byte that is not ASCII
)

// node is one value. Members of an object are a key node followed by a value node.
type node struct {
	start, end uint32 // its bytes in src
	packed     uint32 // next, kind, flags: a page of audit events has over 100,000 nodes
}

// maxNodes is how many a Doc can number; a key may come behind the last.
const maxNodes = 1<<24 - 2

// next is the index of the first node after this value and all inside it.
func (n *node) next() uint32 { return n.packed >> 8 }
func (n *node) kind() Kind   { return Kind(n.packed >> 4 & 0xf) }
func (n *node) flags() uint8 { return uint8(n.packed & 0xf) }

func newNode(kind Kind, flags uint8, start, end, next int) node {
	return node{uint32(start), uint32(end), uint32(next)<<8 | uint32(kind)<<4 | uint32(flags)}
}

// Doc is one parsed JSON text. It keeps the text that it was given and is valid
// until the next Parse; a Doc that is parsed into again reuses its memory.
type Doc struct {
	// MaxValues bounds the number of values; 0 means DefaultMaxValues.
	MaxValues int

	src   []byte
	nodes []node
	open  []uint32 // containers not closed yet, outermost first
	depth int
}

// A Doc takes memory ahead for as many nodes as a text of that length likely
// has. To grow to it step by step would leave five times as much to the garbage
// collector.
const (
	bytesPerNode = 12 // in a page of audit events
	maxAhead     = 1 << 18
)

// Parse reads src, which must not change as long as values of the Doc are used.
// It returns a *SyntaxError, or ErrTooManyValues.
func (d *Doc) Parse(src []byte) error {
	d.src, d.nodes, d.open, d.depth = src, d.nodes[:0], d.open[:0], 0
	if uint64(len(src)) > math.MaxUint32 {
		return fmt.Errorf("a JSON text of %d bytes: %w", len(src), ErrTooManyValues)
	}
	if likely := min(len(src)/bytesPerNode, maxAhead); cap(d.nodes) < likely {
		d.nodes = make([]node, 0, likely)
	}
	err := d.parse()
	if err != nil {
		d.nodes = d.nodes[:0]
	}
	return err
}

// Cap returns how many values the Doc has memory for, 12 bytes each.
func (d *Doc) Cap() int { return cap(d.nodes) }

// Root is the outermost value; Absent before the first successful Parse.
func (d *Doc) Root() Value {
	if len(d.nodes) == 0 {
		return Value{}
	}
	return Value{doc: d}
}

// Depth is how many objects and arrays are open at the deepest place of the text.
func (d *Doc) Depth() int { return d.depth }

func (d *Doc) parse() error {
	limit := min(d.MaxValues, maxNodes)
	if limit == 0 {
		limit = DefaultMaxValues
	}
	i := d.skipSpace(0)
	for {
		if len(d.nodes) >= limit {
			return fmt.Errorf("more than %d: %w", limit, ErrTooManyValues)
		}
		// Here a value is expected at i.
		var err error
		var opened bool
		if i, opened, err = d.value(i); err != nil {
			return err
		}
		if opened {
			if i, opened, err = d.first(i); err != nil {
				return err
			}
			if opened {
				continue
			}
		}
		// A value has just ended at i: close containers until one goes on.
		for {
			if len(d.open) == 0 {
				if i = d.skipSpace(i); i != len(d.src) {
					return &SyntaxError{i, "text after the outermost value"}
				}
				return nil
			}
			var more bool
			if i, more, err = d.after(i); err != nil {
				return err
			}
			if more {
				break
			}
		}
	}
}

// value reads the scalar at i, or opens the container that starts there.
func (d *Doc) value(i int) (end int, opened bool, err error) {
	if i >= len(d.src) {
		return i, false, &SyntaxError{i, "it ends where a value is expected"}
	}
	switch c := d.src[i]; c {
	case '{', '[':
		kind := Object
		if c == '[' {
			kind = Array
		}
		d.open = append(d.open, uint32(len(d.nodes)))
		d.nodes = append(d.nodes, newNode(kind, 0, i, 0, 0))
		d.depth = max(d.depth, len(d.open))
		return i + 1, true, nil
	case '"':
		end, err = d.str(i)
	case 't':
		end, err = d.literal(i, "true", Bool)
	case 'f':
		end, err = d.literal(i, "false", Bool)
	case 'n':
		end, err = d.literal(i, "null", Null)
	default:
		end, err = d.number(i)
	}
	return end, false, err
}

// first goes to the first value of the container that was just opened; it
// closes the container when there is none.
func (d *Doc) first(i int) (next int, more bool, err error) {
	i = d.skipSpace(i)
	top := &d.nodes[d.open[len(d.open)-1]]
	if i < len(d.src) && (d.src[i] == '}' && top.kind() == Object || d.src[i] == ']' && top.kind() == Array) {
		d.close(i + 1)
		return i + 1, false, nil
	}
	if top.kind() == Object {
		i, err = d.key(i)
	}
	return i, true, err
}

// after goes from the end of a value to the next one in the same container, or closes it.
func (d *Doc) after(i int) (next int, more bool, err error) {
	i = d.skipSpace(i)
	if i >= len(d.src) {
		return i, false, &SyntaxError{i, "it ends inside an object or array"}
	}
	kind := d.nodes[d.open[len(d.open)-1]].kind()
	switch c := d.src[i]; {
	case c == ',':
		i = d.skipSpace(i + 1)
		if kind == Object {
			i, err = d.key(i)
		}
		return i, true, err
	case c == '}' && kind == Object, c == ']' && kind == Array:
		d.close(i + 1)
		return i + 1, false, nil
	}
	return i, false, &SyntaxError{i, "a comma or the end of the object or array is expected"}
}

func (d *Doc) close(end int) {
	last := len(d.open) - 1
	n := &d.nodes[d.open[last]]
	*n = newNode(n.kind(), n.flags(), int(n.start), end, len(d.nodes))
	d.open = d.open[:last]
	if last > 0 {
		d.nodes[d.open[last-1]].packed |= uint32(n.flags())
	}
}

// key reads a member's name and the colon behind it.
func (d *Doc) key(i int) (int, error) {
	if i >= len(d.src) || d.src[i] != '"' {
		return i, &SyntaxError{i, "a member's name in quotes is expected"}
	}
	i, err := d.str(i)
	if err != nil {
		return i, err
	}
	i = d.skipSpace(i)
	if i >= len(d.src) || d.src[i] != ':' {
		return i, &SyntaxError{i, "a colon is expected"}
	}
	return d.skipSpace(i + 1), nil
}

func (d *Doc) skipSpace(i int) int {
	from := i
	for i < len(d.src) && d.src[i] <= ' ' && isSpace(d.src[i]) {
		i++
	}
	if i > from && len(d.open) > 0 {
		d.nodes[d.open[len(d.open)-1]].packed |= flagSpaced
	}
	return i
}

func isSpace(c byte) bool { return c == ' ' || c == '\n' || c == '\r' || c == '\t' }

func (d *Doc) add(kind Kind, flags uint8, start, end int) {
	d.nodes = append(d.nodes, newNode(kind, flags, start, end, len(d.nodes)+1))
}

// str reads the string whose opening quote is at i and returns where it ends.
func (d *Doc) str(i int) (int, error) {
	src, start, flags := d.src, i, uint8(0)
	i++
	for {
		var high bool
		if i, high = quoteOrBackslash(src, i); i >= len(src) {
			return start, &SyntaxError{start, "a string without its end"}
		}
		if high {
			flags |= flagHigh
		}
		if src[i] == '"' {
			d.add(String, flags, start, i+1)
			if flags&flagHigh != 0 && len(d.open) > 0 {
				d.nodes[d.open[len(d.open)-1]].packed |= flagHigh
			}
			return i + 1, nil
		}
		flags |= flagEscaped
		if i+1 >= len(src) {
			return start, &SyntaxError{start, "a string without its end"}
		}
		switch src[i+1] {
		case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
			i += 2
		case 'u':
			if _, ok := hex4(src, i+2); !ok {
				return i, &SyntaxError{i, `four hexadecimal digits are expected after \u`}
			}
			i += 6
		default:
			return i, &SyntaxError{i, "an unknown escape in a string"}
		}
	}
}

// quoteOrBackslash finds the next of the two, eight bytes at a time; len(src) if
// there is none. high tells whether a byte before it is not ASCII.
func quoteOrBackslash(src []byte, i int) (at int, high bool) {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	var seen uint64
	for ; i+8 <= len(src); i += 8 {
		w := binary.LittleEndian.Uint64(src[i:])
		q, b := w^(ones*'"'), w^(ones*'\\')
		// A byte of q (or b) is zero where the character stands: the classic
		// has-zero-byte test, exact for the lowest hit, which is the one used.
		if hit := ((q-ones)&^q | (b-ones)&^b) & highs; hit != 0 {
			before := bits.TrailingZeros64(hit) &^ 7
			seen |= w & (1<<before - 1)
			return i + before/8, seen&highs != 0
		}
		seen |= w
	}
	for ; i < len(src) && src[i] != '"' && src[i] != '\\'; i++ {
		seen |= uint64(src[i])
	}
	return i, seen&highs != 0
}

func hex4(src []byte, i int) (r rune, ok bool) {
	if i+4 > len(src) {
		return 0, false
	}
	for _, c := range src[i : i+4] {
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}

func (d *Doc) literal(i int, word string, kind Kind) (int, error) {
	end := i + len(word)
	if end > len(d.src) || string(d.src[i:end]) != word {
		return i, &SyntaxError{i, "a value is expected"}
	}
	d.add(kind, 0, i, end)
	return end, nil
}

// number reads RFC 8259's number: [-] int [frac] [exp].
func (d *Doc) number(i int) (int, error) {
	src, start := d.src, i
	if i < len(src) && src[i] == '-' {
		i++
	}
	whole := digits(src, i)
	if whole == i || src[i] == '0' && whole > i+1 {
		return start, &SyntaxError{start, "a value is expected"}
	}
	i = whole
	if i < len(src) && src[i] == '.' {
		frac := digits(src, i+1)
		if frac == i+1 {
			return start, &SyntaxError{start, "a number without digits after its point"}
		}
		i = frac
	}
	if i < len(src) && (src[i] == 'e' || src[i] == 'E') {
		j := i + 1
		if j < len(src) && (src[j] == '+' || src[j] == '-') {
			j++
		}
		exp := digits(src, j)
		if exp == j {
			return start, &SyntaxError{start, "a number without digits in its exponent"}
		}
		i = exp
	}
	d.add(Number, 0, start, i)
	return i, nil
}

func digits(src []byte, i int) int {
	for i < len(src) && '0' <= src[i] && src[i] <= '9' {
		i++
	}
	return i
}
