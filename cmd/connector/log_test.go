package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// logged returns the lines that write has written, decoded.
func logged(t *testing.T, write func(*zap.Logger)) []map[string]any {
	t.Helper()
	name := filepath.Join(t.TempDir(), "log")
	out, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	write(newLogger(Log{Level: zapcore.InfoLevel, Format: "json"}, out))
	in, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	var lines []map[string]any
	for s := bufio.NewScanner(in); s.Scan(); {
		var line map[string]any
		if err := json.Unmarshal(s.Bytes(), &line); err != nil {
			t.Fatalf("%v: %s", err, s.Bytes())
		}
		lines = append(lines, line)
	}
	return lines
}

// TestEveryStreamIsLogged: a line about one stream or organisation is not
// dropped because there are others.
func TestEveryStreamIsLogged(t *testing.T) {
	const streams, organisations = 60, 30
	seen := make(map[string]int)
	for _, l := range logged(t, func(log *zap.Logger) {
		for i := range streams {
			name := zap.String("stream", fmt.Sprint("service ", i))
			log.Info("stream", name, zap.Bool("new", true))
			log.Info("summary", name, zap.Int64("published", 5))
		}
		for i := range organisations {
			log.With(zap.String("org", fmt.Sprint(i))).Info("active", zap.Int("ids", 7))
		}
		log.Debug("read", zap.String("stream", "service 0"))
	}) {
		seen[fmt.Sprint(l["msg"], "/", l["stream"], "/", l["org"])]++
	}
	if want := 2*streams + organisations; len(seen) != want {
		t.Errorf("%d different lines were written, not %d", len(seen), want)
	}
}

// TestHotLoopIsThinnedOut: what one loop says again and again is bounded,
// whatever numbers and errors stand beside it, and drops nobody else's line.
func TestHotLoopIsThinnedOut(t *testing.T) {
	const turns = 20_000
	hot, other := 0, 0
	for _, l := range logged(t, func(log *zap.Logger) {
		log = log.With(zap.String("org", "default"))
		for i := range turns {
			log.Warn("chunk failed", zap.String("stream", "hot"), zap.Int("attempt", i), zap.Error(errors.New(fmt.Sprint("attempt ", i))))
		}
		log.Warn("chunk failed", zap.String("stream", "other"))
	}) {
		if l["stream"] == "hot" {
			hot++
		} else {
			other++
		}
	}
	// Ten and every hundredth of the rest, in each second that the loop takes.
	if hot < 10 || hot > turns/20 {
		t.Errorf("%d of %d lines of the loop were written", hot, turns)
	}
	if other != 1 {
		t.Errorf("the line of the other stream was written %d times", other)
	}
}
