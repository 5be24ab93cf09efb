package sandbox

import (
	"slices"
	"sync/atomic"
)

// A condition is a fault beside others: it changes what an answer says, does not
// stand in its place, and several may hold at once. It counts as struck only
// where it changed something.

// conditions are the kinds that are one.
var conditions = []FaultKind{
	Cap, CapRepeat, CapTotal, CapPages, Ties, NoTotal, NoPageCount, ShortPage, EmptyMapping, LacksService, BOM,
}

// tangle makes the order of ties another one each time.
type tangle struct{ n atomic.Uint64 }

// condition returns the first armed fault of these kinds that holds for the
// request and would change the answer; nil for none.
func (o *Org) condition(c *call, changes func(*Fault) bool, kinds ...FaultKind) *Fault {
	return o.faults.first(c, func(f *Fault) bool { return slices.Contains(kinds, f.Kind) && changes(f) })
}

func always(*Fault) bool { return true }

// most is how many events a cap lets through.
func (f *Fault) most() int {
	if f.Events > 0 {
		return f.Events
	}
	return 10_000
}

// capped is what a cap leaves of the results of a query.
func (o *Org) capped(c *call, found []*event) []*event {
	if f := o.condition(c, func(f *Fault) bool { return len(found) > f.most() }, Cap); f != nil {
		return found[:f.most()]
	}
	return found
}

// cappedPage is what a cap leaves of a page of dialect auditlogs.
func (o *Org) cappedPage(c *call, q question, page []*event, more bool) ([]*event, bool) {
	before := -1
	left := func(f *Fault) int {
		if before < 0 {
			before = o.journal.count(place{at: q.from}, q.start, q.match)
		}
		return max(0, f.most()-before)
	}
	f := o.condition(c, func(f *Fault) bool { return len(page) > left(f) || more && len(page) == left(f) }, Cap)
	if f == nil {
		return page, more
	}
	return page[:left(f)], false
}

// numberedPage is a page of dialect realtime and what is said of all pages.
type numberedPage struct {
	events       []*event
	total, pages int
}

// numbered cuts the page that is asked for.
func (o *Org) numbered(c *call, q *inquiry, found []*event) numberedPage {
	number, size := q.PageNumber, q.PageSize
	p := numberedPage{total: len(found), pages: pagesFor(len(found), size)}
	over := func(f *Fault) bool { return len(found) > f.most() }
	if f := o.condition(c, over, Cap, CapRepeat, CapTotal, CapPages); f != nil {
		found = found[:f.most()]
		pages := pagesFor(len(found), size)
		if f.Kind != CapPages {
			p.total = len(found)
		}
		if f.Kind != CapTotal {
			p.pages = pages
		}
		if f.Kind == CapRepeat {
			number = min(number, pages)
		}
	}
	start := len(found)
	if before := number - 1; before <= len(found)/size { // so the product cannot overflow
		start = min(before*size, len(found))
	}
	p.events = found[start:min(start+size, len(found))]
	last := number == pagesFor(len(found), size)
	if f := o.condition(c, func(*Fault) bool { return last && len(p.events) > 0 }, ShortPage); f != nil {
		p.events = p.events[:max(0, len(p.events)-f.events())]
	}
	return p
}

func pagesFor(events, size int) int { return (events + size - 1) / size }

// tied puts the events of one millisecond in another order, where ties are a fault.
func (o *Org) tied(c *call, found []*event) []*event {
	same := func(*Fault) bool {
		for i := 1; i < len(found); i++ {
			if found[i].at == found[i-1].at {
				return true
			}
		}
		return false
	}
	if o.condition(c, same, Ties) == nil {
		return found
	}
	d := roll(o.world.seed^0x74696573, o.tangle.n.Add(1))
	for start := 0; start < len(found); {
		end := start + 1
		for end < len(found) && found[end].at == found[start].at {
			end++
		}
		for i := end - 1; i > start; i-- {
			j := start + d.n(i-start+1)
			found[i], found[j] = found[j], found[i]
		}
		start = end
	}
	return found
}

// flapped is what faults leave of a mapping.
func (o *Org) flapped(c *call, t taxonomy) taxonomy {
	if o.condition(c, always, EmptyMapping) != nil {
		return taxonomy{}
	}
	served := func(f *Fault) bool { return t[f.Service] != nil }
	if f := o.condition(c, served, LacksService); f != nil {
		delete(t, f.Service)
	}
	return t
}
