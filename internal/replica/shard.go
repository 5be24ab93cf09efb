package replica

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"

	"genesys-audit-connector/internal/offsets"
	"genesys-audit-connector/internal/retry"
	"genesys-audit-connector/internal/txn"
)

// Shard is one partition of the offsets topic while this replica owns it: what it says of
// each organisation that is led here, and the requests that arrive in it. The organisations
// share its two readers, for each record of the partition is of one of them.
type Shard struct {
	cluster   *txn.Cluster
	topic     string
	partition int32
	log       *zap.Logger
	loads     chan *load
	warm      *follower // what a standby has read; the first load takes it

	mu      sync.Mutex // protects what follows
	inboxes map[string]*inbox
	tail    *txn.Reader   // what the watch reads on; nil before the first load, and when it failed
	loaded  chan struct{} // is told of a new tail
}

// load is an organisation's wish for its memory.
type load struct {
	inbox  *inbox
	state  *offsets.State
	offset int64 // state is what was committed before it
	err    error
	done   chan struct{}
}

// NewShard returns a shard; Run must run for organisations to be led on it.
func NewShard(c *txn.Cluster, topic string, partition int32, log *zap.Logger) *Shard {
	return &Shard{
		cluster: c, topic: topic, partition: partition, log: log.With(zap.Int32("partition", partition)),
		loads: make(chan *load), inboxes: make(map[string]*inbox), loaded: make(chan struct{}, 1),
	}
}

// Run serves those that are led on the shard until ctx ends.
func (s *Shard) Run(ctx context.Context) {
	var watching sync.WaitGroup
	watching.Go(func() { s.watch(ctx) })
	defer watching.Wait()
	for {
		var first *load
		select {
		case first = <-s.loads:
		case <-ctx.Done():
			s.close()
			return
		}
		if s.warm != nil {
			s.catchUp(ctx, first)
			continue
		}
		s.read(ctx, s.waiting(first))
	}
}

// close gives back what no watch will take.
func (s *Shard) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.warm != nil {
		s.warm.reader.Close()
	}
}

// waiting adds to a wish all those that are there by now: the partition is read once for all.
func (s *Shard) waiting(first *load) []*load {
	batch := []*load{first}
	for {
		select {
		case l := <-s.loads:
			batch = append(batch, l)
		default:
			return batch
		}
	}
}

// catchUp gives away what the standby has read, once it has been read on to the end.
func (s *Shard) catchUp(ctx context.Context, l *load) {
	f := s.warm
	s.warm = nil
	err := f.catchUp(ctx)
	if err != nil {
		f.reader.Close()
	} else {
		l.state, l.offset = f.state, f.reader.Offset()
		l.inbox.begin(l.offset, l.state.Facts)
		s.goOn(f.reader)
	}
	l.err = err
	close(l.done)
}

// read reads the partition from its beginning to its end for those in the batch.
func (s *Shard) read(ctx context.Context, batch []*load) {
	byOrg := make(map[string]*load, len(batch))
	for _, l := range batch {
		l.state = offsets.NewState(l.inbox.org)
		byOrg[l.inbox.org] = l
	}
	reader := s.cluster.NewReader(s.topic, s.partition, txn.First)
	err := reader.ReadToEnd(ctx, func(rec *txn.Record) error {
		org, _, _ := bytes.Cut(rec.Key, []byte("/"))
		l := byOrg[string(org)]
		if l == nil || l.err != nil {
			return nil
		}
		l.err = apply(l.state, rec, s.log)
		return nil
	})
	for _, l := range batch {
		if l.err == nil {
			l.err = err
		}
		l.offset = reader.Offset()
		l.inbox.begin(l.offset, l.state.Facts)
		close(l.done)
	}
	if err != nil || !s.goOn(reader) {
		reader.Close()
	}
}

// goOn hands the watch a reader to read on with; false where it has one.
func (s *Shard) goOn(r *txn.Reader) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tail != nil {
		return false
	}
	s.tail = r
	s.loaded <- struct{}{} // has room: it was emptied when the tail before was taken
	return true
}

// watch reads on behind the loads, and hands out what other processes ask for.
func (s *Shard) watch(ctx context.Context) {
	for {
		select {
		case <-s.loaded:
		case <-ctx.Done():
			s.endTail(nil)
			return
		}
		s.endTail(s.readOn(ctx))
		if ctx.Err() != nil {
			return
		}
	}
}

// readOn returns when ctx ends (nil), or when the partition is not the one any more that
// the memories are of.
func (s *Shard) readOn(ctx context.Context) error {
	backoff := retry.Backoff{First: 100 * time.Millisecond, Most: 10 * time.Second}
	for ctx.Err() == nil {
		err := s.tail.Poll(ctx, time.Second, s.deliver)
		switch {
		case errors.Is(err, txn.ErrOutOfRange):
			return fmt.Errorf("%w: the offsets topic was truncated or recreated: %w", ErrAgain, err)
		case txn.NoTopic(err):
			// It may be deleted. One that takes its place may be longer, by what others write,
			// before it is looked at again.
			return fmt.Errorf("%w: the offsets topic is not there: %w", ErrAgain, err)
		case err != nil && ctx.Err() == nil:
			pause := backoff.Next()
			s.log.Warn("following the offsets topic failed, retrying", zap.Error(err), zap.Duration("in", pause))
			_ = retry.Sleep(ctx, pause) // the loop sees that ctx has ended
		default:
			backoff.Reset()
		}
		s.flush()
	}
	return nil
}

// endTail ends the watch's reader and, with an error, the terms of all that are led here.
func (s *Shard) endTail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tail != nil {
		s.tail.Close()
		s.tail = nil
	}
	select {
	case <-s.loaded:
	default:
	}
	if err == nil {
		return
	}
	for _, in := range s.inboxes {
		in.end(err)
	}
}

func (s *Shard) deliver(rec *txn.Record) error {
	org, _, _ := bytes.Cut(rec.Key, []byte("/"))
	s.mu.Lock()
	in := s.inboxes[string(org)]
	s.mu.Unlock()
	if in == nil {
		return nil
	}
	if err := in.fact(rec); err != nil {
		s.log.Warn("a fact in the offsets topic cannot be read", zap.String("org", in.org), zap.Error(err))
	}
	id, request, err := offsets.ParseRequest(in.org, rec.Key, rec.Value)
	if err != nil {
		s.log.Warn("a request in the offsets topic cannot be read", zap.String("org", in.org), zap.Error(err))
	} else if id != "" {
		in.put(id, request, rec.Offset)
	}
	return nil
}

// flush lets those know that have something in their inbox, after a whole answer: a request
// whose tombstone follows in it is never handed out.
func (s *Shard) flush() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, in := range s.inboxes {
		in.announce()
	}
}

// enter makes an inbox for an organisation that is about to be loaded; leave ends it.
func (s *Shard) enter(org string) *inbox {
	in := newInbox(org)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inboxes[org] = in
	return in
}

func (s *Shard) leave(in *inbox) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.inboxes, in.org)
}

// load returns what the partition says of the inbox' organisation, and before which offset.
// From that offset on requests go to the inbox.
func (s *Shard) load(ctx context.Context, in *inbox) (*offsets.State, int64, error) {
	l := &load{inbox: in, done: make(chan struct{})}
	select {
	case s.loads <- l:
	case <-ctx.Done():
		return nil, 0, context.Cause(ctx)
	}
	select {
	case <-l.done:
		return l.state, l.offset, l.err
	case <-ctx.Done():
		return nil, 0, context.Cause(ctx)
	}
}

// apply takes a record in; one that nobody here wrote is reported and skipped.
func apply(state *offsets.State, rec *txn.Record, log *zap.Logger) error {
	err := state.Apply(rec.Key, rec.Value)
	var foreign *offsets.RecordError
	if errors.As(err, &foreign) {
		log.Warn("a record in the offsets topic is not one of ours, it is skipped",
			zap.Int64("offset", rec.Offset), zap.Error(err))
		return nil
	}
	return err
}
