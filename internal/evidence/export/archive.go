package export

import (
	"archive/zip"
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"genesys-audit-connector/internal/audit"
	"genesys-audit-connector/internal/evidence"
)

// Outcome is what is known when all was read.
type Outcome struct {
	Report *evidence.Report // of the verification that the export is part of
	API    json.RawMessage  // the newest result of "connector verify"; nil where there is none
	Erased []Erased
	// NoNotes says why neither of these two is known, "" where they are.
	NoNotes string
}

// Erased is the note of an erased event: who, when, why, in JSON.
type Erased struct {
	AuditID string
	Note    json.RawMessage
}

// Summary is what was exported.
type Summary struct {
	Org        string        `json:"org"`
	From       evidence.Time `json:"from"`
	To         evidence.Time `json:"to"`
	Entity     string        `json:"entity,omitempty"`
	Actor      string        `json:"actor,omitempty"`
	EntityType string        `json:"entityType,omitempty"`
	Exported   evidence.Time `json:"exported"` // when
	Version    string        `json:"version"`
	Events     int           `json:"events"`
	Changes    int           `json:"changes"`
	// Unprovable are events of the interval of which not all is in Kafka, or not as it was published.
	Unprovable int `json:"unprovable"`
	// BeforeLog are events of the interval that were published before the log began.
	BeforeLog int64 `json:"beforeLog"`
	Erased    int   `json:"erased"` // of the whole log
	// NoNotes says why it is not known which events were erased.
	NoNotes string `json:"noNotes,omitempty"`
}

func (e *Export) summary(o Outcome) Summary {
	return Summary{
		Org: e.Org, From: evidence.Time{Time: e.Interval.From}, To: evidence.Time{Time: e.Interval.To},
		Entity: e.Entity, Actor: e.Actor, EntityType: e.EntityType,
		Exported: evidence.Time{Time: e.Now}, Version: e.Version, Events: e.stats.events, Changes: e.stats.changes,
		Unprovable: e.partial, BeforeLog: e.before.Load(), Erased: len(o.Erased), NoNotes: o.NoNotes,
	}
}

// archive is a ZIP that notes the hash of each of its files.
type archive struct {
	zip  *zip.Writer
	from *Export
	sums bytes.Buffer
}

// add writes a file.
func (a *archive) add(name string, write func(io.Writer) error) error {
	w, err := a.zip.CreateHeader(&zip.FileHeader{Name: name, Method: zip.Deflate, Modified: a.from.Now.UTC()})
	if err != nil {
		return err
	}
	sum := sha256.New()
	if err := write(io.MultiWriter(w, sum)); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	fmt.Fprintf(&a.sums, "%x  %s\n", sum.Sum(nil), name)
	return nil
}

func (a *archive) text(name, text string) error {
	return a.add(name, func(w io.Writer) error {
		_, err := io.WriteString(w, text)
		return err
	})
}

func (a *archive) json(name string, value any) error {
	return a.add(name, func(w io.Writer) error {
		out := json.NewEncoder(w)
		out.SetIndent("", "  ")
		return out.Encode(value)
	})
}

func (a *archive) spool(name string, s *spool) error {
	return a.add(name, func(w io.Writer) error {
		r, err := s.reader()
		if err != nil {
			return err
		}
		_, err = io.Copy(w, r)
		return err
	})
}

// Finish writes the ZIP.
func (e *Export) Finish(out io.Writer, o Outcome) (Summary, error) {
	s := e.summary(o)
	if e.newest == nil {
		return s, ErrNothing
	}
	if root, err := e.tree.root(); err != nil {
		return s, err
	} else if e.broken || !bytes.Equal(root[:], e.newest.Root) {
		e.broken = true
	}
	a := &archive{zip: zip.NewWriter(out), from: e}
	view, err := e.view(s, o)
	if err != nil {
		return s, err
	}
	err = cmp.Or(
		a.add("report.html", func(w io.Writer) error { return reportPage.Execute(w, view) }),
		a.add("VERIFY.md", func(w io.Writer) error { return verifyText.Execute(w, view) }),
		a.spool("events.jsonl", e.events),
		a.spool("changes.csv", e.changes),
		a.add("evidence.jsonl", e.writeRows),
		a.text("checkpoint.txt", e.newest.Checkpoint),
		a.text("coverage.json", string(e.newest.Coverage)),
		e.writeStamps(a),
		a.add("erased.jsonl", func(w io.Writer) error { return writeErased(w, o.Erased) }),
		a.json("verify.json", map[string]any{"evidence": o.Report, "api": o.API}),
		a.json("export.json", s),
		e.writeSums(a),
	)
	return s, cmp.Or(err, a.zip.Close())
}

// writeRows adds the proofs.
func (e *Export) writeRows(w io.Writer) error {
	r, err := e.rows.reader()
	if err != nil {
		return err
	}
	var line []byte
	for {
		text, err := r.ReadBytes('\n')
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		line = append(line[:0], text[:len(text)-2]...) // without }
		if !e.broken {
			number, _, _ := bytes.Cut(bytes.TrimPrefix(text, []byte(`{"index":`)), []byte{','})
			index, err := strconv.ParseInt(string(number), 10, 64)
			if err != nil {
				return err
			}
			proof, err := e.tree.inclusion(index)
			if err != nil {
				return err
			}
			line = appendHashes(append(line, `,"proof":`...), proof)
		}
		if _, err := w.Write(append(line, "}\n"...)); err != nil {
			return err
		}
	}
}

// appendHashes appends hashes as a JSON list of base64.
func appendHashes(dst []byte, hashes []tlog.Hash) []byte {
	dst = append(dst, '[')
	for i, h := range hashes {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(base64.StdEncoding.AppendEncode(append(dst, '"'), h[:]), '"')
	}
	return append(dst, ']')
}

// writeStamps writes of each time stamp the token as an authority's answer (which is how
// tools want it), the checkpoint that it is of, and what proves that one to be of this log.
func (e *Export) writeStamps(a *archive) error {
	done := map[uint64]bool{} // one that was asked for twice is of the same checkpoint
	for _, s := range e.stamps {
		if done[s.Size] || e.broken || s.Size > uint64(e.tree.size) {
			continue
		}
		done[s.Size] = true
		proof, err := e.tree.consistency(int64(s.Size))
		if err != nil {
			return err
		}
		name := fmt.Sprintf("timestamps/%020d", s.Size)
		err = cmp.Or(
			a.text(name+".txt", s.Checkpoint),
			a.text(name+".tsr", string(answer(s.Token))),
			a.text(name+".json", string(appendHashes(nil, proof))+"\n"),
		)
		if err != nil {
			return err
		}
	}
	return nil
}

// answer is a TimeStampResp around a token: status granted.
// Source: RFC 3161, 2.4.2.
func answer(token []byte) []byte {
	body := append([]byte{0x30, 0x03, 0x02, 0x01, 0x00}, token...)
	size := []byte{byte(len(body) >> 24), byte(len(body) >> 16), byte(len(body) >> 8), byte(len(body))}
	if len(body) >= 0x80 {
		size = bytes.TrimLeft(size, "\x00")
		size = append([]byte{0x80 | byte(len(size))}, size...)
	} else {
		size = size[3:]
	}
	return slices.Concat([]byte{0x30}, size, body)
}

// writeErased writes a line of JSON for each note.
func writeErased(w io.Writer, all []Erased) error {
	out := json.NewEncoder(w)
	out.SetEscapeHTML(false)
	for _, one := range all {
		err := out.Encode(struct {
			AuditID string          `json:"auditId"`
			Note    json.RawMessage `json:"note"`
		}{one.AuditID, one.Note})
		if err != nil {
			return err
		}
	}
	return nil
}

// SumsOrigin is the first line of the note that vouches for the files of an export.
func SumsOrigin(org string) string { return evidence.Origin(org) + "/export" }

// writeSums writes the hashes of the files and, where there is a key, a note that signs them.
func (e *Export) writeSums(a *archive) error {
	sums := a.sums.String()
	if err := a.text("SHA256SUMS", sums); err != nil || e.Signer == nil {
		return err
	}
	text := fmt.Sprintf("%s\nsha256:%x\n", SumsOrigin(e.Org), sha256.Sum256([]byte(sums)))
	signed, err := note.Sign(&note.Note{Text: text}, e.Signer)
	if err != nil {
		return fmt.Errorf("sign the export: %w", err)
	}
	return a.text("SHA256SUMS.note", string(signed))
}

// describe is the request in words.
func (r *Request) describe() []string {
	words := []string{"time of the event: from " + r.Interval.From.UTC().Format(audit.TimeFormat) + " (included) to " + r.Interval.To.UTC().Format(audit.TimeFormat) + " (excluded)"}
	for _, f := range [...]struct{ what, value string }{{"object", r.Entity}, {"actor", r.Actor}, {"type of object", r.EntityType}} {
		if f.value != "" {
			words = append(words, f.what+": "+strings.ToValidUTF8(f.value, "�"))
		}
	}
	return words
}
