package kafkatest

import (
	"encoding/binary"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// When says at which point of a request its connection is cut.
type When int

const (
	Before When = iota // the request is read and never forwarded: it is not applied
	After              // the broker has answered and the answer is never forwarded: it is applied
)

func (w When) String() string {
	if w == Before {
		return "before"
	}
	return "after"
}

// Proxy is a loopback TCP proxy that reads the frames of the Kafka protocol. A client with one request in flight
// a connection (as kafka-go is) gets exactly the fault that is asked for.
type Proxy struct {
	tb testing.TB

	mu      sync.Mutex
	conns   map[net.Conn]struct{} // both sides, for Cut
	most    int                   // of them at once
	refuse  bool
	delay   time.Duration
	cuts    []*cut
	lns     []net.Listener
	closing bool
	rewrite func(key, version int16, answer []byte) []byte
}

// cut is a fault that waits for its request.
type cut struct {
	key   int16
	when  When
	fired chan struct{}
}

// NewProxy returns a proxy without targets. It is closed when the test ends.
func NewProxy(tb testing.TB) *Proxy {
	p := &Proxy{tb: tb, conns: map[net.Conn]struct{}{}}
	tb.Cleanup(func() {
		p.mu.Lock()
		p.closing = true
		lns := p.lns
		p.mu.Unlock()
		for _, ln := range lns {
			_ = ln.Close()
		}
		p.Cut()
	})
	return p
}

// Forward opens a port for a target and returns its address.
func (p *Proxy) Forward(target string) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		p.tb.Fatal(err)
	}
	p.mu.Lock()
	p.lns = append(p.lns, ln)
	p.mu.Unlock()
	go p.accept(ln, target)
	return ln.Addr().String()
}

// Listen is a net.Listen for an embedded broker: clients reach it, and it names itself, through the proxy.
func (p *Proxy) Listen(network, _ string) (net.Listener, error) {
	ln, err := net.Listen(network, "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	front, err := net.ResolveTCPAddr(network, p.Forward(ln.Addr().String()))
	if err != nil {
		return nil, err
	}
	return fronted{ln, front}, nil
}

type fronted struct {
	net.Listener
	front net.Addr
}

func (f fronted) Addr() net.Addr { return f.front }

// Cut drops every connection now.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		_ = c.Close()
	}
}

// Refuse drops new connections as soon as they are made (true) or takes them again (false).
func (p *Proxy) Refuse(refuse bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refuse = refuse
}

// Delay holds every request back for d.
func (p *Proxy) Delay(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.delay = d
}

// CutOnce drops the connection of the next request with this API key. The channel is closed when that has happened.
func (p *Proxy) CutOnce(key int16, when When) <-chan struct{} {
	c := &cut{key: key, when: when, fired: make(chan struct{})}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cuts = append(p.cuts, c)
	return c.fired
}

// Rewrite passes every answer, with its size in front, through f on its way back to the client, together with key and
// version of the request; nil passes them on as they are. f may be called from several goroutines at once.
func (p *Proxy) Rewrite(f func(key, version int16, answer []byte) []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rewrite = f
}

// Clear takes back every CutOnce that has not fired.
func (p *Proxy) Clear() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cuts = nil
}

func (p *Proxy) accept(ln net.Listener, target string) {
	for {
		client, err := ln.Accept()
		if err != nil {
			return
		}
		go p.serve(client, target)
	}
}

// serve forwards one connection until either side ends it.
func (p *Proxy) serve(client net.Conn, target string) {
	defer func() { _ = client.Close() }()
	p.mu.Lock()
	refuse := p.refuse || p.closing
	p.mu.Unlock()
	if refuse {
		return
	}
	broker, err := net.Dial("tcp", target)
	if err != nil {
		return
	}
	defer func() { _ = broker.Close() }()
	p.track(client, broker)
	defer p.untrack(client, broker)

	var asked atomic.Uint32    // key and version of the request now in flight
	lost := make(chan *cut, 1) // the answer to the request now in flight is to be lost
	go p.answer(client, broker, &asked, lost)
	for {
		request, err := readFrame(client)
		if err != nil || len(request) < 8 {
			return
		}
		asked.Store(binary.BigEndian.Uint32(request[4:]))
		c, delay := p.faultFor(int16(binary.BigEndian.Uint16(request[4:])))
		if delay > 0 {
			time.Sleep(delay)
		}
		if c != nil && c.when == Before {
			close(c.fired)
			return
		}
		if c != nil {
			lost <- c
		}
		if _, err := broker.Write(request); err != nil {
			return
		}
	}
}

// answer passes the broker's answers on until either side ends the connection.
func (p *Proxy) answer(client, broker net.Conn, asked *atomic.Uint32, lost <-chan *cut) {
	defer func() { _ = client.Close(); _ = broker.Close() }()
	for {
		answer, err := readFrame(broker)
		if err != nil {
			return
		}
		select {
		case c := <-lost:
			close(c.fired)
			return
		default:
		}
		p.mu.Lock()
		rewrite := p.rewrite
		p.mu.Unlock()
		if of := asked.Load(); rewrite != nil {
			answer = rewrite(int16(of>>16), int16(of&0xffff), answer)
		}
		if _, err := client.Write(answer); err != nil {
			return
		}
	}
}

// faultFor takes the fault that waits for a request of this key, if any.
func (p *Proxy) faultFor(key int16) (*cut, time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, c := range p.cuts {
		if c.key == key {
			p.cuts = append(p.cuts[:i:i], p.cuts[i+1:]...)
			return c, p.delay
		}
	}
	return nil, p.delay
}

func (p *Proxy) track(conns ...net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range conns {
		p.conns[c] = struct{}{}
	}
	p.most = max(p.most, len(p.conns))
}

// Most returns how many connections of clients there were at once at most.
func (p *Proxy) Most() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.most / 2
}

func (p *Proxy) untrack(conns ...net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range conns {
		delete(p.conns, c)
	}
}

// readFrame returns one request or answer with its 4-byte size.
func readFrame(r io.Reader) ([]byte, error) {
	frame := make([]byte, 4)
	if _, err := io.ReadFull(r, frame); err != nil {
		return nil, err
	}
	size := binary.BigEndian.Uint32(frame)
	if size > 200<<20 {
		return nil, io.ErrUnexpectedEOF
	}
	frame = append(frame, make([]byte, size)...)
	_, err := io.ReadFull(r, frame[4:])
	return frame, err
}
