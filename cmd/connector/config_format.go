package main

import (
	"net"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"genesys-audit-connector/internal/genesys"
	"genesys-audit-connector/internal/txn"
)

// formats check the texts that are more than any text; the tag "is" of a field
// names its format. Each returns the text as the rest of the program wants it.
var formats = map[string]func(string) (string, error){
	"org":      matching(`[a-z0-9-]{1,63}`, `1 to 63 of a-z, 0-9 and "-"`),
	"topic":    parseTopic,
	"group":    matching(`[\x21-\x7e]{1,249}`, "up to 249 printable characters without spaces"),
	"filter":   matching(condition+`(,`+condition+`)*`, "conditions key=value joined by commas, without spaces around"),
	"services": matching(`\S+`, "names of services, separated by commas"),
	"region":   parseRegion,
	"origin":   func(text string) (string, error) { return parseURL(text, false) },
	"url":      func(text string) (string, error) { return parseURL(text, true) },
	"listen":   func(text string) (string, error) { return parseAddress(text, "host:port or :port", true) },
	"broker":   func(text string) (string, error) { return parseAddress(text, "host:port", false) },

	"extension": parseExtension,
	// Other names would be dropped in silence: these are headers.
	"registryextension": matching(`(logicalCluster|identityPoolId)=[\x21-\x2b\x2d-\x7e]+`, "logicalCluster=ID or identityPoolId=ID"),
	"awsregion":         matching(`[a-z]{2,}(-[a-z]+)+-\d{1,2}`, "the code of an AWS region"),
	"rolearn":           matching(`arn:aws[a-z-]*:iam::\d{12}:role/[\x21-\x7e]+`, "the ARN of an IAM role"),
}

// condition is one of a filter: a key without, a value perhaps with spaces inside.
const condition = `[^=,\s]+=[^,\s]+( +[^,\s]+)*`

func matching(pattern, expected string) func(string) (string, error) {
	whole := regexp.MustCompile(`^(?:` + pattern + `)$`)
	return func(text string) (string, error) {
		if !whole.MatchString(text) {
			return "", invalid(expected, "%s does not fit", quoted(text))
		}
		return text, nil
	}
}

var topicCharacters = matching(`[a-zA-Z0-9._-]{1,249}`, `1 to 249 of a-z, A-Z, 0-9, ".", "_" and "-"`)

// parseTopic takes what brokers take: org.apache.kafka.common.internals.Topic.
func parseTopic(text string) (string, error) {
	if text == "." || text == ".." {
		return "", invalid("the name of a topic", "%s is no name for a topic", quoted(text))
	}
	return topicCharacters(text)
}

// parseExtension takes key=value. A comma separates extensions and is in none.
func parseExtension(text string) (string, error) {
	const expected = "key=value with a key of letters"
	key, value, ok := strings.Cut(text, "=")
	if !ok {
		return "", invalid(expected, "%s has no =", quoted(text))
	}
	if err := txn.CheckExtension(key, value); err != nil {
		return "", invalid(expected, "%s does not fit: %s", quoted(text), err)
	}
	return text, nil
}

// parseRegion takes any domain: a region that this version does not know is a new one.
func parseRegion(text string) (string, error) {
	const expected = "the domain alone, without https:// and api."
	name := strings.ToLower(text)
	if genesys.KnownRegion(name) {
		return name, nil
	}
	if strings.Contains(name, "@") { // before it may be a password
		return "", invalid(expected, "an address with a user is not the domain of a region")
	}
	first, _, _ := strings.Cut(name, ".")
	if !domain.MatchString(name) || slices.Contains([]string{"api", "login", "apps"}, first) {
		return "", invalid(expected, "%s is not the domain of a region", quoted(text))
	}
	return name, nil
}

// domain has two labels at least (RFC 1123, 2.1).
var domain = regexp.MustCompile(`^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]{0,61}[a-z0-9]$`)

// parseURL never shows a password that is in a URL: before the host, or in the query.
func parseURL(text string, path bool) (string, error) {
	expected := "http(s)://host[:port]"
	if path {
		expected += "[/path]"
	}
	shown := quoted(text)
	if i := strings.IndexAny(text, "?#"); i >= 0 {
		shown = quoted(text[:i+1] + "…")
	}
	u, err := url.Parse(text)
	switch {
	case strings.Contains(text, "@"):
		return "", invalid(expected, "an address must not hold a user or password")
	case err != nil || u.Scheme != "http" && u.Scheme != "https":
		return "", invalid(expected, "%s is not a web address", shown)
	case u.Hostname() == "" || !portFits(u.Port(), u.Port() == ""):
		return "", invalid(expected, "%s has no host, or no port that can be", shown)
	case u.RawQuery != "" || u.Fragment != "" || u.ForceQuery:
		return "", invalid(expected, "%s has more than a path", shown)
	case !path && strings.Trim(u.Path, "/") != "":
		return "", invalid(expected, "%s has a path", shown)
	}
	return strings.TrimRight(text, "/"), nil
}

func portFits(port string, optional bool) bool {
	n, err := strconv.ParseUint(port, 10, 16)
	return port == "" && optional || err == nil && n > 0
}

// parseAddress takes an address to listen on (any host, any port) or one to connect to.
func parseAddress(text, expected string, listen bool) (string, error) {
	host, port, err := net.SplitHostPort(text)
	switch {
	case strings.Contains(text, "://"):
		return "", invalid(expected, "%s has a scheme", quoted(text))
	case err != nil:
		return "", invalid(expected, "%s has no port, or not after one colon", quoted(text))
	case !portFits(port, false) && !(listen && port == "0"):
		return "", invalid(expected, "%s has a port that cannot be", quoted(text))
	case host == "" && !listen || strings.ContainsAny(host, " /@"):
		return "", invalid(expected, "%s has a host that cannot be", quoted(text))
	}
	return text, nil
}
