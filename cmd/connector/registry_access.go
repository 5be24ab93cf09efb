package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"go.uber.org/zap"

	"genesys-audit-connector/internal/codec"
	"genesys-audit-connector/internal/oauth"
	"genesys-audit-connector/internal/tlsfile"
)

// registryHeaders are what Confluent Cloud calls the extensions where they are headers.
// https://docs.confluent.io/cloud/current/security/authenticate/workload-identities/identity-providers/oauth/configure-clients-oauth.html
var registryHeaders = map[string]string{"logicalCluster": "target-sr-cluster", "identityPoolId": "Confluent-Identity-Pool-Id"}

// options say how the registry is reached. They are to be made once: they hold the tokens.
func (r Registry) options(log *zap.Logger) (codec.RegistryOptions, error) {
	o := codec.RegistryOptions{
		URL: strings.Join(r.URLs, ","), Username: r.Username.Value(), Password: r.Password.Value(),
		AutoRegister: r.AutoRegister, Headers: map[string]string{},
	}
	for _, e := range r.OAuth.Extensions {
		name, value, _ := strings.Cut(e, "=")
		o.Headers[registryHeaders[name]] = value
	}
	switch {
	case r.Token.IsSet():
		o.Tokens = bearer{r.Token}
	case r.OAuth.Endpoint != "":
		o.Tokens = issued{oauth.New(oauth.Config{
			Endpoint: r.OAuth.Endpoint, ClientID: r.OAuth.ClientID.Value, ClientSecret: r.OAuth.ClientSecret.Value, Scope: r.OAuth.Scope,
			Failed: func(err error) { log.Warn("no token for the schema registry", zap.Error(err)) },
		})}
	}
	if r.CAFile == "" && r.CertFile == "" {
		return o, nil
	}
	files := r.files(func(err error) { log.Warn("TLS file cannot be used", zap.Error(err)) })
	config, err := files.Config()
	if err != nil {
		return o, usageError{err}
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.DialTLSContext = files.DialTLS
	transport.TLSClientConfig = config // through a proxy, where DialTLSContext is not asked
	o.Transport = transport
	return o, nil
}

func (r Registry) files(warn func(error)) *tlsfile.Files {
	return &tlsfile.Files{Prefix: "SCHEMA_REGISTRY_", CA: r.CAFile, Cert: r.CertFile, Key: r.KeyFile, Warn: warn}
}

// issued are tokens of an endpoint.
type issued struct{ *oauth.Client }

func (i issued) Token(ctx context.Context) (string, error) {
	token, err := i.Client.Token(ctx)
	if errors.Is(err, oauth.ErrRefused) {
		err = fmt.Errorf("%w: %w", codec.ErrRegistryDenied, err)
	}
	return token.Value, err
}

// bearer is a token that somebody else renews, if anybody does.
type bearer struct{ Secret }

func (b bearer) Token(context.Context) (string, error) { return b.Value(), nil }

// Refused has no other token to give.
func (bearer) Refused(string) bool { return false }
