package txn

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/saslauthenticate"
	"github.com/segmentio/kafka-go/protocol/saslhandshake"
	"github.com/segmentio/kafka-go/sasl"

	"genesys-audit-connector/internal/redact"
)

// maxIdle is how long a connection may rest and be used again. Brokers close theirs after 10 min
// (connections.max.idle.ms), the network between often after 5; a request on one that was closed unseen would be
// indefinite and cost a reload.
const maxIdle = time.Minute

// errNotSent marks a request of which no byte was written: it is certain not to be applied.
var errNotSent = errors.New("not sent")

// conn is one connection, opened at its first request and again where it was closed while it rested. It belongs to the
// request that it was taken for (conns), but for hangUp and isOpen.
type conn struct {
	addr   string
	served served    // by the broker, as of the last time that it was dialled
	muted  time.Time // until when the broker reads no further request from it (KIP-219)

	mu     sync.Mutex // protects what follows; held briefly
	net    net.Conn   // nil while closed
	wire   *protocol.Conn
	usable time.Time // until when it may be used for a new request
	expiry time.Time // end of the SASL session, after which a broker hangs up; zero without one
}

func (c *conn) isOpen() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.net != nil
}

func (c *conn) hangUp() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.net != nil {
		_ = c.net.Close()
	}
	c.net, c.wire = nil, nil
}

func (c *conn) roundTrip(ctx context.Context, cluster *Cluster, req protocol.Message) (protocol.Message, error) {
	wire, raw, err := c.open(ctx, cluster)
	if err == nil {
		err = c.served.allow(req)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", errNotSent, c.addr, err)
	}
	// A context that ends closes the connection: nothing of this request is written after roundTrip has returned. It
	// closes this one, not c's, which may be another, in another request's hands, by the time that the function runs.
	stop := context.AfterFunc(ctx, func() { _ = raw.Close() })
	res, err := wire.RoundTrip(req)
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		c.hangUp()
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		return nil, fmt.Errorf("%s at %s: %w", req.ApiKey(), c.addr, err)
	}
	c.muted = time.Now().Add(throttle(res))
	c.used()
	return res, nil
}

// rested reports whether the connection is too old to be used again.
func (c *conn) rested(now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return now.After(c.usable)
}

// used puts off the time at which the connection counts as idle, but never past the end of its SASL session.
func (c *conn) used() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.usable = time.Now().Add(maxIdle)
	if !c.expiry.IsZero() && c.usable.After(c.expiry) {
		c.usable = c.expiry
	}
}

// open returns the connection ready for a request, dialled anew if it rested for too long or the broker has closed it.
func (c *conn) open(ctx context.Context, cluster *Cluster) (*protocol.Conn, net.Conn, error) {
	c.mu.Lock()
	wire, raw := c.wire, c.net
	stale := raw != nil && (time.Now().After(c.usable) || hungUp(raw))
	c.mu.Unlock()
	if raw != nil && !stale {
		return wire, raw, context.Cause(ctx)
	}
	c.hangUp()
	ctx, cancel := context.WithTimeout(ctx, cluster.config.DialTimeout)
	defer cancel()
	raw, err := (&net.Dialer{}).DialContext(ctx, "tcp", c.addr)
	if err != nil {
		return nil, nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = raw.Close() })
	wire, served, expiry, err := handshake(ctx, raw, c.addr, cluster.config)
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		_ = raw.Close()
		// Who waited for a token knows for whom: the broker is not to blame.
		if cause := context.Cause(ctx); cause != nil && !isLogin(err) {
			err = cause
		}
		return nil, nil, err
	}
	c.served = served
	c.mu.Lock()
	c.net, c.wire, c.expiry = raw, wire, expiry
	c.mu.Unlock()
	c.used()
	return wire, raw, nil
}

// handshake negotiates TLS, the API versions and SASL. It returns when the SASL session ends, zero if it doesn't.
func handshake(ctx context.Context, raw net.Conn, addr string, config Config) (*protocol.Conn, served, time.Time, error) {
	host, portText, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, nil, time.Time{}, err
	}
	if config.TLS != nil {
		secured, err := config.TLS()
		if err != nil {
			return nil, nil, time.Time{}, err
		}
		secured = secured.Clone()
		if secured.ServerName == "" {
			secured.ServerName = host
		}
		raw = tls.Client(raw, secured)
	}
	wire := protocol.NewConn(raw, config.ClientID)
	served, err := negotiate(wire)
	if err != nil {
		return nil, nil, time.Time{}, fmt.Errorf("api versions: %w", err)
	}
	if config.SASL == nil {
		return wire, served, time.Time{}, nil
	}
	port, _ := net.LookupPort("tcp", portText)
	ctx = sasl.WithMetadata(ctx, &sasl.Metadata{Host: host, Port: port})
	expiry, err := authenticate(ctx, wire, served, config.SASL)
	if err != nil {
		return nil, nil, time.Time{}, fmt.Errorf("sasl %s: %w", config.SASL.Name(), err)
	}
	return wire, served, expiry, nil
}

// authenticate runs the SASL exchange. KIP-368: a broker may say how long the session lasts and then hangs up on any
// other request than a new exchange; the connection is dialled anew well before.
func authenticate(ctx context.Context, wire *protocol.Conn, served served, mechanism sasl.Mechanism) (time.Time, error) {
	hello := &saslhandshake.Request{Mechanism: mechanism.Name()}
	if err := errors.Join(served.allow(hello), served.allow(&saslauthenticate.Request{})); err != nil {
		return time.Time{}, err
	}
	res, err := wire.RoundTrip(hello)
	if err != nil {
		return time.Time{}, err
	}
	if code := res.(*saslhandshake.Response).ErrorCode; code != 0 {
		return time.Time{}, codeError(kafka.Error(code), "Authenticate", mechanism.Name())
	}
	session, state, err := mechanism.Start(ctx)
	if err != nil {
		return time.Time{}, err
	}
	for {
		sent := time.Now() // the session begins no earlier
		res, err := wire.RoundTrip(&saslauthenticate.Request{AuthBytes: state})
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			// Brokers before KIP-152, and kfake, refuse by hanging up.
			err = fmt.Errorf("%w: %w", codeError(kafka.SASLAuthenticationFailed, "Authenticate", mechanism.Name()), err)
			return time.Time{}, refused(session, &LoginError{err: err})
		}
		if err != nil {
			return time.Time{}, err
		}
		answer := res.(*saslauthenticate.Response)
		if answer.ErrorCode != 0 {
			err := codeError(kafka.Error(answer.ErrorCode), "Authenticate", mechanism.Name())
			return time.Time{}, refused(session, &LoginError{Cause: redact.Printable(answer.ErrorMessage), err: err})
		}
		done, next, err := session.Next(ctx, answer.AuthBytes)
		if err != nil {
			return time.Time{}, err
		}
		if done {
			if answer.SessionLifetimeMs <= 0 {
				return time.Time{}, nil
			}
			return sent.Add(time.Duration(answer.SessionLifetimeMs) * time.Millisecond * 8 / 10), nil
		}
		state = next
	}
}

// LoginError is a login that a broker refused, or for which there was no token.
type LoginError struct {
	Cause string // what the broker, or who gives out the tokens, says; "" for nothing
	err   error
}

func (e *LoginError) Error() string {
	text := e.err.Error()
	if e.Cause == "" || strings.HasSuffix(text, e.Cause) {
		return text
	}
	return text + ": " + e.Cause
}

func (e *LoginError) Unwrap() error { return e.err }

func isLogin(err error) bool {
	_, ok := errors.AsType[*LoginError](err)
	return ok
}

// refused returns the refusal of a login with what the mechanism knows of it.
func refused(session sasl.StateMachine, err *LoginError) error {
	if s, ok := session.(interface{ refused(*LoginError) }); ok {
		s.refused(err)
	}
	return err
}
