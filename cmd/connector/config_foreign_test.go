package main

import (
	"errors"
	"strings"
	"testing"
)

func TestVariablesOfOtherToolsAreNamedWithWhatToSetInstead(t *testing.T) {
	for name, set := range map[string]string{
		// The Java client's and librdkafka's, as they are and behind the prefixes of tools.
		"KAFKA_SECURITY_PROTOCOL": "KAFKA_TLS=true for SSL", "SECURITY_PROTOCOL": "KAFKA_TLS=true for SSL", "CONNECT_SECURITY_PROTOCOL": "KAFKA_TLS=true for SSL",
		"KAFKA_SASL_JAAS_CONFIG": "KAFKA_SASL_MECHANISM, and KAFKA_SASL_USERNAME", "SASL_JAAS_CONFIG": "KAFKA_SASL_MECHANISM, and",
		"SASL_MECHANISM": "KAFKA_SASL_MECHANISM", "KAFKA_SASL_MECHANISMS": "KAFKA_SASL_MECHANISM",
		"BOOTSTRAP_SERVERS": "KAFKA_BROKERS", "KAFKA_BOOTSTRAP_SERVERS": "KAFKA_BROKERS", "KAFKA_BOOTSTRAP_SERVER": "KAFKA_BROKERS",
		"bootstrap.servers": "KAFKA_BROKERS", "metadata.broker.list": "KAFKA_BROKERS", "SPRING_KAFKA_BOOTSTRAP_SERVERS": "KAFKA_BROKERS",
		"KAFKA_CLUSTERS_0_BOOTSTRAPSERVERS": "KAFKA_BROKERS", "KAFKA_CLUSTERS_0_PROPERTIES_SASL_JAAS_CONFIG": "KAFKA_SASL_MECHANISM, and",
		"KAFKA_CLUSTERS_0_PROPERTIES_SASL_CLIENT_CALLBACK_HANDLER_CLASS": "KAFKA_SASL_MECHANISM=OAUTHBEARER or AWS_MSK_IAM",
		"SSL_CA_LOCATION": "KAFKA_TLS=true and KAFKA_TLS_CA_FILE", "KAFKA_SSL_TRUSTSTORE_LOCATION": "KAFKA_TLS=true and KAFKA_TLS_CA_FILE",
		"KAFKA_SSL_KEYSTORE_LOCATION": "KAFKA_TLS=true and KAFKA_TLS_CERT_FILE", "SSL_KEY_LOCATION": "KAFKA_TLS=true and KAFKA_TLS_KEY_FILE",
		"KAFKA_SSL_ENDPOINT_IDENTIFICATION_ALGORITHM": "certificates are always verified",
		"SASL_OAUTHBEARER_TOKEN_ENDPOINT_URL":         "KAFKA_SASL_OAUTHBEARER_TOKEN_ENDPOINT_URL", "SASL_USERNAME": "KAFKA_SASL_USERNAME",
		"TRANSACTIONAL_ID": "KAFKA_GROUP_ID", "KAFKA_COMPRESSION_TYPE": "KAFKA_COMPRESSION",
		// Confluent's, Redpanda's, Strimzi's, Heroku's.
		"CONFLUENT_BOOTSTRAP_SERVERS": "KAFKA_BROKERS", "CONFLUENT_CLOUD_API_KEY": "KAFKA_SASL_USERNAME", "CONFLUENT_API_SECRET": "KAFKA_SASL_PASSWORD",
		"KAFKA_USERNAME": "KAFKA_SASL_USERNAME", "KAFKA_PASSWORD": "KAFKA_SASL_PASSWORD", "RPK_PASS": "KAFKA_SASL_PASSWORD", "KAFKA_TLS_ENABLED": "KAFKA_TLS=true",
		"OAUTH_TOKEN_ENDPOINT_URI": "KAFKA_SASL_OAUTHBEARER_TOKEN_ENDPOINT_URL", "OAUTH_CLIENT_SECRET": "GENESYS_CLIENT_SECRET for the API",
		"KAFKA_URL": "KAFKA_BROKERS", "KAFKA_TRUSTED_CERT": "KAFKA_TLS_CA_FILE", "KAFKA_CLIENT_CERT": "KAFKA_TLS_CERT_FILE", "KAFKA_CLIENT_CERT_KEY": "KAFKA_TLS_KEY_FILE", "KAFKA_TOPIC": "KAFKA_TOPIC_RAW",
		"SCHEMA_REGISTRY_BASIC_AUTH_USER_INFO": "SCHEMA_REGISTRY_USERNAME", "KAFKA_SCHEMA_REGISTRY_URL": "SCHEMA_REGISTRY_URL",
		// Genesys' own tools'.
		"GENESYSCLOUD_OAUTHCLIENT_ID": "GENESYS_CLIENT_ID", "GENESYSCLOUD_REGION": "GENESYS_REGION",
	} {
		got := Unread([]string{name + "=canary"})
		if len(got) != 1 || !strings.HasPrefix(got[0], name+" is a variable of other tools and has no effect here; set ") ||
			!strings.Contains(got[0], set) || strings.Contains(got[0], "canary") {
			t.Errorf("%s: %q", name, got)
		}
	}
}

// TestVariablesOfOtherProgramsAreNotNamed: what brokers and their images read, what
// Kubernetes sets for a Service, what says nothing of Kafka, what is not set, and our own.
func TestVariablesOfOtherProgramsAreNotNamed(t *testing.T) {
	environ := []string{
		"KAFKA_HEAP_OPTS=a", "KAFKA_LISTENERS=a", "KAFKA_ADVERTISED_LISTENERS=a", "KAFKA_PORT=tcp://10.0.0.1:9092", "KAFKA_SERVICE_HOST=10.0.0.1",
		"KAFKA_PORT_9092_TCP_ADDR=10.0.0.1", "SCHEMA_REGISTRY_SERVICE_PORT=8081", "USERNAME=a", "PASSWORD=a", "USER=a", "URL=a", "TOPIC=a", "GROUP=a",
		"AWS_REGION=eu-west-1", "AWS_ROLE_ARN=a", "SSL_CERT_FILE=a", "HTTPS_PROXY=a", "BOOTSTRAP_SERVERS=", "CONNECT_REST_PORT=a",
	}
	for _, name := range knownNames() {
		environ = append(environ, name+"=a")
	}
	if got := Unread(environ); len(got) > 0 {
		t.Errorf("%q", got)
	}
}

// TestWrongConfigurationNamesWhatNothingReads: who has set BOOTSTRAP_SERVERS alone learns
// both what is missing and why.
func TestWrongConfigurationNamesWhatNothingReads(t *testing.T) {
	t.Setenv("BOOTSTRAP_SERVERS", "kafka:9092")
	text := wrongConfiguration(errors.New("KAFKA_BROKERS: is not set")).Error()
	if !strings.Contains(text, "\nKAFKA_BROKERS: is not set\n") || !strings.Contains(text, "\nBOOTSTRAP_SERVERS is a variable of other tools and has no effect here; set KAFKA_BROKERS\n") {
		t.Error(text)
	}
}

// TestWhatToSetInsteadIsThere: each text names a variable that the connector has.
func TestWhatToSetInsteadIsThere(t *testing.T) {
	for _, table := range []map[string]string{clientSettings, prefixedSettings, otherVariables} {
		for name, set := range table {
			first, _, _ := strings.Cut(strings.NewReplacer(",", " ", "=", " ", ":", " ").Replace(set), " ")
			if _, ok := variablesByName()[first]; !ok {
				t.Errorf("%s: set %s", name, set)
			}
		}
	}
}
