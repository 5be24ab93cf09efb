package sandbox

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync"
	"time"
)

// Lateness says how late events become visible: with Probability, by a delay
// between Min and Max; the others at once.
type Lateness struct {
	Probability float64
	Min, Max    time.Duration
}

func (l Lateness) delay(d *dice) time.Duration {
	if l.Probability <= 0 || !d.chance(l.Probability) {
		return 0
	}
	return l.Min + time.Duration(d.next()%uint64(max(l.Max-l.Min, 0)+1))
}

// maker makes events. The order of calls and the seed decide what they are.
type maker struct {
	mu    sync.Mutex
	n     uint64
	arena []byte // memory that the events' bytes lie in
	late  Lateness
}

const arenaSize = 1 << 20

// keep copies bytes into memory that never moves.
func (m *maker) keep(body []byte) []byte {
	if len(body) > arenaSize/4 {
		return bytes.Clone(body)
	}
	if len(m.arena)+len(body) > cap(m.arena) {
		m.arena = make([]byte, 0, arenaSize)
	}
	start := len(m.arena)
	m.arena = append(m.arena, body...)
	return m.arena[start:len(m.arena):len(m.arena)]
}

// Emit makes n events that happen now and returns the keys by which a consumer
// of dialect auditlogs knows them.
func (o *Org) Emit(n int) []string { return o.EmitAt(o.eventTime(), 0, n) }

// EmitAt makes n events that happened at a time. They become visible when delay
// has passed from now, or later, as SetLateness says.
func (o *Org) EmitAt(at time.Time, delay time.Duration, n int) []string {
	return o.create(n, func(e *event, d *dice) {
		e.at = at.UnixMilli()
		e.visible = o.now().Add(delay + o.maker.late.delay(d)).UnixMilli()
		o.cast(e, d)
	})
}

// EmitGrants makes n events of now by which somebody is granted a role.
func (o *Org) EmitGrants(n int) []string {
	now := o.eventTime()
	return o.BackfillGrants(n, now, now)
}

// BackfillGrants makes n such events spread over [from, to): many of one service.
func (o *Org) BackfillGrants(n int, from, to time.Time) []string {
	start, span := from.UnixMilli(), uint64(max(to.Sub(from).Milliseconds(), 1))
	return o.create(n, func(e *event, d *dice) {
		e.at = start + int64(d.next()%span)
		e.scene = pick(d, o.world.grants)
		e.actor = o.world.actorOf(e.scene, d)
	})
}

// EmitMembership makes three events by which people join a group, or leave it,
// within three seconds from at on; they become visible one by one, from now on.
func (o *Org) EmitMembership(at time.Time, joins bool) []string {
	var m membership
	i := 0
	return o.create(len(m.scenes), func(e *event, d *dice) {
		if i == 0 {
			m = o.world.membership(d, joins)
		}
		e.at = at.Add(m.after[i]).UnixMilli()
		e.visible = o.now().Add(m.after[i] + o.maker.late.delay(d)).UnixMilli()
		e.scene, e.actor = m.scenes[i], m.actors[i]
		i++
	})
}

// EmitBulk makes n events of one deployment, all in one millisecond.
func (o *Org) EmitBulk(at time.Time, n int) []string {
	return o.create(n, func(e *event, d *dice) {
		e.at = at.UnixMilli()
		e.scene, e.actor = pick(d, o.world.deploy), o.world.robot
	})
}

// EmitOdd makes an event with an oddity, by its name (see Oddities). One of
// them is two events of the same bytes.
func (o *Org) EmitOdd(at time.Time, name string) ([]string, error) {
	odd, err := oddityNamed(name)
	if err != nil {
		return nil, err
	}
	return o.create(1, func(e *event, d *dice) {
		e.at = at.UnixMilli()
		e.scene, e.actor, e.odd = pick(d, o.world.scenes), pick(d, o.world.admins), odd
		if strings.HasPrefix(name, "client") { // only there is such a field to go wrong
			e.actor = o.world.robot
		}
	}), nil
}

// memberships is the share of events that begin a change of a group's members.
const memberships = 0.005

// Backfill makes n events spread over [from, to), among them changes of groups'
// members and bulk deployments of hundreds of events in one millisecond.
func (o *Org) Backfill(n int, from, to time.Time) []string {
	start, span := from.UnixMilli(), uint64(max(to.Sub(from).Milliseconds(), 1))
	bulk, bulkAt := 0, int64(0)
	var m membership
	step, first := len(m.scenes), int64(0)
	made := 0
	return o.create(n, func(e *event, d *dice) {
		e.at = start + int64(d.next()%span)
		made++
		switch {
		case step < len(m.scenes):
			e.at = first + m.after[step].Milliseconds()
			e.scene, e.actor = m.scenes[step], m.actors[step]
			step++
			return
		case n-made >= len(m.scenes) && d.chance(memberships) && e.at+membershipSpan.Milliseconds() < to.UnixMilli():
			m, step, first = o.world.membership(d, d.chance(0.6)), 1, e.at
			e.scene, e.actor = m.scenes[0], m.actors[0]
			return
		case bulk > 0:
			bulk--
			e.at = bulkAt
			e.scene, e.actor = pick(d, o.world.deploy), o.world.robot
			return
		case n > 1000 && d.chance(0.0002):
			bulk, bulkAt = 100+d.n(400), e.at
		}
		o.cast(e, d)
	})
}

// Run makes live events at a rate, events per second, until ctx is done, and
// now and then a deployment.
func (o *Org) Run(ctx context.Context, rate float64) {
	const beats = 10
	beat := time.NewTicker(time.Second / beats)
	defer beat.Stop()
	luck := roll(o.world.seed, 1<<61)
	for owed := 0.0; ; {
		select {
		case <-ctx.Done():
			return
		case <-beat.C:
			owed += rate / beats
			o.Emit(int(owed))
			owed -= float64(int(owed))
			if luck.chance(0.002) {
				o.EmitBulk(o.eventTime(), 20+luck.n(200))
			}
			if luck.chance(min(rate/beats*memberships, 1)) {
				o.EmitMembership(o.eventTime(), luck.chance(0.6))
			}
		}
	}
}

// SetLateness changes how late events become visible from now on.
func (o *Org) SetLateness(l Lateness) {
	o.maker.mu.Lock()
	defer o.maker.mu.Unlock()
	o.maker.late = l
}

// cast decides what an ordinary event is about.
func (o *Org) cast(e *event, d *dice) {
	e.scene = pick(d, o.world.scenes)
	if d.chance(o.options.Noise) {
		e.scene = pick(d, o.world.noise)
	}
	if d.chance(o.options.OtherTypes) {
		e.scene = pick(d, o.world.logins)
	}
	e.actor = o.world.actorOf(e.scene, d)
	if d.chance(o.options.Odd) {
		e.odd = pick(d, lightOddities)
	}
}

// create makes n events; decide fills in what, when and from when on visible.
func (o *Org) create(n int, decide func(*event, *dice)) []string {
	o.maker.mu.Lock()
	defer o.maker.mu.Unlock()
	var (
		slab   = make([]event, n)
		events = make([]*event, 0, n)
		keys   = make([]string, 0, n)
		body   []byte
	)
	for i := range slab {
		e := &slab[i]
		o.maker.n++
		e.n = o.maker.n
		d := roll(^o.world.seed, e.n)
		decide(e, &d)
		body, e.id = o.world.appendEvent(body[:0], e, formAuditlogs)
		e.flat = o.maker.keep(body)
		events = append(events, e)
		keys = append(keys, e.key(e.flat))
		if e.odd != nil && e.odd.copies > 1 {
			twin := &event{at: e.at, visible: e.visible, n: e.n, scene: e.scene, actor: e.actor, odd: e.odd, id: e.id, flat: e.flat}
			events = append(events, twin)
		}
	}
	o.journal.add(o.now().UnixMilli(), events)
	return keys
}

// Raw is an event of a caller's own making.
type Raw struct {
	At    time.Time
	Delay time.Duration // from now until it becomes visible
	Body  []byte        // in dialect auditlogs
	Query []byte        // in the query dialects, with the same id; nil: not served there

	// By which it is found; Type "" is configuration.
	Type, Service, EntityType, Action, UserID string
}

// EmitRaw takes an event as it is, which must be JSON, and returns its key.
func (o *Org) EmitRaw(raw Raw) (string, error) {
	id, err := usableID(raw.Body, "auditId")
	if err != nil {
		return "", fmt.Errorf("raw event: %w", err)
	}
	s := &scene{
		kind: kind{service: raw.Service, entityType: raw.EntityType, flatType: raw.EntityType},
		typ:  raw.Type, action: raw.Action,
	}
	if s.typ == "" {
		s.typ = typeConfiguration
	}
	if raw.Query == nil {
		s.service = ""
	}
	o.taxonomy.learn(s)
	o.maker.mu.Lock()
	defer o.maker.mu.Unlock()
	now := o.now()
	e := &event{
		at: raw.At.UnixMilli(), visible: now.Add(raw.Delay).UnixMilli(),
		scene: s, actor: &actor{person: person{id: raw.UserID}},
		id: id, flat: o.maker.keep(raw.Body), query: bytes.Clone(raw.Query),
	}
	o.journal.add(now.UnixMilli(), []*event{e})
	return e.key(e.flat), nil
}
