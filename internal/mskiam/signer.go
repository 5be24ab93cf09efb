// Package mskiam makes the tokens by which Amazon MSK knows an IAM identity: a request for
// kafka-cluster:Connect, signed with AWS' credentials, in place of an access token.
//
// It promises: each token is signed when it is asked for, with credentials that are good
// then; where they come from is AWS' own chain (environment, shared files, web identity,
// container and instance metadata). It refuses to know what is done with a token.
package mskiam

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/aws/aws-msk-iam-sasl-signer-go/signer"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go/logging"
)

const (
	sessionName = "genesys-audit-connector" // as CloudTrail shows it
	// expiryWindow is how long before their end credentials are replaced: a login with
	// credentials that end meanwhile is refused.
	expiryWindow = time.Minute
	// minAge is how old credentials must be to be read again after a refusal. Younger ones
	// would be the same.
	minAge = 30 * time.Second
)

// Signer makes tokens. It is safe for concurrent use.
type Signer struct {
	region, role string

	mu       sync.Mutex
	provider aws.CredentialsProvider // nil until the first use, and after a refusal
	loaded   time.Time
}

// New returns the tokens of a cluster's region, for the identity that AWS' chain has, or
// for the role that it may assume. It contacts nothing yet.
func New(region, roleARN string) *Signer { return &Signer{region: region, role: roleARN} }

// Region returns the region that AWS' environment variables and shared files name, "" where
// they name none.
func Region(ctx context.Context) (string, error) {
	cfg, err := config.LoadDefaultConfig(ctx, config.WithLogger(logging.Nop{}))
	return cfg.Region, err
}

// Token returns a token that was signed now, and when it ends: in 15 minutes.
func (s *Signer) Token(ctx context.Context) (string, time.Time, error) {
	provider, err := s.credentials(ctx)
	if err != nil {
		return "", time.Time{}, fmt.Errorf("AWS configuration: %w", err)
	}
	token, ends, err := signer.GenerateAuthTokenFromCredentialsProvider(ctx, s.region, provider)
	if err != nil {
		return "", time.Time{}, fmt.Errorf("AWS identity: %w", err)
	}
	return token, time.UnixMilli(ends), nil
}

// Refused reports whether the next token is signed with credentials that are read anew:
// shared files may have changed.
func (s *Signer) Refused(string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.provider == nil || time.Since(s.loaded) < minAge {
		return s.provider == nil
	}
	s.provider = nil
	return true
}

func (s *Signer) credentials(ctx context.Context) (aws.CredentialsProvider, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.provider != nil {
		return s.provider, nil
	}
	window := func(o *aws.CredentialsCacheOptions) { o.ExpiryWindow = expiryWindow }
	cfg, err := config.LoadDefaultConfig(ctx, config.WithRegion(s.region),
		config.WithLogger(logging.Nop{}), config.WithCredentialsCacheOptions(window))
	if err != nil {
		return nil, err
	}
	s.provider, s.loaded = cfg.Credentials, time.Now()
	if s.role != "" {
		assumed := stscreds.NewAssumeRoleProvider(sts.NewFromConfig(cfg), s.role,
			func(o *stscreds.AssumeRoleOptions) { o.RoleSessionName = sessionName })
		s.provider = aws.NewCredentialsCache(assumed, window)
	}
	return s.provider, nil
}
