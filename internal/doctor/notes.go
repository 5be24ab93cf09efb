package doctor

import (
	"slices"
	"strings"
	"sync"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// Notes keeps what somebody warns of in its log, to be told instead of logged.
type Notes struct {
	mu    sync.Mutex
	taken []string
}

// Logger is a log of which warnings, and what is worse, become notes.
func (n *Notes) Logger() *zap.Logger {
	return zap.New(noteCore{notes: n, LevelEnabler: zapcore.WarnLevel})
}

// take returns the notes since the last call.
func (n *Notes) take() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	taken := n.taken
	n.taken = nil
	return taken
}

// noteCore is a zapcore.Core.
type noteCore struct {
	zapcore.LevelEnabler
	notes *Notes
	with  []zapcore.Field
}

func (c noteCore) With(fields []zapcore.Field) zapcore.Core {
	c.with = slices.Concat(c.with, fields)
	return c
}

func (c noteCore) Check(entry zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(entry.Level) {
		return checked.AddCore(entry, c)
	}
	return checked
}

// Write keeps the message and those fields that are texts; lists would be too long for a line.
func (c noteCore) Write(entry zapcore.Entry, fields []zapcore.Field) error {
	var texts []string
	for _, f := range slices.Concat(c.with, fields) {
		if f.Type == zapcore.StringType && f.String != "" {
			texts = append(texts, f.Key+"="+f.String)
		}
	}
	note := entry.Message
	if texts != nil {
		note += " (" + strings.Join(texts, ", ") + ")"
	}
	c.notes.mu.Lock()
	defer c.notes.mu.Unlock()
	if !slices.Contains(c.notes.taken, note) {
		c.notes.taken = append(c.notes.taken, note)
	}
	return nil
}

func (noteCore) Sync() error { return nil }
