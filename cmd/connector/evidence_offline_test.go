//go:build evidence

package main

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"genesys-audit-connector/internal/evidence"
)

// parcel is an export that somebody edits.
type parcel map[string]string

// file writes the ZIP.
func (p parcel) file(t *testing.T) string {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, name := range slices.Sorted(maps.Keys(p)) {
		w, err := z.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(p[name])); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "edited.zip")
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// with is a copy that is edited.
func (p parcel) with(edit func(parcel)) parcel {
	p = maps.Clone(p)
	edit(p)
	return p
}

// summed makes SHA256SUMS right, as who edits a ZIP with some care would.
func (p parcel) summed() parcel {
	sums := ""
	for _, name := range slices.Sorted(maps.Keys(p)) {
		if !strings.HasPrefix(name, "SHA256SUMS") {
			sums += fmt.Sprintf("%x  %s\n", sha256.Sum256([]byte(p[name])), name)
		}
	}
	return p.with(func(p parcel) { p["SHA256SUMS"] = sums })
}

// unsigned is summed, without the note.
func (p parcel) unsigned() parcel {
	return p.summed().with(func(p parcel) { delete(p, "SHA256SUMS.note") })
}

// signed makes the note right too, with a key.
func (p parcel) signed(t *testing.T, key note.Signer) parcel {
	t.Helper()
	p = p.summed()
	text, err := note.Sign(&note.Note{Text: fmt.Sprintf("genesys-audit-connector/default/export\nsha256:%x\n", sha256.Sum256([]byte(p["SHA256SUMS"])))}, key)
	if err != nil {
		t.Fatal(err)
	}
	return p.with(func(p parcel) { p["SHA256SUMS.note"] = string(text) })
}

// edits are what is done to one file.
var edits = map[string]func(string) string{
	"flip": func(s string) string {
		b := []byte(s + "\n")[:max(len(s), 1)] // of an empty file, a line
		b[len(b)/2] ^= 1
		return string(b)
	},
	"drop": func(string) string { return "" },
	"add":  func(s string) string { first, _, _ := strings.Cut(s, "\n"); return first + "\n" + s },
	"swap": func(s string) string {
		all := strings.SplitAfter(s, "\n")
		for i := range all[1:] {
			if all[i] != all[i+1] && strings.HasSuffix(all[i+1], "\n") {
				all[i], all[i+1] = all[i+1], all[i]
				return strings.Join(all, "")
			}
		}
		return s
	},
}

func (p parcel) edited(name, edit string) parcel {
	return p.with(func(p parcel) {
		if p[name] = edits[edit](p[name]); edit == "drop" {
			delete(p, name)
		}
	})
}

// leftOut takes the event of a line out of every file, as who knows the format would.
func (p parcel) leftOut(t *testing.T, line int) parcel {
	t.Helper()
	rows := strings.SplitAfter(p["evidence.jsonl"], "\n")
	var row struct{ Records []string }
	if err := json.Unmarshal([]byte(rows[line]), &row); err != nil {
		t.Fatal(err)
	}
	before := 1 // the names of the columns
	for _, text := range rows[:line] {
		var earlier struct{ Records []string }
		if err := json.Unmarshal([]byte(text), &earlier); err != nil {
			t.Fatal(err)
		}
		before += len(earlier.Records)
	}
	var meta map[string]any
	if err := json.Unmarshal([]byte(p["export.json"]), &meta); err != nil {
		t.Fatal(err)
	}
	meta["events"], meta["changes"] = meta["events"].(float64)-1, meta["changes"].(float64)-float64(len(row.Records))
	text, err := json.Marshal(meta)
	if err != nil {
		t.Fatal(err)
	}
	return p.with(func(p parcel) {
		p["export.json"] = string(text)
		p["evidence.jsonl"] = strings.Join(slices.Delete(rows, line, line+1), "")
		p["events.jsonl"] = strings.Join(slices.Delete(strings.SplitAfter(p["events.jsonl"], "\n"), line, line+1), "")
		p["changes.csv"] = strings.Join(slices.Delete(strings.SplitAfter(p["changes.csv"], "\r\n"), before, before+len(row.Records)), "")
	})
}

// saidUnreadable takes the changes of a line's event out of the table, and says of its records
// that they cannot be read.
func (p parcel) saidUnreadable(t *testing.T, line int) parcel {
	t.Helper()
	rows := strings.SplitAfter(p["evidence.jsonl"], "\n")
	rows[line] = strings.Replace(rows[line], `"records":`, `"unreadable":true,"records":`, 1)
	less := p.leftOut(t, line)
	var meta map[string]any
	if err := json.Unmarshal([]byte(less["export.json"]), &meta); err != nil {
		t.Fatal(err)
	}
	meta["events"] = meta["events"].(float64) + 1
	text, err := json.Marshal(meta)
	if err != nil {
		t.Fatal(err)
	}
	return p.with(func(p parcel) {
		p["export.json"], p["changes.csv"], p["evidence.jsonl"] = string(text), less["changes.csv"], strings.Join(rows, "")
	})
}

// TestVerifierNoticesEveryEdit: the untouched ZIP passes verify.py, and each edit of it is
// noticed, or is one of which the documentation says that it is not.
func TestVerifierNoticesEveryEdit(t *testing.T) {
	tsa, ca := authority(t, func() bool { return false })
	signer, verifier, err := evidence.GenerateKey("default", nil)
	if err != nil {
		t.Fatal(err)
	}
	o := unlimited()
	o.Odd, o.OtherTypes = 0.2, -1
	s := newScene(t, nil, o)
	s.env["EVIDENCE_KEY"], s.env["EVIDENCE_TSA_URL"], s.env["EVIDENCE_TSA_INTERVAL"] = signer, tsa, "1s"
	s.world.Org.Backfill(150, time.Now().Add(-20*time.Hour), time.Now().Add(-time.Minute))
	_, stop := s.start()
	s.published(60 * time.Second)
	s.stamped(1)
	s.world.Org.Emit(20)
	s.published(60 * time.Second)
	if err := stop(); err != nil {
		t.Error(err)
	}
	path, err := s.exported(exportOptions{from: "2000-01-01"}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	whole := parcel(unzipped(t, path))
	key := []string{"--key", verifier, "--tsa-ca", ca}
	if out, ok := checkedOffline(t, path, key...); !ok || !strings.HasSuffix(out, "\nok\n") {
		t.Fatalf("the untouched export: %s", out)
	}
	stampSeen := false
	for _, name := range slices.Sorted(maps.Keys(whole)) {
		stamp := strings.HasPrefix(name, "timestamps/")
		if stampSeen && strings.HasSuffix(name, ".txt") { // one stamp is enough
			break
		}
		stampSeen = stampSeen || strings.HasSuffix(name, ".txt") && stamp
		whole.eachEdit(t, name, key)
	}
	if !stampSeen {
		t.Error("there is no time stamp in it")
	}
	whole.rewritten(t, verifier, signer, key)
}

// proved are the files that the log proves without a signature of the export.
func proved(name string) bool {
	return strings.HasPrefix(name, "timestamps/") || slices.Contains([]string{
		"events.jsonl", "changes.csv", "evidence.jsonl", "checkpoint.txt", "coverage.json",
	}, name)
}

// eachEdit edits a file: carelessly, then with its hash made right, then without the
// signature of the hashes.
func (p parcel) eachEdit(t *testing.T, name string, key []string) {
	noticed := func(how string, p parcel, want bool, args ...string) {
		t.Run(name+" "+how, func(t *testing.T) {
			t.Parallel()
			if out, ok := checkedOffline(t, p.file(t), append(slices.Clone(key), args...)...); ok == want {
				t.Errorf("noticed: %t\n%s", !ok, out)
			}
		})
	}
	noticed("careless", p.edited(name, "flip"), true)
	if strings.HasPrefix(name, "SHA256SUMS") {
		noticed("dropped", p.edited(name, "drop"), true)
		return
	}
	if !proved(name) {
		noticed("sums made right", p.edited(name, "flip").summed(), true)
		noticed("signature gone", p.edited(name, "flip").unsigned(), true)
	} else {
		for edit := range edits {
			if e := p.edited(name, edit); e[name] != p[name] {
				noticed(edit+" unsigned", e.unsigned(), true, "--unsigned")
			}
		}
	}
}

// rewritten is what an edit of many files can do.
func (p parcel) rewritten(t *testing.T, verifier, signer string, key []string) {
	other, _, err := evidence.GenerateKey("default", nil)
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := note.NewSigner(other)
	if err != nil {
		t.Fatal(err)
	}
	ours, err := note.NewSigner(signer)
	if err != nil {
		t.Fatal(err)
	}
	foreign := p.with(func(p parcel) {
		body, _, _ := strings.Cut(p["checkpoint.txt"], "\n\n")
		text, err := note.Sign(&note.Note{Text: body + "\n"}, stranger)
		if err != nil {
			t.Fatal(err)
		}
		p["checkpoint.txt"] = string(text)
	}).signed(t, stranger)
	report := p.with(func(p parcel) { p["report.html"] = "<p>nothing happened" })
	for _, c := range []struct {
		name    string
		p       parcel
		args    []string
		noticed bool
	}{
		{"signed by another key", foreign, key, true},
		{"signed by another key, and nobody says whose it should be", foreign, nil, false},
		{"an event left out everywhere", p.leftOut(t, 5).summed(), key, true},
		{"and the signature too", p.leftOut(t, 5).unsigned(), key, true},
		{"the same, accepted without a signature", p.leftOut(t, 5).unsigned(), append(slices.Clone(key), "--unsigned"), false},
		{"changes left out of the table, and said to be unreadable", p.saidUnreadable(t, 5).unsigned(), append(slices.Clone(key), "--unsigned"), true},
		{"the report edited, accepted without a signature", report.unsigned(), append(slices.Clone(key), "--unsigned"), false},
		{"the report edited by who has the key", report.signed(t, ours), key, false},
		{"stamps by an authority that is not believed", p, []string{"--key", verifier, "--tsa-ca", selfSigned(t)}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if out, ok := checkedOffline(t, c.p.file(t), c.args...); ok == c.noticed {
				t.Errorf("noticed: %t\n%s", !ok, out)
			}
		})
	}
}

// selfSigned is the certificate of another authority.
func selfSigned(t *testing.T) string {
	_, ca := authority(t, func() bool { return false })
	return ca
}

// TestExportAfterErasures: an export of a log with erasures passes verify.py and has nothing
// of what was erased but who, when and why, before the broker's cleaner came and after.
func TestExportAfterErasures(t *testing.T) {
	t.Parallel()
	s, stop := erasableScene(t)
	gone := slices.Sorted(maps.Keys(s.content().raw))[:3]
	if out, err := s.erase(eraseOptions{ids: gone, reason: "<b>=1+1"}); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	look := func(when string) {
		t.Helper()
		path, err := s.exported(exportOptions{from: "2000-01-01", file: filepath.Join(t.TempDir(), "export.zip")}, time.Now())
		if err != nil {
			t.Fatalf("%s: %v", when, err)
		}
		if out, ok := checkedOffline(t, path); !ok {
			t.Errorf("%s: %s", when, out)
		}
		files := unzipped(t, path)
		for _, id := range gone {
			for _, name := range []string{"events.jsonl", "changes.csv", "evidence.jsonl"} {
				if strings.Contains(files[name], id) {
					t.Errorf("%s: %s has event %s", when, name, id)
				}
			}
			if !strings.Contains(files["erased.jsonl"], `{"auditId":"`+id+`"`) || !strings.Contains(files["report.html"], id) {
				t.Errorf("%s: the erasure of %s is not told", when, id)
			}
		}
		if !strings.Contains(files["report.html"], "&lt;b&gt;=1&#43;1") || !strings.Contains(files["report.html"], "of events that were erased") {
			t.Errorf("%s: the report tells too little", when)
		}
	}
	look("before")
	s.compacted("0")
	s.compacted("0")
	look("after")
	if err := stop(); err != nil {
		t.Error(err)
	}
}
