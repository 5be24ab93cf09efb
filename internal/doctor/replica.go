package doctor

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// Replica is the connector that runs, if one does: what only time tells.
type Replica struct {
	URL string // of its status page
}

const (
	nameLateness = "lateness"
	statusTime   = 3 * time.Second
	statusBytes  = 16 << 20
)

// runningStatus is what matters of /api/status.
type runningStatus struct {
	Role    string
	Streams []struct {
		Late []struct {
			Age    string
			Events int
		}
	}
	Events struct{ Published int }
}

// examine tells how late the API has shown events since the replica started: which
// sweep found them.
func (r Replica) examine(e examination) {
	if r.URL == "" {
		return
	}
	var running runningStatus
	ctx, cancel := context.WithTimeout(e.ctx, statusTime)
	defer cancel()
	if err := r.ask(ctx, &running); err != nil || running.Role != "active" {
		e.skip("no active connector answers at "+r.URL, nameLateness)
		return
	}
	e.judge(nameLateness, func(f *finding) { f.lateness(running) })
}

func (r Replica) ask(ctx context.Context, into *runningStatus) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.URL+"/api/status", nil)
	if err != nil {
		return fmt.Errorf("ask the replica: %w", err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("ask the replica: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	if err := json.NewDecoder(io.LimitReader(resp.Body, statusBytes)).Decode(into); err != nil {
		return fmt.Errorf("ask the replica: %w", err)
	}
	return nil
}

func (f *finding) lateness(running runningStatus) {
	events := make(map[string]int)
	var ages []string
	for _, s := range running.Streams {
		for _, l := range s.Late {
			if _, known := events[l.Age]; !known {
				ages = append(ages, l.Age)
			}
			events[l.Age] += l.Events
		}
	}
	late, beyond := 0, 0
	var parts []string
	for _, age := range ages {
		n := events[age]
		if late += n; n == 0 {
			continue
		}
		if strings.HasPrefix(age, ">") {
			beyond += n
		}
		parts = append(parts, fmt.Sprintf("%s: %d", age, n))
	}
	detail := fmt.Sprintf("of %d events since the connector started none was shown late", running.Events.Published)
	if late > 0 {
		detail = fmt.Sprintf("of %d events since the connector started %d were shown late, by up to %s", running.Events.Published, late, strings.Join(parts, ", "))
	}
	if beyond > 0 {
		f.warn(detail, "some came later than the oldest of SWEEP_AGES: add a later one, and have connector verify run every week")
		return
	}
	f.ok(detail)
}
