package sandbox

import (
	"iter"
	"slices"
)

// Truth is what the organisation knows of one id. Two events that a consumer
// cannot tell apart (one id, or no usable id and the same bytes) are one.
type Truth struct {
	ID      string   // the usable id, or sha256:<hex> of the bytes
	Time    int64    // milliseconds since 1970 by which the API orders it; the body may differ
	Visible bool     // the API would show it now, if asked for its time
	Shown   bool     // it stood in an answer that was served to its end
	Bodies  [][]byte // what was shown of it; several where one id was used twice or read in two dialects
}

// Truth lists what there is, ordered by time. An event is shown when a response
// that holds it was written to its last byte without an error: a spoilt answer
// (reset, cut, damaged) shows nothing. One that the answer's reader did not get
// to see because it gave up after the last write counts as shown; it stays
// visible, so that nothing excuses its loss.
//
// Bodies must not be changed.
func (o *Org) Truth() iter.Seq[Truth] {
	return func(yield func(Truth) bool) {
		for _, t := range o.gather() {
			if !yield(*t) {
				return
			}
		}
	}
}

// Shown is the truth of everything that was shown, by id.
func (o *Org) Shown() map[string]Truth {
	shown := map[string]Truth{}
	for t := range o.Truth() {
		if t.Shown {
			shown[t.ID] = t
		}
	}
	return shown
}

// Counts says how many different ids there are.
func (o *Org) Counts() (made, visible, shown int) {
	for t := range o.Truth() {
		made++
		if t.Visible {
			visible++
		}
		if t.Shown {
			shown++
		}
	}
	return made, visible, shown
}

func (o *Org) gather() []*Truth {
	o.journal.reveal(o.now().UnixMilli())
	events, visible := o.journal.all()
	byID := make(map[string]*Truth, len(events))
	list := make([]*Truth, 0, len(events))
	for i, e := range events {
		for f := range forms {
			shown := e.shown.Load()&(1<<f) != 0
			if !shown && (f != formAuditlogs || e.shown.Load() != 0) {
				continue // every event stands for itself at least in auditlogs
			}
			body := e.flat
			if f != formAuditlogs {
				body = e.appendTo(nil, o.world, f)
			}
			id := e.key(body)
			t := byID[id]
			if t == nil {
				t = &Truth{ID: id, Time: e.at}
				byID[id] = t
				list = append(list, t)
			}
			t.Visible = t.Visible || i < visible
			if shown {
				t.Shown = true
				t.addBody(body)
			}
		}
	}
	return list
}

func (t *Truth) addBody(body []byte) {
	same := func(known []byte) bool { return string(known) == string(body) }
	if !slices.ContainsFunc(t.Bodies, same) {
		t.Bodies = append(t.Bodies, body)
	}
}
