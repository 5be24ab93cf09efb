// Package web shows the connector to people and to programs: a status page, the
// same as JSON, Prometheus metrics, and two probes.
//
// It promises to change nothing: it answers GET and HEAD alone, and all that it
// knows is a Snapshot, taken anew for each request. What an event says stays
// text on the page, whatever it says. It refuses to know how anything is done.
package web

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"go.uber.org/zap"
)

// Source tells what there is to show. Snapshot may be called at any time, by
// several requests at once, and must not wait for the network.
type Source interface{ Snapshot() Snapshot }

// Server answers requests from a Source or a FleetSource.
type Server struct {
	log    *zap.Logger
	routes http.Handler
}

// New makes a server for one organisation, which does not listen yet.
func New(source Source, log *zap.Logger) *Server {
	s := &Server{log: log}
	// now answers with what the source tells at that moment.
	now := func(answer func(http.ResponseWriter, *Snapshot)) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			snap := source.Snapshot()
			answer(w, &snap)
		}
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", now(func(w http.ResponseWriter, snap *Snapshot) { s.page(w, newView(snap)) }))
	mux.HandleFunc("GET /api/status", now(func(w http.ResponseWriter, snap *Snapshot) { s.json(w, snap.Status()) }))
	mux.HandleFunc("GET /evidence/checkpoint", now(checkpoint))
	mux.HandleFunc("GET /readyz", now(ready))
	mux.Handle("GET /metrics", s.metrics(collector{source}))
	mux.HandleFunc("GET /healthz", alive)
	s.routes = guard(mux)
	return s
}

// Handler serves everything; Run does so on a listener.
func (s *Server) Handler() http.Handler { return s.routes }

// A request is a few hundred bytes and its answer is made from memory: whoever
// is slower than this holds a connection for nothing.
const (
	readTimeout  = 5 * time.Second
	writeTimeout = 15 * time.Second
	idleTimeout  = time.Minute
	stopTimeout  = 2 * time.Second
	headerBytes  = 16 << 10
)

// Run serves on the listener, which it closes, until ctx ends. Requests under way then
// have two seconds to finish.
func (s *Server) Run(ctx context.Context, l net.Listener) error {
	errorLog, _ := zap.NewStdLogAt(s.log, zap.DebugLevel) // the level is a known one: no error
	srv := &http.Server{
		Handler: s.routes, ErrorLog: errorLog, MaxHeaderBytes: headerBytes,
		ReadHeaderTimeout: readTimeout, ReadTimeout: readTimeout, WriteTimeout: writeTimeout, IdleTimeout: idleTimeout,
	}
	failed := make(chan error, 1)
	go func() { failed <- srv.Serve(l) }() // ends with Shutdown or Close below
	select {
	case err := <-failed:
		return fmt.Errorf("serve HTTP on %s: %w", l.Addr(), err)
	case <-ctx.Done():
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	if err := srv.Shutdown(stop); err != nil {
		_ = srv.Close() // the rest is cut off; what it says about that helps nobody
	}
	if err := <-failed; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve HTTP on %s: %w", l.Addr(), err)
	}
	return nil
}

// guard sets what every answer has to say to a browser.
func guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		next.ServeHTTP(w, r)
	})
}

// json answers with a document.
func (s *Server) json(w http.ResponseWriter, doc any) {
	var body bytes.Buffer
	enc := json.NewEncoder(&body)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false) // it is not HTML, and no browser is to take it for any
	if err := enc.Encode(doc); err != nil {
		s.broken(w, "write the status as JSON", err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(body.Bytes()) // the client is gone: nobody to tell
}

func checkpoint(w http.ResponseWriter, snap *Snapshot) {
	if snap.Log.Size == 0 {
		text(w, http.StatusNotFound, "this replica knows no checkpoint: it is not active, nothing was published yet, or there is no evidence log\n")
		return
	}
	text(w, http.StatusOK, snap.Log.Checkpoint)
}

func ready(w http.ResponseWriter, snap *Snapshot) {
	if snap.NotReady != "" {
		text(w, http.StatusServiceUnavailable, snap.NotReady+"\n")
		return
	}
	text(w, http.StatusOK, "ready, "+string(snap.Role)+"\n")
}

func alive(w http.ResponseWriter, _ *http.Request) { text(w, http.StatusOK, "alive\n") }

// broken answers 500 for a fault of our own.
func (s *Server) broken(w http.ResponseWriter, doing string, err error) {
	s.log.Error("cannot answer a request", zap.String("doing", doing), zap.Error(err))
	text(w, http.StatusInternalServerError, "cannot "+doing+"; the log says why\n")
}

func text(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(body)) // the client is gone: nobody to tell
}
