package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// figures are what one run of the connector took.
type figures struct {
	took         time.Duration // from becoming active to the last event's commit
	user, system time.Duration // CPU time of the whole process
	rss, peak    float64       // resident memory at the end, and at most, in MB
	changes      int
}

// status is what bench wants to know of /api/status.
type status struct {
	Role    string `json:"role"`
	Streams []struct {
		LastPoll *string `json:"lastPoll"`
	} `json:"streams"`
	Events struct{ Published, Duplicates, Changes int } `json:"events"`
}

// run starts the connector on topics of its own, and stops it when it has
// published that many events. With none, it reads nothing older than itself.
func (s *stage) run(ctx context.Context, name string, events int, profile string) (f figures, err error) {
	addr, err := freeAddr()
	if err != nil {
		return f, err
	}
	var said bytes.Buffer
	c := exec.CommandContext(ctx, s.connector, "run")
	c.Env = s.environment(name, addr, events)
	c.Stdout, c.Stderr = &said, &said
	if err := c.Start(); err != nil {
		return f, err
	}
	defer func() {
		if c.ProcessState == nil {
			_ = c.Process.Kill()
			_ = c.Wait()
			err = fmt.Errorf("%w\n%s", err, said.Bytes())
		}
	}()
	if profile != "" {
		record := exec.CommandContext(ctx, "perf", "record", "-q", "-F", "999", "-g", "-o", profile, "-p", strconv.Itoa(c.Process.Pid))
		if err := record.Start(); err != nil {
			return f, err
		}
		defer func() { _ = record.Wait() }() // it ends with the connector
	}
	var active time.Time
	for {
		now, err := ask(ctx, addr)
		if ctx.Err() != nil {
			return f, fmt.Errorf("%w; %d of %d events published", context.Cause(ctx), now.Events.Published, events)
		}
		if err == nil && now.Role == "active" && active.IsZero() {
			active = time.Now()
		}
		if now.polled() && now.Events.Published >= events {
			f.took, f.changes = time.Since(active), now.Events.Changes
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	if f.rss, f.peak, err = memory(c.Process.Pid); err != nil {
		return f, err
	}
	_ = c.Process.Signal(syscall.SIGTERM)
	if err := c.Wait(); err != nil {
		return f, fmt.Errorf("the connector ended: %w\n%s", err, said.Bytes())
	}
	f.user, f.system = c.ProcessState.UserTime(), c.ProcessState.SystemTime()
	return f, nil
}

// polled tells whether the newest events were read once, which they are at once, whatever else there is to read.
func (s status) polled() bool { return len(s.Streams) == 1 && s.Streams[0].LastPoll != nil }

// environment is the connector's configuration: the defaults, but for a limit
// that does not hold it up.
func (s *stage) environment(name, addr string, events int) []string {
	raw, changes, offsets := topics(name)
	from := "24h"
	if events == 0 {
		from = "now"
	}
	return append(os.Environ(),
		"GENESYS_API_URL="+s.world, "GENESYS_LOGIN_URL="+s.world, "GENESYS_AUDIT_API=auditlogs",
		"GENESYS_CLIENT_ID=sandbox", "GENESYS_CLIENT_SECRET=sandbox-secret",
		"GENESYS_RATE_LIMIT=1000000/1s", "GENESYS_RATE_SHARE=1", "BACKFILL_FROM="+from,
		"KAFKA_BROKERS="+strings.Join(s.brokers, ","), "KAFKA_GROUP_ID=bench-"+name,
		"KAFKA_TOPIC_RAW="+raw, "KAFKA_TOPIC_CHANGES="+changes, "KAFKA_TOPIC_OFFSETS="+offsets,
		"HTTP_ADDR="+addr, "LOG_LEVEL=warn",
	)
}

func freeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String(), nil
}

func ask(ctx context.Context, addr string) (s status, err error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/api/status", nil)
	if err != nil {
		return s, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return s, err
	}
	defer func() { _ = resp.Body.Close() }()
	return s, json.NewDecoder(resp.Body).Decode(&s)
}

// memory is the resident memory of a process, now and at most, in MB (proc_pid_status(5)).
func memory(pid int) (now, peak float64, err error) {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return 0, 0, err
	}
	megabytes := func(key string) float64 {
		_, rest, _ := strings.Cut(string(text), "\n"+key+":")
		fields := strings.Fields(rest)
		if len(fields) == 0 {
			return 0
		}
		kb, _ := strconv.ParseFloat(fields[0], 64) // the kernel writes a number
		return kb * 1024 / 1e6
	}
	return megabytes("VmRSS"), megabytes("VmHWM"), nil
}
