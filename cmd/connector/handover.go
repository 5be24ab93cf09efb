package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"net"
	"time"

	"go.uber.org/zap"

	"genesys-audit-connector/internal/offsets"
	"genesys-audit-connector/internal/txn"
)

// handover is work on its way to whoever is active. It goes through the offsets
// topic, so that no command ever writes beside a running connector, which would
// fence it.
type handover struct {
	app   *app
	state *offsets.State // as far as reader has come, without the ids, which may be millions
	read  *txn.Reader
	ids   []byte          // what the keys of ids begin with
	seen  func()          // is told of each id; nil for nobody
	taken map[string]bool // requests that were seen in the topic
	ended chan error      // of the replica in this process; nil while there is none
}

// newHandover looks at the topics and reads what the offsets topic says.
func newHandover(ctx context.Context, a *app) (*handover, error) {
	if _, err := a.ensureTopics(ctx); err != nil {
		return nil, err
	}
	h := &handover{
		app: a, state: offsets.NewState(a.cfg.Org), read: a.cluster.NewReader(a.cfg.Kafka.TopicOffsets, a.cfg.offsetsPartition(), txn.First),
		ids: offsets.AppendSeenKey(nil, a.cfg.Org, ""), taken: make(map[string]bool),
	}
	return h, h.read.ReadToEnd(ctx, h.apply)
}

func (h *handover) apply(rec *txn.Record) error {
	if bytes.HasPrefix(rec.Key, h.ids) {
		if h.seen != nil && rec.Value != nil {
			h.seen()
		}
		return nil
	}
	err := h.state.Apply(rec.Key, rec.Value)
	var foreign *offsets.RecordError
	if errors.As(err, &foreign) {
		return nil // the connector reports it
	}
	if id, r, _ := offsets.ParseRequest(h.app.cfg.Org, rec.Key, rec.Value); r != nil {
		h.taken[id] = true
	}
	return err
}

// done tells whether the request was seen in the topic and has been tombstoned since.
func (h *handover) done(id string) bool {
	_, waiting := h.state.Requests[id]
	return h.taken[id] && !waiting
}

func (h *handover) close() { h.read.Close() }

// submit writes the request where the active replica finds it, and tells
// whether there is a group that has one.
func (h *handover) submit(ctx context.Context, r offsets.Request) (id string, active bool, err error) {
	id = rand.Text()
	r.Created, r.By = time.Now().UTC().Truncate(time.Millisecond), cmp.Or(r.By, replicaName())
	value, err := json.Marshal(r)
	if err != nil {
		return "", false, err
	}
	if err := h.write(ctx, offsets.AppendRequestKey(nil, h.app.cfg.Org, id), value); err != nil {
		return "", false, err
	}
	members, err := h.app.cluster.GroupMembers(ctx, h.app.cfg.GroupID())
	return id, len(members) > 0, err
}

// write appends a record to the offsets topic.
func (h *handover) write(ctx context.Context, key, value []byte) error {
	return h.app.cluster.Append(ctx, h.app.cfg.Kafka.TopicOffsets, h.app.cfg.offsetsPartition(), &txn.Record{Key: key, Value: value, Time: time.Now().UnixMilli()})
}

// follow reads on until done says so. Where no replica is active any more this
// process takes part in the election, and does the work when it is elected.
func (h *handover) follow(ctx context.Context, done func() bool) error {
	ctx, cancel := context.WithCancel(ctx)
	defer func() {
		cancel()
		if h.ended != nil {
			<-h.ended
		}
	}()
	var looked time.Time
	for !done() {
		if h.ended == nil && time.Since(looked) > 5*time.Second {
			looked = time.Now()
			members, err := h.app.cluster.GroupMembers(ctx, h.app.cfg.GroupID())
			if err != nil {
				return err
			}
			if len(members) == 0 {
				if err := h.lead(ctx); err != nil {
					return err
				}
			}
		}
		err := h.read.Poll(ctx, 500*time.Millisecond, h.apply)
		if err != nil && !errors.Is(err, txn.ErrRetry) {
			return err
		}
		select {
		case err := <-h.ended:
			h.ended = nil
			if errors.Is(err, txn.ErrFenced) { // a replica is there by now, and goes on with the work
				break
			}
			if err == nil {
				err = errors.New("the connector in this process ended by itself")
			}
			return err
		default:
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return nil
}

// lead makes this process a replica, which ends with ctx.
func (h *handover) lead(ctx context.Context) error {
	h.app.log.Info("no replica is active: this process takes part in the election", zap.String("group", h.app.cfg.GroupID()))
	l, err := net.Listen("tcp", "127.0.0.1:0") // HTTP_ADDR may be another process's
	if err != nil {
		return err
	}
	h.ended = make(chan error, 1)
	if h.app.cfg.OrgsFile != "" {
		_ = l.Close()
		go func() { h.ended <- h.app.leadAlone(ctx) }()
		return nil
	}
	go func() { h.ended <- h.app.runOn(ctx, l) }()
	return nil
}
