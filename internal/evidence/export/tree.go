package export

import (
	"fmt"
	"os"

	"golang.org/x/mod/sumdb/tlog"

	"genesys-audit-connector/internal/evidence"
)

// tree keeps every hash of a log in a file, in the order of tlog's, so that entries can be
// proved in memory that does not grow with the log.
type tree struct {
	file  *os.File
	size  int64  // entries
	saved int64  // hashes in the file
	tail  []byte // those behind them
	pages map[int64][]byte
}

const (
	pageHashes = 128
	maxPages   = 1024    // 4 MiB
	maxTail    = 1 << 16 // bytes
)

func newTree(dir string) (*tree, error) {
	file, err := os.CreateTemp(dir, ".evidence-*")
	if err != nil {
		return nil, err
	}
	return &tree{file: file, pages: map[int64][]byte{}}, nil
}

func (t *tree) close() { discard(t.file) }

// add appends leaf hashes.
func (t *tree) add(leaves []byte) error {
	for ; len(leaves) > 0; leaves = leaves[evidence.HashSize:] {
		hashes, err := tlog.StoredHashesForRecordHash(t.size, tlog.Hash(leaves[:evidence.HashSize]), t)
		if err != nil {
			return err
		}
		for _, h := range hashes {
			t.tail = append(t.tail, h[:]...)
		}
		t.size++
	}
	if len(t.tail) < maxTail {
		return nil
	}
	if _, err := t.file.Write(t.tail); err != nil {
		return err
	}
	t.saved += int64(len(t.tail) / tlog.HashSize)
	t.tail = t.tail[:0]
	clear(t.pages) // the last one was not whole
	return nil
}

// ReadHashes implements tlog.HashReader.
func (t *tree) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	all := make([]tlog.Hash, len(indexes))
	for i, at := range indexes {
		if at >= t.saved {
			all[i] = tlog.Hash(t.tail[(at-t.saved)*tlog.HashSize:][:tlog.HashSize])
			continue
		}
		page, err := t.page(at / pageHashes)
		if err != nil {
			return nil, err
		}
		all[i] = tlog.Hash(page[at%pageHashes*tlog.HashSize:][:tlog.HashSize])
	}
	return all, nil
}

func (t *tree) page(n int64) ([]byte, error) {
	if page, ok := t.pages[n]; ok {
		return page, nil
	}
	count := min(pageHashes, t.saved-n*pageHashes)
	page := make([]byte, count*tlog.HashSize)
	if _, err := t.file.ReadAt(page, n*pageHashes*tlog.HashSize); err != nil {
		return nil, fmt.Errorf("hashes of the log: %w", err)
	}
	if len(t.pages) >= maxPages {
		clear(t.pages)
	}
	t.pages[n] = page
	return page, nil
}

// inclusion proves an entry.
func (t *tree) inclusion(index int64) ([]tlog.Hash, error) {
	return tlog.ProveRecord(t.size, index, t)
}

// consistency proves that the tree of a size is a beginning of this one.
func (t *tree) consistency(size int64) ([]tlog.Hash, error) {
	return tlog.ProveTree(t.size, size, t)
}

func (t *tree) root() (tlog.Hash, error) { return tlog.TreeHash(t.size, t) }

// discard closes a temporary file and removes it.
func discard(file *os.File) {
	_ = file.Close()
	_ = os.Remove(file.Name())
}
