package main

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"

	"genesys-audit-connector/internal/genesys"
	"genesys-audit-connector/internal/web"
)

// newSource makes the client of the API.
func (a *app) newSource(log *zap.Logger) (*genesys.Client, error) {
	g := a.cfg.Genesys
	api, login := g.Hosts()
	version, _ := build()
	cfg := genesys.Config{
		APIURL: api, LoginURL: login, ClientID: text(g.ClientID), ClientSecret: text(g.ClientSecret), Scope: g.Scope,
		Dialect: genesys.Dialect(g.API), Filter: g.Filter, Services: g.Services, Priority: g.Priority, Retention: g.Retention,
		RateLimit: genesys.RateLimit{Requests: g.RateLimit.Requests, Per: g.RateLimit.Window},
		RateShare: g.RateShare, RateReserve: g.RateReserve, BackfillShare: a.cfg.Poll.BackfillShare, RequestTimeout: g.RequestTimeout, Logger: log,
		Baseline: a.baseline(),
		Report:   a.health.Report, Version: version, KnownStreams: a.knownStreams,
	}
	if g.RefreshToken.IsSet() {
		cfg.RefreshToken, cfg.Tokens = text(g.RefreshToken), tokenStore{a}
	}
	return genesys.New(cfg)
}

// knownStreams are those that the offsets topic has a ledger of, that which was read
// last first.
func (a *app) knownStreams() []string {
	term := a.current()
	if term == nil {
		return nil
	}
	ledgers := term.Ledgers()
	return slices.SortedFunc(maps.Keys(ledgers), func(x, y string) int {
		// One that goes on where another stopped has covered as much: it comes first.
		return cmp.Or(ledgers[y].Covered.Last().Compare(ledgers[x].Covered.Last()), strings.Compare(y, x))
	})
}

// baseline is how far back the filter may be tried out: only time that the tail
// reads again at once, so that nothing is looked at that is not published too.
func (a *app) baseline() time.Duration {
	return max(min(a.cfg.Poll.Overlap, a.cfg.reach()), time.Millisecond)
}

func text(s Secret) genesys.Secret { return func() (string, error) { return s.Value(), nil } }

// tokenStore keeps a rotated refresh token in the offsets topic, by way of the
// term that may write there.
type tokenStore struct{ app *app }

var errNoTerm = errors.New("only an active replica keeps refresh tokens")

func (t tokenStore) Load(context.Context) ([]byte, error) {
	term := t.app.current()
	if term == nil {
		return nil, errNoTerm
	}
	return term.Token(), nil
}

func (t tokenStore) Save(ctx context.Context, sealed []byte) error {
	term := t.app.current()
	if term == nil {
		return errNoTerm
	}
	return term.SaveToken(ctx, sealed)
}

// addSource adds what the API's client knows.
func (a *app) addSource(s *web.Snapshot) {
	s.API = a.source.API()
	s.ClockOffset, s.ClockKnown = a.source.ClockOffset()
	r := a.source.Rate()
	s.Rate = web.Rate{
		Limit: r.Limit, Window: r.Window, Ours: r.Used, Others: r.Others, Remaining: r.Remaining,
		Reserve: a.cfg.Genesys.RateReserve, Share: a.cfg.Genesys.RateShare, Throttled: r.Throttled,
	}
	for _, f := range r.Families {
		s.Rate.Families = append(s.Rate.Families, web.FamilyRate(f))
	}
	for _, n := range a.source.Requests() {
		status := "none" // no answer
		if n.Status != 0 {
			status = strconv.Itoa(n.Status)
		}
		s.Requests = append(s.Requests, web.Requests{Purpose: n.Purpose.String(), Status: status, Count: uint64(n.Count)})
	}
}
