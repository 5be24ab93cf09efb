package sandbox

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

// The sandbox from another process. Everything that is sent and answered is
// JSON; durations are text like "250ms".
//
//	GET    /sandbox/truth       one line per id: id, timestamp, sha256 of what was shown, shown, visible
//	                            (?bodies=1 adds what was shown, in base64)
//	GET    /sandbox/stats       Stats
//	GET    /sandbox/requests    []Request
//	POST   /sandbox/faults      one Fault or a list of them
//	DELETE /sandbox/faults      disarms all (?kind=cap&kind=ties: those of these kinds)
//	POST   /sandbox/clock       {"shift":"3h","events":false}: ClockError from now on
//	POST   /sandbox/emit        an Emission; answers the keys of the new events
//	POST   /sandbox/late        {"probability":0.3,"min":"1s","max":"1m"}: Lateness from now on
//	POST   /sandbox/credentials {"clientId","clientSecret"}: from now on
//	DELETE /sandbox/tokens      ends all access tokens
//	POST   /sandbox/names       {"listing":"roles","id","name"}: SetName
//	POST   /sandbox/permissions {"forbid":["authorization:role:view"],"allow":[…]}: from now on
func (o *Org) controls() {
	o.mux.HandleFunc("GET /sandbox/truth", o.controlTruth)
	o.mux.HandleFunc("GET /sandbox/stats", func(w http.ResponseWriter, _ *http.Request) { reply(w, o.Stats()) })
	o.mux.HandleFunc("GET /sandbox/requests", func(w http.ResponseWriter, _ *http.Request) { reply(w, o.Requests()) })
	o.mux.HandleFunc("POST /sandbox/faults", o.controlFaults)
	o.mux.HandleFunc("DELETE /sandbox/faults", o.controlClear)
	o.mux.HandleFunc("POST /sandbox/clock", o.controlClock)
	o.mux.HandleFunc("POST /sandbox/emit", o.controlEmit)
	o.mux.HandleFunc("POST /sandbox/late", o.controlLate)
	o.mux.HandleFunc("POST /sandbox/credentials", o.controlCredentials)
	o.mux.HandleFunc("POST /sandbox/permissions", o.controlPermissions)
	o.mux.HandleFunc("POST /sandbox/names", o.controlNames)
	o.mux.HandleFunc("DELETE /sandbox/tokens", func(w http.ResponseWriter, _ *http.Request) { o.ExpireTokens() })
}

func reply(w http.ResponseWriter, value any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(value) // who asked is gone: nobody to tell
}

// TruthLine is a line of /sandbox/truth.
type TruthLine struct {
	ID        string    `json:"id"`
	Timestamp time.Time `json:"timestamp"`
	SHA256    []string  `json:"sha256"` // of every body that was shown
	Shown     bool      `json:"shown"`
	Visible   bool      `json:"visible"`
	Bodies    [][]byte  `json:"bodies,omitempty"`
}

func (o *Org) controlTruth(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/x-ndjson")
	buffered := bufio.NewWriterSize(w, 64<<10)
	lines := json.NewEncoder(buffered)
	lines.SetEscapeHTML(false)
	for t := range o.Truth() {
		line := TruthLine{ID: t.ID, Timestamp: time.UnixMilli(t.Time).UTC(), Shown: t.Shown, Visible: t.Visible, SHA256: []string{}}
		for _, body := range t.Bodies {
			line.SHA256 = append(line.SHA256, digest(body))
		}
		if r.URL.Query().Get("bodies") != "" {
			line.Bodies = t.Bodies
		}
		if lines.Encode(line) != nil {
			return
		}
	}
	_ = buffered.Flush()
}

// duration is one that JSON carries as text.
type duration time.Duration

func (d *duration) UnmarshalText(text []byte) error {
	parsed, err := time.ParseDuration(string(text))
	*d = duration(parsed)
	return err
}

// sentFault is a Fault on its way here.
type sentFault struct {
	Fault
	RetryAfter duration `json:"retryAfter"`
	Delay      duration `json:"delay"`
	Shift      duration `json:"shift"`
	Longer     duration `json:"longer"`
	Older      duration `json:"older"`
	Younger    duration `json:"younger"`
	For        duration `json:"for"`
}

func (s sentFault) fault() Fault {
	f := s.Fault
	f.RetryAfter, f.Delay, f.Shift = time.Duration(s.RetryAfter), time.Duration(s.Delay), time.Duration(s.Shift)
	f.Longer, f.For = time.Duration(s.Longer), time.Duration(s.For)
	f.Older, f.Younger = time.Duration(s.Older), time.Duration(s.Younger)
	return f
}

func (o *Org) controlFaults(w http.ResponseWriter, r *http.Request) {
	var raw json.RawMessage
	if !understood(w, json.NewDecoder(r.Body).Decode(&raw)) {
		return
	}
	var sent []sentFault
	if raw[0] != '[' {
		raw = append(append([]byte("["), raw...), ']')
	}
	if !understood(w, json.Unmarshal(raw, &sent)) {
		return
	}
	list := make([]Fault, len(sent))
	for i, s := range sent {
		list[i] = s.fault()
	}
	understood(w, o.Inject(list...))
}

func (o *Org) controlClear(_ http.ResponseWriter, r *http.Request) {
	var kinds []FaultKind
	for _, kind := range r.URL.Query()["kind"] {
		kinds = append(kinds, FaultKind(kind))
	}
	o.ClearFaults(kinds...)
}

func (o *Org) controlClock(w http.ResponseWriter, r *http.Request) {
	var e struct {
		Shift  duration `json:"shift"`
		Events bool     `json:"events"`
	}
	if understood(w, json.NewDecoder(r.Body).Decode(&e)) {
		o.SetClock(ClockError{Shift: time.Duration(e.Shift), Events: e.Events})
	}
}

// Emission asks for events from another process: Count ordinary ones, or
// Grants, or changes of groups' members, or a Bulk deployment, or Backfill over [From, To), or the named
// oddities ("all" is every one), or an event of the sender's own.
type Emission struct {
	Count    int             `json:"count"`
	Grants   int             `json:"grants"`
	Members  int             `json:"members"` // three events each; people join and leave by turns
	Bulk     int             `json:"bulk"`
	Backfill int             `json:"backfill"`
	From     time.Time       `json:"from"`
	To       time.Time       `json:"to"`
	At       time.Time       `json:"at"` // zero: now
	Delay    duration        `json:"delay"`
	Odd      []string        `json:"odd"`
	Raw      json.RawMessage `json:"raw"`
}

func (o *Org) controlEmit(w http.ResponseWriter, r *http.Request) {
	var e Emission
	if !understood(w, json.NewDecoder(r.Body).Decode(&e)) {
		return
	}
	if e.At.IsZero() {
		e.At = o.eventTime()
	}
	keys := o.EmitAt(e.At, time.Duration(e.Delay), e.Count)
	keys = append(keys, o.EmitGrants(e.Grants)...)
	for i := range e.Members {
		keys = append(keys, o.EmitMembership(e.At, i%2 == 0)...)
	}
	keys = append(keys, o.EmitBulk(e.At, e.Bulk)...)
	keys = append(keys, o.Backfill(e.Backfill, e.From, e.To)...)
	if len(e.Odd) == 1 && e.Odd[0] == "all" {
		e.Odd = Oddities()
	}
	for _, name := range e.Odd {
		odd, err := o.EmitOdd(e.At, name)
		if !understood(w, err) {
			return
		}
		keys = append(keys, odd...)
	}
	if e.Raw != nil {
		key, err := o.EmitRaw(Raw{At: e.At, Delay: time.Duration(e.Delay), Body: e.Raw})
		if !understood(w, err) {
			return
		}
		keys = append(keys, key)
	}
	reply(w, keys)
}

func (o *Org) controlLate(w http.ResponseWriter, r *http.Request) {
	var l struct {
		Probability float64  `json:"probability"`
		Min         duration `json:"min"`
		Max         duration `json:"max"`
	}
	if !understood(w, json.NewDecoder(r.Body).Decode(&l)) {
		return
	}
	if l.Max < l.Min {
		understood(w, fmt.Errorf("max %s is less than min %s", time.Duration(l.Max), time.Duration(l.Min)))
		return
	}
	o.SetLateness(Lateness{Probability: l.Probability, Min: time.Duration(l.Min), Max: time.Duration(l.Max)})
}

func (o *Org) controlCredentials(w http.ResponseWriter, r *http.Request) {
	var c struct{ ClientID, ClientSecret string }
	if understood(w, json.NewDecoder(r.Body).Decode(&c)) {
		o.SetCredentials(c.ClientID, c.ClientSecret)
	}
}

func (o *Org) controlPermissions(w http.ResponseWriter, r *http.Request) {
	var p struct{ Forbid, Allow []string }
	if !understood(w, json.NewDecoder(r.Body).Decode(&p)) {
		return
	}
	o.Forbid(p.Forbid...)
	if len(p.Allow) > 0 { // without a name it is all of them
		o.Allow(p.Allow...)
	}
}

func (o *Org) controlNames(w http.ResponseWriter, r *http.Request) {
	var n struct {
		Listing  Endpoint
		ID, Name string
	}
	if understood(w, json.NewDecoder(r.Body).Decode(&n)) {
		o.SetName(n.Listing, n.ID, n.Name)
	}
}

// understood answers 400 where there is an error.
func understood(w http.ResponseWriter, err error) bool {
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
	}
	return err == nil
}
