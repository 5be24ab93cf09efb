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
}

// Read is one reading: every event of the stream whose time is in the interval.
type Read struct {
	Stream   string
	Interval Interval
	Purpose  Purpose
	// Attempts bounds how often one request of the reading is tried; 0 leaves it
	// to the source. Whoever reads a part of what failed before asks for few.
	Attempts int
}
