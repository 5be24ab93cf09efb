package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"genesys-audit-connector/examples/consumer"
)

// noise is what live organisations write most of and nobody asks for: the version of a
// user that synchronisation counts up and nothing else, and a group's list of
// individuals, of which the event says nothing.
const noise = "serviceName=Directory entityType=User action=Update status=SUCCESS| configurationKey=version changeCount=1; " +
	"serviceName=Groups entityType=DirectoryGroup action=Update status=SUCCESS| configurationKey=individuals changeCount=1"

// fields are what an exclusion may ask about.
var fields = map[string]func(*consumer.Message) string{
	"serviceName":      func(m *consumer.Message) string { return consumer.Text(m.ServiceName) },
	"entityType":       func(m *consumer.Message) string { return m.EntityType },
	"entityName":       func(m *consumer.Message) string { return consumer.Text(m.EntityName) },
	"action":           func(m *consumer.Message) string { return m.Action },
	"configurationKey": func(m *consumer.Message) string { return consumer.Text(m.Key) },
	"changeType":       func(m *consumer.Message) string { return m.Type },
	"changeCount":      func(m *consumer.Message) string { return strconv.Itoa(m.Count) },
	"level":            func(m *consumer.Message) string { return consumer.Text(m.Level) },
	"status":           func(m *consumer.Message) string { return consumer.Text(m.Status) },
	"userId":           func(m *consumer.Message) string { return consumer.Text(m.UserID) },
	"clientId":         func(m *consumer.Message) string { return consumer.Text(m.ClientID) },
	"application":      func(m *consumer.Message) string { return consumer.Text(m.Application) },
}

// exclusion is a set of conditions of which all must hold.
type exclusion struct {
	text  string
	terms []term
}

type term struct {
	field   func(*consumer.Message) string
	pattern patterns
}

func (x *exclusion) match(m *consumer.Message) bool {
	for _, t := range x.terms {
		if !t.pattern.match(t.field(m)) {
			return false
		}
	}
	return true
}

// filter keeps from the SIEM what EXCLUDE names, and counts it.
type filter struct {
	exclusions []exclusion
	log        *zap.Logger

	mu     sync.Mutex
	counts []uint64 // by exclusion, of the outputs together
	logged time.Time
}

// parseExclude reads EXCLUDE: exclusions that are parted by ";", each of terms
// NAME=PATTERN|PATTERN that are parted by blanks; "noise" is those above.
func parseExclude(text string) ([]exclusion, error) {
	var all []exclusion
	for _, part := range strings.Split(text, ";") {
		part = strings.TrimSpace(part)
		switch part {
		case "":
			continue
		case "noise":
			list, _ := parseExclude(noise)
			all = append(all, list...)
			continue
		}
		x := exclusion{text: part}
		for _, word := range strings.Fields(part) {
			name, value, ok := strings.Cut(word, "=")
			if !ok || fields[name] == nil {
				return nil, fmt.Errorf("EXCLUDE: %q: noise, or NAME=PATTERN with a name like entityType, is expected", word)
			}
			x.terms = append(x.terms, term{fields[name], strings.Split(value, "|")})
		}
		all = append(all, x)
	}
	return all, nil
}

func newFilter(text string, log *zap.Logger) (*filter, error) {
	exclusions, err := parseExclude(text)
	return &filter{exclusions: exclusions, log: log, counts: make([]uint64, len(exclusions))}, err
}

// excluded returns which exclusion a change is under, -1 for none.
func (f *filter) excluded(m *consumer.Message) int {
	for i := range f.exclusions {
		if f.exclusions[i].match(m) {
			return i
		}
	}
	return -1
}

// before returns a handler that gives next what is not excluded. What is excluded
// counts as delivered once everything before it is.
func (f *filter) before(next consumer.Handler) consumer.Handler {
	if len(f.exclusions) == 0 {
		return next
	}
	return func(ctx context.Context, messages []consumer.Message) (int, error) {
		kept := make([]consumer.Message, 0, len(messages))
		places := make([]int, 0, len(messages)) // of kept, in messages
		by := make([]int, len(messages))
		for i := range messages {
			if by[i] = f.excluded(&messages[i]); by[i] < 0 {
				kept, places = append(kept, messages[i]), append(places, i)
			}
		}
		n := 0
		var err error
		if len(kept) > 0 {
			n, err = next(ctx, kept)
		}
		delivered := len(messages)
		if n < len(kept) {
			delivered = places[n]
		}
		f.count(by[:delivered])
		return delivered, err
	}
}

// filterLog is how often the counts are logged, at most.
const filterLog = time.Minute

func (f *filter) count(by []int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	some := false
	for _, i := range by {
		if i >= 0 {
			f.counts[i]++
			some = true
		}
	}
	if some && time.Since(f.logged) >= filterLog {
		f.report()
	}
}

// report logs how many records were excluded since the start. It needs the lock.
func (f *filter) report() {
	f.logged = time.Now()
	for i, n := range f.counts {
		if n > 0 {
			f.log.Info("excluded, not delivered", zap.Uint64("records", n), zap.String("by", f.exclusions[i].text))
		}
	}
}

// close logs the counts a last time.
func (f *filter) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.report()
}
