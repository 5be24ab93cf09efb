package sandbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

// ServerOptions is a sandbox with addresses of its own.
type ServerOptions struct {
	Options
	Addr         string        // of API and login host; "": a free port on loopback
	DownloadAddr string        // of the host that large results lie on; "": a free port on loopback
	History      int           // events that have happened already
	HistorySpan  time.Duration // during which; 0: 24 hours
	Rate         float64       // live events per second; 0: none

	Broker *BrokerOptions // nil: no broker
	Ready  io.Writer      // gets one line of JSON with the addresses; nil: nothing is said
}

// Server is a running sandbox.
type Server struct {
	Org         *Org
	Broker      *Broker // nil where none was asked for
	URL         string  // of API and login host
	DownloadURL string

	servers []*http.Server
	stop    context.CancelFunc
	running sync.WaitGroup
	failed  chan error
}

// Start brings a sandbox up; Close ends it.
func Start(options ServerOptions) (_ *Server, err error) {
	ctx, stop := context.WithCancel(context.Background())
	s := &Server{stop: stop, failed: make(chan error, 2)}
	defer func() {
		if err != nil {
			s.Close()
		}
	}()
	api, err := listen(options.Addr)
	if err != nil {
		return nil, fmt.Errorf("sandbox API: %w", err)
	}
	downloads, err := listen(options.DownloadAddr)
	if err != nil {
		_ = api.Close()
		return nil, fmt.Errorf("sandbox downloads: %w", err)
	}
	s.URL, s.DownloadURL = "http://"+api.Addr().String(), "http://"+downloads.Addr().String()
	setDefault(&options.DownloadURL, s.DownloadURL)
	s.Org = New(options.Options)
	if options.History > 0 {
		setDefault(&options.HistorySpan, 24*time.Hour)
		now := s.Org.now()
		s.Org.Backfill(options.History, now.Add(-options.HistorySpan), now)
	}
	s.serve(api, s.Org)
	s.serve(downloads, s.Org.Downloads())
	if options.Broker != nil {
		if s.Broker, err = StartBroker(*options.Broker); err != nil {
			return nil, err
		}
	}
	if options.Rate > 0 {
		s.running.Go(func() { s.Org.Run(ctx, options.Rate) })
	}
	return s, nil
}

func listen(addr string) (net.Listener, error) {
	setDefault(&addr, "127.0.0.1:0")
	return net.Listen("tcp", addr)
}

func (s *Server) serve(l net.Listener, handler http.Handler) {
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	s.servers = append(s.servers, server)
	s.running.Go(func() {
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			s.failed <- err
		}
	})
}

// Close ends everything and waits for it.
func (s *Server) Close() {
	s.stop()
	for _, server := range s.servers {
		_ = server.Close() // it is thrown away: what a client still reads is cut
	}
	if s.Broker != nil {
		s.Broker.Close()
	}
	s.running.Wait()
}

// Serve runs a sandbox until ctx is done.
func Serve(ctx context.Context, options ServerOptions) error {
	s, err := Start(options)
	if err != nil {
		return err
	}
	defer s.Close()
	if options.Ready != nil {
		addresses := map[string]any{"api": s.URL, "downloads": s.DownloadURL,
			"clientId": s.Org.options.ClientID, "clientSecret": s.Org.options.ClientSecret}
		if s.Broker != nil {
			addresses["brokers"] = s.Broker.ListenAddrs()
		}
		if err := json.NewEncoder(options.Ready).Encode(addresses); err != nil {
			return fmt.Errorf("say where the sandbox is: %w", err)
		}
	}
	select {
	case <-ctx.Done():
		return nil
	case err := <-s.failed:
		return fmt.Errorf("sandbox server: %w", err)
	}
}
