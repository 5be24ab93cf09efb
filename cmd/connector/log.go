package main

import (
	"os"
	"strings"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"golang.org/x/term"
)

// newLogger writes JSON, or lines for people where the output is a terminal.
func newLogger(cfg Log, out *os.File) *zap.Logger {
	encoder := zap.NewProductionEncoderConfig()
	encoder.TimeKey, encoder.EncodeTime = "time", zapcore.RFC3339NanoTimeEncoder
	encoder.EncodeDuration = zapcore.StringDurationEncoder
	encoder.EncodeCaller = nil
	form := zapcore.NewJSONEncoder(encoder)
	if cfg.Format == "console" || cfg.Format == "" && term.IsTerminal(int(out.Fd())) {
		encoder.EncodeTime = zapcore.TimeEncoderOfLayout("2006-01-02T15:04:05.000Z07:00")
		encoder.EncodeLevel = zapcore.CapitalLevelEncoder
		form = zapcore.NewConsoleEncoder(encoder)
	}
	return zap.New(newSampled(zapcore.NewCore(form, zapcore.Lock(out), cfg.Level)))
}

// sampled thins out what repeats: of lines of one level, message and subject, the
// first ten of a second are written and then every hundredth. The subject is what
// strings stand beside the message, such as the stream: zap's own sampler looks at
// the message alone and drops one stream's line because of another's. Errors,
// numbers and times are not part of it, for they differ each time around a loop.
type sampled struct {
	zapcore.Core
	counts  zapcore.Core // zap's sampler, asked about message and subject together
	subject string       // of the fields that came by With
}

func newSampled(core zapcore.Core) zapcore.Core {
	return &sampled{Core: core, counts: zapcore.NewSamplerWithOptions(core, time.Second, 10, 100)}
}

// With returns a core that counts together with this one.
func (s *sampled) With(fields []zapcore.Field) zapcore.Core {
	return &sampled{Core: s.Core.With(fields), counts: s.counts, subject: s.subject + subject(fields)}
}

// Check leaves the decision to Write, which alone sees the fields.
func (s *sampled) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if s.Enabled(e.Level) {
		return ce.AddCore(e, s)
	}
	return ce
}

// Write writes the line, or drops it where it repeats.
func (s *sampled) Write(e zapcore.Entry, fields []zapcore.Field) error {
	key := e
	key.Message += s.subject + subject(fields)
	if s.counts.Check(key, nil) == nil {
		return nil
	}
	return s.Core.Write(e, fields)
}

// subject returns the fields that are strings.
func subject(fields []zapcore.Field) string {
	var b strings.Builder
	for _, f := range fields {
		if f.Type == zapcore.StringType {
			b.WriteString("\x00" + f.Key + "\x00" + f.String)
		}
	}
	return b.String()
}
