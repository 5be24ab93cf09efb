package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/segmentio/kafka-go/sasl"
	saslplain "github.com/segmentio/kafka-go/sasl/plain"
	"github.com/segmentio/kafka-go/sasl/scram"
	"go.uber.org/zap"

	"genesys-audit-connector/internal/mskiam"
	"genesys-audit-connector/internal/oauth"
	"genesys-audit-connector/internal/txn"
)

// Mechanism logs in to the brokers; nil where there is no SASL. User, password and tokens
// are asked for again at every connection.
func (s KafkaSASL) Mechanism(log *zap.Logger) sasl.Mechanism {
	switch s.MechanismName {
	case "":
		return nil
	case "OAUTHBEARER":
		return s.OAuth.mechanism(log)
	case "AWS_MSK_IAM":
		tokens := mskiam.New(s.AWS.Region, s.AWS.RoleARN)
		return &txn.OAuthBearer{Token: tokens.Token, Refused: tokens.Refused}
	}
	return login{s}
}

// login is a sasl.Mechanism whose credentials may change.
type login struct{ sasl KafkaSASL }

func (l login) Name() string { return l.sasl.MechanismName }

func (l login) Start(ctx context.Context) (sasl.StateMachine, []byte, error) {
	user, password := l.sasl.Username.Value(), l.sasl.Password.Value()
	algorithm := scram.SHA256
	switch l.sasl.MechanismName {
	case "PLAIN":
		return saslplain.Mechanism{Username: user, Password: password}.Start(ctx)
	case "SCRAM-SHA-512":
		algorithm = scram.SHA512
	}
	m, err := scram.Mechanism(algorithm, user, password)
	if err != nil {
		return nil, nil, fmt.Errorf("SASL %s: %w", l.sasl.MechanismName, err)
	}
	return m.Start(ctx)
}

// accessTokens are tokens of an endpoint or out of a file.
type accessTokens interface {
	Token(context.Context) (oauth.Token, error)
	Refused(value string) bool
}

func (o KafkaOAuth) mechanism(log *zap.Logger) sasl.Mechanism {
	var tokens accessTokens = oauth.File(o.TokenFile)
	if o.TokenFile == "" {
		tokens = oauth.New(oauth.Config{
			Endpoint: o.Endpoint, ClientID: o.ClientID.Value, ClientSecret: o.ClientSecret.Value, Scope: o.Scope,
			Failed: func(err error) { log.Warn("get a token for Kafka failed, retrying", zap.Error(err)) },
		})
	}
	extensions := map[string]string{}
	for _, e := range o.Extensions {
		key, value, _ := strings.Cut(e, "=")
		extensions[key] = value
	}
	return &txn.OAuthBearer{
		Token: func(ctx context.Context) (string, time.Time, error) {
			token, err := tokens.Token(ctx)
			if errors.Is(err, oauth.ErrRefused) { // lasts until somebody corrects it, as a wrong password does
				err = fmt.Errorf("%w: %w: %w", txn.ErrAbort, txn.ErrUnauthorized, err)
			}
			return token.Value, token.Expires, err
		},
		Refused: tokens.Refused, Extensions: extensions,
	}
}
