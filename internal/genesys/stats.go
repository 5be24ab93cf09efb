package genesys

import (
	"cmp"
	"slices"
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
