package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sync/errgroup"

	"genesys-audit-connector/internal/audit"
	"genesys-audit-connector/internal/evidence"
	"genesys-audit-connector/internal/txn"
)

// grouping makes items of a partition's records.
type grouping interface {
	add(r *txn.Record, give func(evidence.Item) error) error
	end(give func(evidence.Item) error) error
}

// partitions begins to read each partition of a topic.
func partitions(ctx context.Context, g *errgroup.Group, cluster *txn.Cluster, topic string, group func() grouping) ([]evidence.Partition, error) {
	count, err := cluster.Partitions(ctx, topic)
	if err != nil {
		return nil, err
	}
	all := make([]evidence.Partition, count)
	for p := range count {
		reader := cluster.NewReader(topic, p, txn.First)
		begin, err := reader.Start(ctx)
		end := int64(0)
		if err == nil {
			end, err = reader.Settled(ctx)
		}
		if err != nil {
			reader.Close()
			return nil, err
		}
		next := pull(ctx, g, func(ctx context.Context, give func(evidence.Item) error) error {
			defer reader.Close()
			items := group()
			err := reader.ReadTo(ctx, end, func(r *txn.Record) error { return items.add(r, give) })
			if err != nil {
				return err
			}
			return items.end(give)
		})
		all[p] = evidence.Partition{Name: fmt.Sprintf("topic %s, partition %d", topic, p), Begin: begin, Next: next}
	}
	return all, nil
}

// claimOf is the entry of the organisation's log that a record claims, -1 for none; ours
// is false for a record of another organisation. One that names no organisation is looked
// at as if it were of this one: the connector writes none.
func claimOf(r *txn.Record, org string, asked audit.Interval) (index int64, digest []byte, outside, ours bool) {
	index, ours = -1, true
	for _, h := range r.Headers {
		switch h.Key {
		case "event-time":
			at, ok := audit.ParseTime(string(h.Value))
			outside = !asked.Empty() && ok && !asked.Contains(at)
		case "org":
			ours = string(h.Value) == org
		case "sha256":
			digest = h.Value
		case "log-index":
			if n, err := strconv.ParseInt(string(h.Value), 10, 64); err == nil {
				index = n
			}
		}
	}
	return index, digest, outside, ours
}

// rawItems are the raw records.
type rawItems struct {
	org string
	how reading
}

func (i *rawItems) add(r *txn.Record, give func(evidence.Item) error) error {
	index, digest, outside, ours := claimOf(r, i.org, i.how.asked)
	if !ours {
		return nil
	}
	if r.Value == nil {
		return give(evidence.Item{Index: index, ID: string(r.Key), Null: true, Outside: outside, Records: 1, Offset: r.Offset})
	}
	if index < 0 && i.how.older != nil {
		i.how.older(r)
	}
	sum := sha256.Sum256(r.Value)
	item := evidence.Item{
		Index: index, ID: string(r.Key), Sum: sum, Wrong: hex.EncodeToString(sum[:]) != string(digest), Outside: outside, Records: 1, Offset: r.Offset,
	}
	if i.how.bodies {
		item.Body = bytes.Clone(r.Value)
	}
	return give(item)
}

func (i *rawItems) end(func(evidence.Item) error) error { return nil }

// changeItems are the change records of one event after the other.
type changeItems struct {
	org    string
	how    reading
	item   evidence.Item
	sum    evidence.Changes
	values [][]byte
}

func (i *changeItems) add(r *txn.Record, give func(evidence.Item) error) error {
	index, _, outside, ours := claimOf(r, i.org, i.how.asked)
	if !ours {
		return nil
	}
	id, number := string(r.Key), ""
	if at := strings.LastIndexByte(id, ':'); at >= 0 {
		id, number = id[:at], id[at+1:]
	}
	if r.Value == nil {
		return give(evidence.Item{Index: index, ID: id, Null: true, Outside: outside, Records: 1, Offset: r.Offset})
	}
	if i.item.Records > 0 && (index != i.item.Index || id != i.item.ID || index < 0) {
		if err := i.end(give); err != nil {
			return err
		}
	}
	if i.item.Records == 0 {
		i.item = evidence.Item{Index: index, ID: id, Outside: outside, Rest: number != "0", Offset: r.Offset}
		i.sum.Reset()
	}
	i.item.Wrong = i.item.Wrong || number != strconv.Itoa(i.item.Records)
	i.item.Records++
	i.sum.Add(r.Value)
	if i.how.bodies {
		i.values = append(i.values, bytes.Clone(r.Value))
	}
	return nil
}

func (i *changeItems) end(give func(evidence.Item) error) error {
	if i.item.Records == 0 {
		return nil
	}
	item := i.item
	item.Sum = i.sum.Sum()
	if i.how.bodies {
		item.Body = i.values
	}
	i.item, i.values = evidence.Item{}, nil
	return give(item)
}
