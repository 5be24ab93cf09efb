package doctor

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"syscall"
	"time"
)

const hostTime = 15 * time.Second

// host looks whether a host can be reached, the way in which the API's client
// reaches it: through a proxy where the environment names one. What it answers
// does not matter here.
func host(ctx context.Context, f *finding, address, variables string) {
	transport := &http.Transport{
		Proxy:             http.ProxyFromEnvironment,
		TLSClientConfig:   &tls.Config{MinVersion: tls.VersionTLS12},
		DisableKeepAlives: true,
	}
	var peer string
	trace := &httptrace.ClientTrace{GotConn: func(c httptrace.GotConnInfo) { peer = c.Conn.RemoteAddr().String() }}
	req, err := http.NewRequestWithContext(httptrace.WithClientTrace(ctx, trace), http.MethodGet, address, nil)
	if err != nil {
		f.fail("its address is no URL", "correct "+variables)
		return
	}
	res, err := transport.RoundTrip(req) // not a Client: it follows nothing
	if err != nil {
		f.fail(fmt.Sprintf("%s: %v", req.URL.Host, cause(ctx, err)), hostHint(err, variables))
		return
	}
	_ = res.Body.Close() // nothing of it is wanted
	encryption := "not encrypted"
	if res.TLS != nil {
		encryption = tls.VersionName(res.TLS.Version)
	}
	via := "at " + peer
	if proxy, _ := http.ProxyFromEnvironment(req); proxy != nil { // it was parsed for the request already
		via = "through the proxy " + proxy.Host
	}
	f.ok(fmt.Sprintf("%s %s, %s", req.URL.Host, via, encryption))
}

// hostHint is what to do about a host that cannot be reached.
func hostHint(err error, variables string) string {
	switch {
	case is[*net.DNSError](err):
		return "does this machine's DNS know the host, and is " + variables + " right? Behind a proxy set HTTPS_PROXY"
	case is[x509.UnknownAuthorityError](err):
		return "who signed its certificate is not trusted here: if a proxy opens TLS, add its authority to the system's (or SSL_CERT_FILE); if not, somebody is in between"
	case is[x509.HostnameError](err):
		return "its certificate is for another host: is " + variables + " right?"
	case is[x509.CertificateInvalidError](err):
		return "is this machine's clock right? If it is, its certificate is not"
	case is[tls.RecordHeaderError](err), errors.Is(err, http.ErrSchemeMismatch):
		return "it does not speak TLS: is " + variables + " right, with https and this port?"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "nothing listens there: is " + variables + " right? Does a firewall refuse it?"
	}
	return "does a firewall or network policy let HTTPS to this host through? Behind a proxy set HTTPS_PROXY"
}

// is reports whether an error of type E is in err.
func is[E error](err error) bool {
	_, found := errors.AsType[E](err)
	return found
}

// cause is the error without the URL, which is told already, or why there was no time left.
func cause(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}
