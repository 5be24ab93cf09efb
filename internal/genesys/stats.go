package genesys

import (
	"cmp"
	"slices"
	"strings"
	"sync"

	"genesys-audit-connector/internal/audit"
)

// RequestCount is how many requests of a purpose were answered with a status; 0
// is no answer.
type RequestCount struct {
	Purpose audit.Purpose
	Status  int
	Count   int64
}

// requestCounts counts requests that went against the limit.
type requestCounts struct {
	mu sync.Mutex
	n  map[RequestCount]int64 // Count is 0 in the keys
}

func (c *requestCounts) add(purpose audit.Purpose, status int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n == nil {
		c.n = make(map[RequestCount]int64)
	}
	c.n[RequestCount{Purpose: purpose, Status: status}]++
}

func (c *requestCounts) list() []RequestCount {
	c.mu.Lock()
	defer c.mu.Unlock()
	list := make([]RequestCount, 0, len(c.n))
	for k, n := range c.n {
		k.Count = n
		list = append(list, k)
	}
	slices.SortFunc(list, func(a, b RequestCount) int {
		return cmp.Or(cmp.Compare(a.Purpose, b.Purpose), cmp.Compare(a.Status, b.Status))
	})
	return list
}

// redactor takes secrets out of text that a server wrote: one that echoes a
// header must not get it into our log.
type redactor struct {
	mu     sync.Mutex
	recent []string // newest last
}

// keepSecrets is more than are alive at a time, in all their spellings.
const keepSecrets = 32

func (r *redactor) know(secrets ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range secrets {
		if s == "" || slices.Contains(r.recent, s) {
			continue
		}
		r.recent = append(r.recent, s)
		r.recent = slices.Delete(r.recent, 0, max(0, len(r.recent)-keepSecrets))
	}
}

// clean is what of a text may be shown: without secrets, short, on one line.
func (r *redactor) clean(text string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.recent {
		text = strings.ReplaceAll(text, s, "[secret]")
	}
	text = strings.Join(strings.FieldsFunc(text, func(c rune) bool { return c < ' ' || c == 0x7f }), " ")
	const most = 300
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "…"
	}
	return text
}
