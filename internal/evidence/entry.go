package evidence

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"

	"github.com/transparency-dev/merkle/rfc6962"
)

// HashSize is the size of every hash of a log: SHA-256.
const HashSize = sha256.Size

// Hash is SHA-256 of something.
type Hash [HashSize]byte

// Changes hashes the change records of one event, in order of changeIndex. The
// zero value is ready to use.
type Changes struct {
	sum  hash.Hash
	text [HashSize]byte
}

// Reset begins with another event.
func (c *Changes) Reset() {
	if c.sum == nil {
		c.sum = sha256.New()
	}
	c.sum.Reset()
}

// Add takes the value of the next change record in. Its length goes first, so that no
// two lists of values hash to the same.
func (c *Changes) Add(value []byte) {
	binary.BigEndian.PutUint32(c.text[:4], uint32(len(value)))
	c.sum.Write(c.text[:4])
	c.sum.Write(value)
}

// Sum is the hash of all values since Reset.
func (c *Changes) Sum() Hash {
	return Hash(c.sum.Sum(c.text[:0]))
}

// AppendEntry appends the entry of an event: the length of its id (uint16, big endian),
// its id, the hash of its raw value and that of its change records.
func AppendEntry(dst []byte, id string, raw, changes Hash) ([]byte, error) {
	if len(id) > 1<<16-1 {
		return dst, fmt.Errorf("an id of %d bytes has no place in the evidence log", len(id))
	}
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(id)))
	dst = append(dst, id...)
	dst = append(dst, raw[:]...)
	return append(dst, changes[:]...), nil
}

// Leaf is an entry's hash in the tree.
// Source: RFC 6962, 2.1: SHA-256(0x00 || entry).
func Leaf(entry []byte) Hash {
	return leafOf(append(append(make([]byte, 0, 256), rfc6962.RFC6962LeafHashPrefix), entry...))
}

// leafOf is the hash of an entry that has its prefix in front of it.
func leafOf(prefixed []byte) Hash { return sha256.Sum256(prefixed) }

// children is the hash of two nodes' parent: what rfc6962.DefaultHasher.HashChildren is,
// in half its time.
// Source: RFC 6962, 2.1: SHA-256(0x01 || left || right).
func children(left, right []byte) []byte {
	var text [1 + 2*HashSize]byte
	text[0] = rfc6962.RFC6962NodeHashPrefix
	copy(text[1:], left)
	copy(text[1+HashSize:], right)
	sum := sha256.Sum256(text[:])
	return sum[:]
}
