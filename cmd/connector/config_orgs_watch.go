package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"time"

	"github.com/sethvargo/go-envconfig"
)

// orgsChanges are the organisations that have to be started, restarted and stopped.
type orgsChanges struct {
	added, changed []Config
	removed        []string
}

// none reports whether everything may go on as it is.
func (c orgsChanges) none() bool { return len(c.added)+len(c.changed)+len(c.removed) == 0 }

// diffOrganisations compares what each organisation is configured to be; the order in the
// file does not count.
func diffOrganisations(before, now []Config) (c orgsChanges) {
	old := make(map[string]*Config, len(before))
	for i := range before {
		old[before[i].Org] = &before[i]
	}
	for _, cfg := range now {
		switch was := old[cfg.Org]; {
		case was == nil:
			c.added = append(c.added, cfg)
		case !sameSettings(*was, cfg):
			c.changed = append(c.changed, cfg)
		}
		delete(old, cfg.Org)
	}
	for _, cfg := range before {
		if old[cfg.Org] != nil {
			c.removed = append(c.removed, cfg.Org)
		}
	}
	return c
}

// refuseRenames is an error where an organisation has another name than it had: the same
// client of the same API under a name that came, and not any more under one that went.
func (c orgsChanges) refuseRenames(path string, before []Config, lines map[string]int) error {
	if len(c.added) == 0 || len(c.removed) == 0 {
		return nil
	}
	gone := make(map[string]bool, len(c.removed))
	for _, name := range c.removed {
		gone[name] = true
	}
	went := map[string]string{}
	for _, cfg := range before {
		if gone[cfg.Org] {
			went[cfg.client()] = cfg.Org
		}
	}
	var wrong OrgsError
	for _, cfg := range c.added {
		if name := went[cfg.client()]; name != "" {
			wrong.Path = path
			wrong.problems = append(wrong.problems, orgProblem{lines[cfg.Org], "organisation " + quoted(cfg.Org), fmt.Sprintf(
				"%s: was %s until now (the same API and client); renaming would read and publish everything again under new keys: keep the name, or remove it first and add the new one in a later edit if that is what is meant",
				keyName, quoted(name))})
		}
	}
	if wrong.problems == nil {
		return nil
	}
	return &wrong
}

// client is whose audit log an organisation reads, by which client.
func (c Config) client() string {
	api, _ := c.Genesys.Hosts()
	return api + " " + c.Genesys.ClientID.Value()
}

// orgsSettle is how long a file must stay as it is to be taken: one that is written in place
// is not whole meanwhile.
const orgsSettle = 200 * time.Millisecond

// watchOrganisations looks at ORGS_FILE until ctx ends. orgs are in force at the beginning.
// Where another content changes what is in force, changed gets all organisations. Of one
// that is wrong failed gets the error, once; what was in force stays so. failed gets nil when
// the file is right again. Both are called by this goroutine.
func watchOrganisations(ctx context.Context, cfg Config, env envconfig.Lookuper, orgs []Config, every time.Duration, changed func([]Config), failed func(error)) {
	w := orgsWatch{cfg: cfg, env: env, orgs: orgs, changed: changed, failed: failed}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			w.look(ctx)
		case <-ctx.Done():
			return
		}
	}
}

// orgsWatch is what is in force, and what was seen last.
type orgsWatch struct {
	cfg     Config
	env     envconfig.Lookuper
	orgs    []Config
	changed func([]Config)
	failed  func(error)

	seen    [sha256.Size]byte // the content that is in force
	refused [sha256.Size]byte // the content that was wrong at the last look
	looks   int
	fault   string // what was wrong at the last look, "" for nothing
}

// refusedAgain is how many looks later a file that was wrong is read again.
const refusedAgain = 6

// look takes the file in where it has changed. A wrong one is read again now and then: a
// secret that it names may have come meanwhile.
func (w *orgsWatch) look(ctx context.Context) {
	before, err := readOrgs(w.cfg.OrgsFile)
	if err != nil {
		w.refused = [sha256.Size]byte{}
		w.tell(err)
		return
	}
	content := sha256.Sum256(before)
	w.looks++
	switch {
	case content == w.seen:
		w.refused = [sha256.Size]byte{}
		w.tell(nil)
		return
	case content == w.refused && w.looks%refusedAgain != 0:
		return
	}
	select {
	case <-time.After(orgsSettle):
	case <-ctx.Done():
		return
	}
	file, err := loadOrgs(w.cfg, w.env, nil)
	var diff orgsChanges
	if err == nil {
		if file.content != content {
			return // it is being written
		}
		diff = diffOrganisations(w.orgs, file.orgs)
		err = diff.refuseRenames(w.cfg.OrgsFile, w.orgs, file.lines)
	}
	w.tell(err)
	if err != nil {
		w.refused = content
		return
	}
	w.refused = [sha256.Size]byte{}
	w.seen, w.orgs = file.content, file.orgs
	if !diff.none() {
		w.changed(file.orgs)
	}
}

// tell reports what is wrong, or that nothing is any more.
func (w *orgsWatch) tell(err error) {
	switch {
	case err == nil && w.fault != "":
		w.fault = ""
		w.failed(nil)
	case err != nil && err.Error() != w.fault:
		w.fault = err.Error()
		w.failed(err)
	}
}
