package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/mod/sumdb/tlog"
)

// evidenceRecord is a record of the evidence topic, as its documentation has it.
type evidenceRecord struct {
	First, Size uint64
	Count       int
	Leaves      []byte
	Root        string
	Checkpoint  string
	Coverage    json.RawMessage
}

// unproved is what the evidence log does not prove of the content: a record of it that
// does not follow the one before, a root that is not that of its leaves, an entry that
// is not that of the raw record which claims it, an index claimed twice or by nobody.
// It shares no code with the log: another library makes the tree.
func unproved(c content) (wrong []string) {
	note := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	tree := &merkle{}
	for _, r := range c.log {
		if strings.Contains(string(r.Key), "/stamp/") {
			continue
		}
		var e evidenceRecord
		if err := json.Unmarshal(r.Value, &e); err != nil {
			note("offset %d: %v", r.Offset, err)
			continue
		}
		if e.First != uint64(tree.size) || e.Count*sha256.Size != len(e.Leaves) || e.Size != e.First+uint64(e.Count) {
			note("offset %d: entries %d to %d, after %d", r.Offset, e.First, e.Size, tree.size)
			return wrong
		}
		for leaf := range slices.Chunk(e.Leaves, sha256.Size) {
			if err := tree.add(tlog.Hash(leaf)); err != nil {
				note("%v", err)
			}
		}
		root, err := tlog.TreeHash(tree.size, tree)
		if err != nil || base64.StdEncoding.EncodeToString(root[:]) != e.Root {
			note("offset %d: root %s of %d entries; want %s: %v", r.Offset, e.Root, tree.size, root, err)
		}
		want := fmt.Sprintf("\n%d\n%s\n", e.Size, root)
		if sum := fmt.Sprintf("coverage sha256:%x\n", sha256.Sum256(e.Coverage)); !bytes.Contains([]byte(e.Checkpoint), []byte(want)) || !bytes.Contains([]byte(e.Checkpoint), []byte(sum)) {
			note("offset %d: checkpoint %q", r.Offset, e.Checkpoint)
		}
	}
	claimed := make([]string, tree.size)
	for id, records := range c.raw {
		for _, r := range records {
			at, err := strconv.ParseInt(headerOf(r, "log-index"), 10, 64)
			switch {
			case c.older && headerOf(r, "log-index") == "":
			case err != nil || at < 0 || at >= tree.size:
				note("event %q claims entry %q of %d", id, headerOf(r, "log-index"), tree.size)
			case claimed[at] != "":
				note("events %q and %q claim entry %d", claimed[at], id, at)
			default:
				claimed[at] = id
				if leaf := leafOf(id, r.Value, c.changes[id]); len(records) == 1 && tree.leaves[at] != leaf {
					note("entry %d is not event %q", at, id)
				}
			}
		}
	}
	for id, text := range c.notes {
		if fault := erasureIn(tree, claimed, id, text); fault != "" {
			wrong = append(wrong, fmt.Sprintf("the erasure of %q: %s", id, fault))
		}
	}
	for at, id := range claimed {
		if id == "" {
			note("no event claims entry %d", at)
		}
	}
	return wrong
}

// erasureIn finds what is wrong with an erasure: the log has an entry of its note, and the
// note is of the event's entry, whether the event's records are gone or not.
func erasureIn(tree *merkle, claimed []string, id string, note []byte) string {
	at := slices.Index(tree.leaves, leafOf("erased:"+id, note, nil))
	if at < 0 || claimed[at] != "" {
		return "its note is not in the log"
	}
	claimed[at] = "erased:" + id
	var n struct {
		Entry                 *int64
		SHA256, ChangesSHA256 string
		By, Time, Reason      string
	}
	if err := json.Unmarshal(note, &n); err != nil || n.By == "" || n.Reason == "" || n.Time == "" {
		return fmt.Sprintf("note %s", note)
	}
	if n.Entry == nil {
		return ""
	}
	entry, err := hex.DecodeString(fmt.Sprintf("%04x%x%s%s", len(id), id, n.SHA256, n.ChangesSHA256))
	if err != nil || tree.leaves[*n.Entry] != tlog.RecordHash(entry) || claimed[*n.Entry] != "" && claimed[*n.Entry] != id {
		return fmt.Sprintf("entry %d is not that of the event", *n.Entry)
	}
	claimed[*n.Entry] = id
	return ""
}

// leafOf is the entry of an event, hashed: RFC 6962, 2.1.
func leafOf(id string, raw []byte, changes []*kgo.Record) tlog.Hash {
	values := sha256.New()
	for _, c := range changes {
		values.Write(binary.BigEndian.AppendUint32(nil, uint32(len(c.Value))))
		values.Write(c.Value)
	}
	entry := append(binary.BigEndian.AppendUint16(nil, uint16(len(id))), id...)
	sum := sha256.Sum256(raw)
	return tlog.RecordHash(values.Sum(append(entry, sum[:]...)))
}

// merkle is a Merkle tree that keeps every hash.
type merkle struct {
	leaves, hashes []tlog.Hash
	size           int64
}

func (r *merkle) ReadHashes(at []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(at))
	for i, n := range at {
		out[i] = r.hashes[n]
	}
	return out, nil
}

func (r *merkle) add(leaf tlog.Hash) error {
	more, err := tlog.StoredHashesForRecordHash(r.size, leaf, r)
	r.hashes = append(r.hashes, more...)
	r.leaves = append(r.leaves, leaf)
	r.size++
	return err
}
