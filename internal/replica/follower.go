package replica

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"

	"genesys-audit-connector/internal/offsets"
	"genesys-audit-connector/internal/retry"
	"genesys-audit-connector/internal/txn"
)

// follower keeps a memory warm: all that the offsets topic says, as far as it was read.
type follower struct {
	r      *Replica
	reader *txn.Reader
	state  *offsets.State

	cancel context.CancelFunc
	done   chan struct{} // closed when run has returned
}

func (r *Replica) newFollower() *follower {
	f := &follower{r: r, cancel: func() {}, done: make(chan struct{})}
	f.reader, f.state = r.beginning()
	return f
}

// beginning is a memory of nothing, and a reader of all that there is.
func (r *Replica) beginning() (*txn.Reader, *offsets.State) {
	return r.cfg.Cluster.NewReader(r.cfg.Offsets, 0, txn.First), offsets.NewState(r.cfg.Org)
}

// follow starts a follower with an empty memory; unfollow stops it.
func (r *Replica) follow(ctx context.Context) {
	f := r.newFollower()
	ctx, f.cancel = context.WithCancel(ctx)
	r.mu.Lock()
	r.follower = f
	r.mu.Unlock()
	go f.run(ctx)
}

// unfollow stops the follower and returns it, its reader and state at rest.
func (r *Replica) unfollow() *follower {
	r.mu.Lock()
	f := r.follower
	r.mu.Unlock()
	f.cancel()
	<-f.done
	return f
}

// run reads on until ctx ends.
func (f *follower) run(ctx context.Context) {
	defer close(f.done)
	backoff := retry.Backoff{First: 100 * time.Millisecond, Most: 10 * time.Second}
	for loaded := false; ctx.Err() == nil; {
		var err error
		if !loaded {
			if err = f.catchUp(ctx); err == nil {
				loaded = true
				f.r.set(Standby, true)
			}
		} else {
			err = f.reader.Poll(ctx, time.Second, f.apply)
		}
		if ctx.Err() != nil {
			return
		}
		if errors.Is(err, txn.ErrOutOfRange) {
			f.r.log.Warn("the offsets topic was truncated or recreated; reading it from its beginning", zap.Error(err))
			f.reader.Close()
			f.reader, f.state = f.r.beginning()
			loaded = false
			continue
		}
		if err != nil {
			f.r.cfg.Health.Report(offsetsSubject, err)
			pause := backoff.Next()
			f.r.log.Warn("following the offsets topic failed, retrying", zap.Error(err), zap.Duration("in", pause))
			_ = retry.Sleep(ctx, pause) // the loop sees that ctx has ended
			continue
		}
		backoff.Reset()
		f.r.cfg.Health.Report(offsetsSubject, nil)
	}
}

// catchUp reads to what is the end of the topic now.
func (f *follower) catchUp(ctx context.Context) error { return f.reader.ReadToEnd(ctx, f.apply) }

func (f *follower) apply(rec *txn.Record) error { return apply(f.state, rec, f.r.log) }
