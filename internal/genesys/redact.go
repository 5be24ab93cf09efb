package genesys

import (
	"slices"
	"strings"
	"sync"
)

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
		if s == "" {
			continue
		}
		r.recent = slices.DeleteFunc(r.recent, func(known string) bool { return known == s })
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
