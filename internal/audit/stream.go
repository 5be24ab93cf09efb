package audit

import "time"

// Stream is what the API is asked for as one: a filter expression, or a service.
type Stream struct {
	// Name is the stream's stable name; its ledger is kept under it.
	Name string
	// Retention is how far back the API holds events; 0 means for ever.
	Retention time.Duration
	// MaxWindow is the longest interval that one query may ask for; 0 means any.
	MaxWindow time.Duration
	// Previews are dialects that show recent events of the stream sooner, though not
	// all of them: what they show is published, and covers nothing.
	Previews []Previewed
	// Replaces are the names under which older versions read what this stream reads,
	// though not all of it.
	Replaces []string
	// Continues is the name under which all of what this stream reads was read, and
	// more; "" for none. As long as the stream has no ledger, that one's is its own.
	Continues string
}

// Previewed is a part of a stream that can be read sooner.
type Previewed struct {
	Service string
	// Priority says that it is read as often as possible; others share what is left.
	Priority bool
}

// Read is one reading: every event of the stream whose time is in the interval.
type Read struct {
	Stream   string
	Interval Interval
	Purpose  Purpose
	// Attempts bounds how often one request of the reading is tried; 0 leaves it
	// to the source. Whoever reads a part of what failed before asks for few.
	Attempts int
	// Preview, where it is not "", is the service whose preview is read instead of
	// the stream: its events are those of the stream, but not all of them.
	Preview string
}
