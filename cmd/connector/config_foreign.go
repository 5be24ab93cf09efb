package main

import (
	"cmp"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// What to set instead of variables that other tools read.
const (
	setBrokers    = "KAFKA_BROKERS"
	setProtocol   = "KAFKA_TLS=true for SSL and SASL_SSL, and KAFKA_SASL_MECHANISM for SASL_PLAINTEXT and SASL_SSL"
	setMechanism  = "KAFKA_SASL_MECHANISM"
	setJAAS       = "KAFKA_SASL_MECHANISM, and KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD (or KAFKA_SASL_OAUTHBEARER_…, or KAFKA_AWS_…) with what stands in it"
	setHandler    = "KAFKA_SASL_MECHANISM=OAUTHBEARER or AWS_MSK_IAM, which need no handler"
	setUser       = "KAFKA_SASL_USERNAME"
	setPassword   = "KAFKA_SASL_PASSWORD or KAFKA_SASL_PASSWORD_FILE"
	setTLS        = "KAFKA_TLS=true"
	setCA         = "KAFKA_TLS=true and KAFKA_TLS_CA_FILE (PEM)"
	setCert       = "KAFKA_TLS=true and KAFKA_TLS_CERT_FILE"
	setKey        = "KAFKA_TLS=true and KAFKA_TLS_KEY_FILE"
	setVerify     = "KAFKA_TLS_CA_FILE: certificates are always verified"
	setTokens     = "KAFKA_SASL_OAUTHBEARER_TOKEN_ENDPOINT_URL"
	setTokenFile  = "KAFKA_SASL_OAUTHBEARER_TOKEN_FILE, the name of a file that holds it"
	setTopics     = "KAFKA_TOPIC_RAW, KAFKA_TOPIC_CHANGES and KAFKA_TOPIC_OFFSETS"
	setGroup      = "KAFKA_GROUP_ID"
	setClient     = "KAFKA_SASL_OAUTHBEARER_CLIENT_ID"
	setSecret     = "KAFKA_SASL_OAUTHBEARER_CLIENT_SECRET"
	setScope      = "KAFKA_SASL_OAUTHBEARER_SCOPE"
	setExtensions = "KAFKA_SASL_OAUTHBEARER_EXTENSIONS"
	setCodec      = "KAFKA_COMPRESSION"
	setRegistry   = "SCHEMA_REGISTRY_URL"
	setRegistryID = "SCHEMA_REGISTRY_USERNAME and SCHEMA_REGISTRY_PASSWORD"
)

// clientSettings are settings of Kafka's clients as their names look in an environment:
// those of the Java client (https://kafka.apache.org/documentation/#configuration) and of
// librdkafka (CONFIGURATION.md there). They stand alone, or behind the prefix of a tool.
var clientSettings = map[string]string{
	"BOOTSTRAP_SERVERS": setBrokers, "BOOTSTRAPSERVERS": setBrokers, "BOOTSTRAP_SERVER": setBrokers, "BOOTSTRAP_BROKERS": setBrokers,
	"BROKER_LIST": setBrokers, "METADATA_BROKER_LIST": setBrokers,
	"SECURITY_PROTOCOL": setProtocol,
	"SASL_MECHANISM":    setMechanism, "SASL_MECHANISMS": setMechanism,
	"SASL_JAAS_CONFIG":            setJAAS,
	"SASL_LOGIN_CALLBACK_HANDLER": setHandler, "SASL_LOGIN_CALLBACK_HANDLER_CLASS": setHandler, "SASL_CLIENT_CALLBACK_HANDLER_CLASS": setHandler,
	"SASL_USERNAME": setUser, "SASL_USER": setUser, "SASL_PASSWORD": setPassword, "SASL_PASS": setPassword,
	"SASL_OAUTHBEARER_METHOD": setTokens, "SASL_OAUTHBEARER_TOKEN_ENDPOINT_URL": setTokens,
	"SASL_OAUTHBEARER_CLIENT_ID": setClient, "SASL_OAUTHBEARER_CLIENT_CREDENTIALS_CLIENT_ID": setClient,
	"SASL_OAUTHBEARER_CLIENT_SECRET": setSecret, "SASL_OAUTHBEARER_CLIENT_CREDENTIALS_CLIENT_SECRET": setSecret,
	"SASL_OAUTHBEARER_SCOPE": setScope, "SASL_OAUTHBEARER_EXTENSIONS": setExtensions, "SASL_OAUTHBEARER_CONFIG": setTokens,
	"SSL_CA_LOCATION": setCA, "SSL_CAFILE": setCA, "SSL_TRUSTSTORE_LOCATION": setCA, "SSL_TRUSTSTORE_CERTIFICATES": setCA, "SSL_TRUSTSTORE_PASSWORD": setCA,
	"SSL_CERTIFICATE_LOCATION": setCert, "SSL_KEYSTORE_LOCATION": setCert, "SSL_KEYSTORE_CERTIFICATE_CHAIN": setCert, "SSL_KEYSTORE_PASSWORD": setKey,
	"SSL_KEY_LOCATION": setKey, "SSL_KEYSTORE_KEY": setKey,
	"SSL_ENDPOINT_IDENTIFICATION_ALGORITHM": setVerify, "ENABLE_SSL_CERTIFICATE_VERIFICATION": setVerify, "TLS_INSECURE_SKIP_VERIFY": setVerify,
	"TRANSACTIONAL_ID": setGroup, "COMPRESSION_TYPE": setCodec,
	"SCHEMA_REGISTRY_BASIC_AUTH_USER_INFO": setRegistryID, "SCHEMA_REGISTRY_BASIC_AUTH_CREDENTIALS_SOURCE": setRegistryID,
	"SCHEMA_REGISTRY_API_KEY": setRegistryID, "SCHEMA_REGISTRY_API_SECRET": setRegistryID,
}

// prefixedSettings are too general to be Kafka's where no prefix says so.
var prefixedSettings = map[string]string{
	"BOOTSTRAP": setBrokers, "URL": setBrokers, "URLS": setBrokers, "SERVERS": setBrokers, "HOSTS": setBrokers,
	"USERNAME": setUser, "USER": setUser, "API_KEY": setUser, "PASSWORD": setPassword, "PASS": setPassword, "API_SECRET": setPassword,
	"SASL_ENABLED": setMechanism, "SSL_ENABLED": setTLS, "TLS_ENABLED": setTLS, "SSL": setTLS,
	"CA_CERT": setCA, "TRUSTED_CERT": setCA, "CLIENT_CERT": setCert, "CLIENT_CERT_KEY": setKey, "TLS_CAFILEPATH": setCA,
	"TLS_CERTFILEPATH": setCert, "TLS_KEYFILEPATH": setKey,
	"SASL_OAUTH_TOKEN": setTokenFile, "TOPIC": setTopics, "TOPICS": setTopics, "GROUP": setGroup, "CONSUMER_GROUP": setGroup,
	"SCHEMA_REGISTRY_URL": setRegistry, "SCHEMAREGISTRY_URL": setRegistry, "SCHEMAREGISTRY_URLS": setRegistry,
}

// toolPrefixes are those of Kafka Connect and images, Spring, Confluent, kafka-ui, rpk.
var toolPrefixes = []string{
	"KAFKA_", "KAFKA_CLIENT_", "KAFKA_PRODUCER_", "KAFKA_CONSUMER_", "KAFKA_PROPERTIES_",
	"SPRING_KAFKA_", "SPRING_KAFKA_PRODUCER_", "SPRING_KAFKA_CONSUMER_", "SPRING_KAFKA_PROPERTIES_",
	"CONNECT_", "CONNECT_PRODUCER_", "CONNECT_CONSUMER_", "CONFLUENT_", "CONFLUENT_CLOUD_", "CONFLUENT_KAFKA_",
	"REDPANDA_", "RPK_", "CLOUDKARAFKA_",
}

// kafkaUI is how kafka-ui numbers clusters.
var kafkaUI = regexp.MustCompile(`^KAFKA_CLUSTERS_\d+_`)

// otherVariables are whole names: of Strimzi's OAuth library, of Genesys' Terraform provider
// and command line.
var otherVariables = map[string]string{
	"OAUTH_TOKEN_ENDPOINT_URI": setTokens, "OAUTH_ACCESS_TOKEN": setTokenFile, "OAUTH_ACCESS_TOKEN_LOCATION": "KAFKA_SASL_OAUTHBEARER_TOKEN_FILE",
	"OAUTH_CLIENT_ID":     setClient + " for Kafka, GENESYS_CLIENT_ID for the API",
	"OAUTH_CLIENT_SECRET": setSecret + " for Kafka, GENESYS_CLIENT_SECRET for the API",
	"OAUTH_SCOPE":         setScope + " for Kafka, GENESYS_OAUTH_SCOPE for the API",
	"SCHEMAREGISTRY_URL":  setRegistry,

	"GENESYSCLOUD_OAUTHCLIENT_ID": "GENESYS_CLIENT_ID", "GENESYS_CLOUD_CLIENT_ID": "GENESYS_CLIENT_ID", "PURECLOUD_CLIENT_ID": "GENESYS_CLIENT_ID",
	"GENESYSCLOUD_OAUTHCLIENT_SECRET": "GENESYS_CLIENT_SECRET", "GENESYS_CLOUD_CLIENT_SECRET": "GENESYS_CLIENT_SECRET", "PURECLOUD_CLIENT_SECRET": "GENESYS_CLIENT_SECRET",
	"GENESYSCLOUD_REGION":       "GENESYS_REGION, the domain of the region (mypurecloud.ie for eu-west-1)",
	"GENESYS_CLOUD_REGION":      "GENESYS_REGION, the domain of the region (mypurecloud.ie for eu-west-1)",
	"GENESYS_CLOUD_ENVIRONMENT": "GENESYS_REGION", "PURECLOUD_ENVIRONMENT": "GENESYS_REGION",
	"GENESYSCLOUD_ACCESS_TOKEN": "GENESYS_CLIENT_ID and GENESYS_CLIENT_SECRET: an access token ends within a day",
}

// instead returns what to set instead of a variable of another tool, "" where the name is
// none that is known. What Kubernetes sets for a Service is none: KAFKA_PORT and the like.
func instead(name string) string {
	name = strings.NewReplacer(".", "_", "-", "_").Replace(strings.ToUpper(name))
	if set := otherVariables[name]; set != "" {
		return set
	}
	if set := clientSettings[name]; set != "" {
		return set
	}
	name = kafkaUI.ReplaceAllString(name, "KAFKA_")
	for _, prefix := range toolPrefixes {
		if setting, ok := strings.CutPrefix(name, prefix); ok {
			if set := cmp.Or(clientSettings[setting], prefixedSettings[setting]); set != "" {
				return set
			}
		}
	}
	return ""
}

// knownNames are the variables that the connector reads.
var knownNames = sync.OnceValue(func() []string {
	var known []string
	for _, v := range Variables() {
		known = append(known, v.Name)
		if v.Secret {
			known = append(known, v.Name+"_FILE")
		}
	}
	return known
})

// Unread names the variables of an environment (of "NAME=value" lines) that nothing reads
// and that seem to be meant for the connector: those of other tools, with what to set
// instead, and those so close to a known one that they must be meant for it. Other
// variables, also those with our prefixes, are other programs'.
func Unread(environ []string) []string {
	var warnings []string
	for _, line := range environ {
		name, value, _ := strings.Cut(line, "=")
		if slices.Contains(knownNames(), name) || value == "" {
			continue
		}
		if set := instead(name); set != "" {
			warnings = append(warnings, name+" is a variable of other tools and has no effect here; set "+set)
		} else if meant := nearest(name, knownNames(), misspellings(name)); meant != "" {
			warnings = append(warnings, name+" is not a variable of the connector; did you mean "+meant+"?")
		}
	}
	slices.Sort(warnings)
	return warnings
}
