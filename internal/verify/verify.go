// Package verify compares what the API shows with what Kafka holds, event by
// event.
//
// It promises that every difference has a name: an event that the API shows and
// the raw topic lacks is missing; one that stands there twice is duplicate; one
// whose bytes do not match the digest that was published with them is altered;
// one whose change records are not 0 to changeCount-1, once each, is incomplete.
// It compares exactly, in at most 40 bytes of memory an event, and the bytes of
// ids that are no UUIDs. It refuses to know how either side is read.
package verify

import (
	"crypto/sha256"
	"encoding/hex"
	"time"
	"unsafe"

	"genesys-audit-connector/internal/audit"
)

// Comparison takes in both sides, the API first. It is not safe for concurrent use.
type Comparison struct {
	interval audit.Interval
	events   table

	// What few events need is by their key, which is unique but for a chance of 2^-128.

	// elsewhere has, for events that were shown outside their own time, the start
	// of the reading that showed them (ms since 1970).
	elsewhere map[[16]byte]int64
	longest   time.Duration // of the readings
	// spilled has the change records that did not come in order. An event's are
	// written in order to one partition, so that it is all but empty.
	spilled map[[16]byte]*changes
	surplus map[[16]byte]int // raw records beyond rawMax
}

// changes are the change records of an event that were found.
type changes struct {
	count  int      // as the records say
	found  []uint64 // bits by changeIndex
	number int
	wrong  bool // two that contradict each other, or one twice
}

// New compares what lies in the interval.
func New(interval audit.Interval) *Comparison {
	return &Comparison{
		interval: interval, elsewhere: make(map[[16]byte]int64),
		spilled: make(map[[16]byte]*changes), surplus: make(map[[16]byte]int),
	}
}

// API takes in an event that the API showed when the interval reading was asked
// for. at is the event's own time, zero where it has none; it may lie outside.
func (c *Comparison) API(id string, at time.Time, reading audit.Interval) {
	n := nameOf(id)
	e := c.events.findOrAdd(&n)
	known := e.has(timed)
	e.set(shown)
	c.longest = max(c.longest, reading.Length())
	switch {
	case at.IsZero() && !known:
		e.setMS(reading.From.UnixMilli())
	case at.IsZero():
	default:
		e.setMS(at.UnixMilli())
		e.set(timed)
		if reading.Contains(at) {
			e.clear(elsewhere)
			delete(c.elsewhere, e.key)
		} else if !known {
			e.set(elsewhere)
			c.elsewhere[e.key] = reading.From.UnixMilli()
		}
	}
}

// Raw takes in a record of the raw topic. digest is its header sha256.
func (c *Comparison) Raw(id []byte, at time.Time, digest, value []byte) {
	e := c.concerned(id, at)
	if e == nil {
		return
	}
	if e.raw() < rawMax {
		e.become(e.stamp() + rawOne)
	} else {
		c.surplus[e.key]++
	}
	sum := sha256.Sum256(value)
	var want [2 * sha256.Size]byte
	hex.Encode(want[:], sum[:])
	if string(want[:]) != string(digest) {
		e.set(altered)
	}
}

// Change takes in a record of the changes topic.
func (c *Comparison) Change(id []byte, at time.Time, index, count int) {
	if e := c.concerned(id, at); e != nil {
		c.change(e, index, count)
	}
}

// Erased takes in an event that was erased on purpose, after both sides. Nothing is wrong
// with it, whatever they say.
func (c *Comparison) Erased(id string) {
	n := nameOf(id)
	if e := c.events.find(&n); e != nil {
		e.set(erased)
	}
}

// concerned returns the event of a record, nil where it is not part of the
// comparison. What the API showed is, whatever time it claims, or none at all.
func (c *Comparison) concerned(id []byte, at time.Time) *event {
	n := nameOf(unsafe.String(unsafe.SliceData(id), len(id))) // which the table copies
	if e := c.events.find(&n); e != nil {
		return e
	}
	if at.IsZero() || !c.interval.Contains(at) {
		return nil
	}
	e := c.events.findOrAdd(&n)
	e.set(timed)
	e.setMS(at.UnixMilli())
	return e
}

// maxChanges bounds what a changeIndex can make us allocate.
const maxChanges = 1 << 24

// change notes a change record. As long as they come in order, a number is
// enough to know them all.
func (c *Comparison) change(e *event, index, count int) {
	switch {
	case e.has(broken):
	case e.has(whole), index < 0, index >= count, count > maxChanges:
		c.breakUp(e)
	case e.has(spilled):
		s := c.spilled[e.key]
		if s.add(index, count); s.wrong {
			c.breakUp(e)
		} else if s.number == s.count {
			c.finish(e)
		}
	case index == int(e.next) && count <= 1<<16-1 && (index == 0 || count == int(e.count)):
		e.next, e.count = uint16(index+1), uint16(count)
		if index+1 == count {
			c.finish(e)
		}
	default:
		s := new(changes)
		for i := range int(e.next) {
			s.add(i, int(e.count))
		}
		e.set(spilled)
		c.spilled[e.key] = s
		c.change(e, index, count)
	}
}

// finish notes that all change records are there.
func (c *Comparison) finish(e *event) {
	e.set(whole)
	e.clear(spilled)
	delete(c.spilled, e.key)
}

// breakUp notes that the change records are wrong, whatever else comes.
func (c *Comparison) breakUp(e *event) {
	e.set(broken)
	e.clear(whole | spilled)
	delete(c.spilled, e.key)
}

func (c *changes) add(index, count int) {
	if c.number > 0 && count != c.count {
		c.wrong = true
		return
	}
	c.count = count
	for index/64 >= len(c.found) {
		c.found = append(c.found, 0)
	}
	bit := uint64(1) << (index % 64)
	c.wrong = c.wrong || c.found[index/64]&bit != 0
	c.found[index/64] |= bit
	c.number++
}
