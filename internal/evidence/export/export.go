// Package export makes what an auditor takes away: a ZIP with the events of an interval,
// what proves each of them, and a report for people.
//
// It promises that the same input makes the same files, and that nothing in them needs
// the connector to be checked. It refuses to know how records travel and how changes are
// encoded.
package export

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/mod/sumdb/note"

	"genesys-audit-connector/internal/audit"
	"genesys-audit-connector/internal/evidence"
)

// Request is what is asked for.
type Request struct {
	Org        string
	Interval   audit.Interval
	Entity     string // id; "" for all
	Actor      string // id of a user or an OAuth client
	EntityType string
	// Now is when it is asked, the only thing in an export that the input does not tell.
	Now     time.Time
	Version string
	// Signer vouches for the files that the log says nothing of; nil where there is no key.
	Signer note.Signer
}

// Wants reports whether an event with these changes is asked for.
func (r *Request) Wants(first *audit.Change) bool {
	is := func(s *string, wanted string) bool { return s != nil && *s == wanted }
	return r.Interval.Contains(first.Time) &&
		(r.Entity == "" || is(first.EntityID, r.Entity)) &&
		(r.Actor == "" || is(first.UserID, r.Actor) || is(first.ClientID, r.Actor)) &&
		(r.EntityType == "" || strings.EqualFold(first.EntityType, r.EntityType))
}

// Filtered reports whether only some of the interval's events are asked for.
func (r *Request) Filtered() bool { return r.Entity != "" || r.Actor != "" || r.EntityType != "" }

// Event is a published event, and its entry.
type Event struct {
	Index   int64
	ID      string
	Raw     []byte
	RawSum  evidence.Hash
	Changes evidence.Hash // of the values
	Values  [][]byte      // of the change records
	Decoded []audit.Change
	// Unreadable are values that cannot be decoded: they are proved as they are.
	Unreadable bool
}

// Export is an export in the making. It is not safe for concurrent use, but for Before.
type Export struct {
	Request

	tree                  *tree
	broken                bool // the log has a hole: nothing can be proved
	events, changes, rows *spool
	line                  []byte
	stats                 stats
	firstIndex            int64 // of the exported ones; -1 before
	oldest                time.Time
	partial               int
	before                atomic.Int64
	newest                *evidence.Record
	stamps                []*evidence.Stamp
	stampsLeft            int // that there was no room for
}

// New begins an export. What it needs besides memory goes to files in the directory,
// which Close removes.
func New(dir string, r Request) (e *Export, err error) {
	e = &Export{Request: r, firstIndex: -1}
	defer func() {
		if err != nil {
			e.Close()
		}
	}()
	if e.tree, err = newTree(dir); err != nil {
		return nil, err
	}
	for _, s := range []**spool{&e.events, &e.changes, &e.rows} {
		if *s, err = newSpool(dir); err != nil {
			return nil, err
		}
	}
	_, err = e.changes.Write(csvHead())
	return e, err
}

// Close removes the files.
func (e *Export) Close() {
	if e.tree != nil {
		e.tree.close()
	}
	for _, s := range []*spool{e.events, e.changes, e.rows} {
		if s != nil {
			discard(s.file)
		}
	}
}

// Record takes the next record of the log, before any of its events.
func (e *Export) Record(r *evidence.Record) error {
	e.newest = r
	if e.broken = e.broken || int64(r.First) != e.tree.size; e.broken {
		return nil
	}
	return e.tree.add(r.Leaves)
}

// maxStamps bounds the time stamps in an export.
const maxStamps = 1000

// Stamp takes a time stamp of the log. One of a time before the first event of the export
// says nothing of it.
func (e *Export) Stamp(s *evidence.Stamp) {
	switch {
	case e.firstIndex < 0 || s.Size <= uint64(e.firstIndex):
	case len(e.stamps) == maxStamps:
		e.stamps[maxStamps-1] = s // the newest is worth more than one in between
		e.stampsLeft++
	default:
		e.stamps = append(e.stamps, s)
	}
}

// Partial notes an event of which not all is there, or not as it was published.
func (e *Export) Partial() { e.partial++ }

// Before notes an event that was published before the log began.
func (e *Export) Before(at time.Time) {
	if e.Interval.Contains(at) {
		e.before.Add(1)
	}
}

// Seen notes the time of an event that the log proves, exported or not.
func (e *Export) Seen(at time.Time) {
	if e.oldest.IsZero() || at.Before(e.oldest) {
		e.oldest = at
	}
}

// row is a line of evidence.jsonl, but for the proof, which the whole log makes.
type row struct {
	Index      int64    `json:"index"`
	ID         string   `json:"id"`
	Raw        string   `json:"raw"`
	Changes    string   `json:"changes"`
	Unreadable bool     `json:"unreadable,omitempty"`
	Records    [][]byte `json:"records"`
}

// Event takes the next event that is asked for, in the log's order.
func (e *Export) Event(ev Event) error {
	if e.firstIndex < 0 {
		e.firstIndex = ev.Index
	}
	e.stats.events++
	if _, err := e.events.Write(rawLine(ev.Raw)); err != nil {
		return err
	}
	line, err := json.Marshal(row{
		Index: ev.Index, ID: ev.ID, Raw: fmt.Sprintf("%x", ev.RawSum), Changes: fmt.Sprintf("%x", ev.Changes),
		Unreadable: ev.Unreadable, Records: append([][]byte{}, ev.Values...),
	})
	if err != nil {
		return err
	}
	if _, err := e.rows.Write(append(line, '\n')); err != nil {
		return err
	}
	if ev.Unreadable || len(ev.Decoded) == 0 {
		e.stats.unreadable++
		return nil
	}
	e.stats.add(ev.Decoded)
	e.line = e.line[:0]
	for i := range ev.Decoded {
		e.line = appendRow(e.line, &ev.Decoded[i])
	}
	_, err = e.changes.Write(e.line)
	return err
}

// rawLine is a raw value as a line of events.jsonl: as it is, or, where it would be taken
// for another line or for this form, as a JSON string of its base64.
func rawLine(raw []byte) []byte {
	if len(raw) > 0 && raw[0] != '"' && !bytes.ContainsAny(raw, "\n\r") {
		return append(bytes.Clone(raw), '\n')
	}
	line := append(base64.StdEncoding.AppendEncode([]byte{'"'}, raw), '"')
	return append(line, '\n')
}

// spool is a file that is written and then read once.
type spool struct {
	*bufio.Writer
	file *os.File
}

func newSpool(dir string) (*spool, error) {
	file, err := os.CreateTemp(dir, ".evidence-*")
	if err != nil {
		return nil, err
	}
	return &spool{bufio.NewWriterSize(file, 1<<16), file}, nil
}

// reader reads it from its beginning.
func (s *spool) reader() (*bufio.Reader, error) {
	err := s.Flush()
	if err == nil {
		_, err = s.file.Seek(0, io.SeekStart)
	}
	return bufio.NewReaderSize(s.file, 1<<16), err
}

// ErrNothing is an export of a log without entries: there is no checkpoint to prove
// anything with.
var ErrNothing = errors.New("the evidence log has no entries yet: there is nothing that could be proved")
