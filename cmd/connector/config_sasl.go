package main

import (
	"context"
	"slices"
	"strings"
	"time"

	"genesys-audit-connector/internal/mskiam"
	"genesys-audit-connector/internal/oauth"
)

// loginVariables are those of each way to log in to Kafka.
var loginVariables = []struct {
	mechanisms string // as messages list them
	variables  []string
}{
	{"PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512", []string{"KAFKA_SASL_USERNAME", "KAFKA_SASL_PASSWORD"}},
	{"OAUTHBEARER", []string{
		"KAFKA_SASL_OAUTHBEARER_TOKEN_ENDPOINT_URL", "KAFKA_SASL_OAUTHBEARER_CLIENT_ID", "KAFKA_SASL_OAUTHBEARER_CLIENT_SECRET",
		"KAFKA_SASL_OAUTHBEARER_SCOPE", "KAFKA_SASL_OAUTHBEARER_EXTENSIONS", "KAFKA_SASL_OAUTHBEARER_TOKEN_FILE",
	}},
	{"AWS_MSK_IAM", []string{"KAFKA_AWS_REGION", "KAFKA_AWS_ROLE_ARN"}},
}

func (c *checker) checkSASL() {
	if c.reader.wrong("KAFKA_SASL_MECHANISM") {
		return // which variables it needs is not known
	}
	s := c.cfg.Kafka.SASL
	if s.MechanismName == "" {
		c.needMechanism()
		return
	}
	c.warnOfOtherMechanisms()
	switch s.MechanismName {
	case "OAUTHBEARER":
		c.checkOAuth()
	case "AWS_MSK_IAM":
		c.checkAWS()
	default:
		c.need("KAFKA_SASL_USERNAME", "the user of KAFKA_SASL_MECHANISM")
		c.need("KAFKA_SASL_PASSWORD", "the password of KAFKA_SASL_MECHANISM")
	}
	if crosses := inClearBy[s.MechanismName]; !c.cfg.Kafka.TLS.Enabled && !c.reader.wrong("KAFKA_TLS") {
		c.warn("KAFKA_SASL_MECHANISM=" + s.MechanismName + " without KAFKA_TLS=true: " + crosses)
	}
}

// inClearBy is what crosses the network unencrypted where there is no TLS.
var inClearBy = map[string]string{
	"PLAIN":         "the password crosses the network unencrypted",
	"SCRAM-SHA-256": "proofs from which a weak password can be guessed, and all records, cross the network unencrypted",
	"SCRAM-SHA-512": "proofs from which a weak password can be guessed, and all records, cross the network unencrypted",
	"OAUTHBEARER":   "the access token crosses the network unencrypted",
	"AWS_MSK_IAM":   "the signed token crosses the network unencrypted, and MSK serves IAM with TLS alone",
}

// needMechanism asks for the mechanism where something is set that only one uses.
func (c *checker) needMechanism() {
	for _, m := range loginVariables {
		set := slices.DeleteFunc(slices.Clone(m.variables), func(name string) bool { return !c.reader.set(name) })
		if len(set) > 0 {
			c.need("KAFKA_SASL_MECHANISM", m.mechanisms+", for there is "+strings.Join(set, ", "))
			return
		}
	}
}

// warnOfOtherMechanisms names what is set and not used.
func (c *checker) warnOfOtherMechanisms() {
	name := c.cfg.Kafka.SASL.MechanismName
	for _, m := range loginVariables {
		if strings.Contains(m.mechanisms, name) {
			continue
		}
		for _, variable := range m.variables {
			if c.reader.set(variable) {
				c.warn(variable + " has no effect with KAFKA_SASL_MECHANISM=" + name + "; it is for " + m.mechanisms)
			}
		}
	}
}

func (c *checker) checkOAuth() {
	const file = "KAFKA_SASL_OAUTHBEARER_TOKEN_FILE"
	keys := map[string]bool{}
	for _, e := range c.cfg.Kafka.SASL.OAuth.Extensions {
		key, _, _ := strings.Cut(e, "=")
		if keys[key] {
			c.reader.add("KAFKA_SASL_OAUTHBEARER_EXTENSIONS", "has the key %s twice; expected each key once", quoted(key))
			break
		}
		keys[key] = true
	}
	if path := c.cfg.Kafka.SASL.OAuth.TokenFile; path != "" {
		for _, name := range loginVariables[1].variables[:4] {
			if c.reader.set(name) {
				c.reader.add(file, "both it and %s are set; expected a token in a file, or an endpoint that gives tokens", name)
				return
			}
		}
		token, err := oauth.File(path).Token(context.Background())
		switch {
		case err != nil:
			c.reader.add(file, "%s; expected a file that holds an access token alone", err)
		case !token.Expires.IsZero() && time.Now().After(token.Expires):
			c.warn(file + " holds a token that ended at " + token.Expires.UTC().Format(time.RFC3339) + "; is what renews it at work, and is this machine's clock right?")
		}
		return
	}
	c.need("KAFKA_SASL_OAUTHBEARER_TOKEN_ENDPOINT_URL", "the token endpoint of an OIDC provider, or "+file+" instead")
	c.need("KAFKA_SASL_OAUTHBEARER_CLIENT_ID", "the id of a client at the token endpoint")
	c.need("KAFKA_SASL_OAUTHBEARER_CLIENT_SECRET", "the secret of that client")
	if inClear(c.cfg.Kafka.SASL.OAuth.Endpoint) {
		c.warn("KAFKA_SASL_OAUTHBEARER_TOKEN_ENDPOINT_URL is http: the client's secret crosses the network unencrypted")
	}
}

// checkAWS completes the region by AWS' own settings.
func (c *checker) checkAWS() {
	aws := &c.cfg.Kafka.SASL.AWS
	if aws.Region != "" || c.reader.wrong("KAFKA_AWS_REGION") {
		return
	}
	region, err := mskiam.Region(context.Background())
	if err != nil {
		c.reader.add("KAFKA_AWS_REGION", "is not set, and AWS' own settings cannot be read: %s; expected the cluster's region, and settings that can be read", err)
		return
	}
	if region == "" {
		c.need("KAFKA_AWS_REGION", "the cluster's region, here or in AWS_REGION")
	}
	aws.Region = region
}
