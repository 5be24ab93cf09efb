package main

import (
	"slices"
	"strings"
)

// registryLogins are the ways to log in to the registry, of which one can be used. A
// certificate goes with any.
var registryLogins = [][]string{
	{"SCHEMA_REGISTRY_USERNAME", "SCHEMA_REGISTRY_PASSWORD"},
	{"SCHEMA_REGISTRY_TOKEN"},
	{
		"SCHEMA_REGISTRY_OAUTH_TOKEN_ENDPOINT_URL", "SCHEMA_REGISTRY_OAUTH_CLIENT_ID", "SCHEMA_REGISTRY_OAUTH_CLIENT_SECRET",
		"SCHEMA_REGISTRY_OAUTH_SCOPE", "SCHEMA_REGISTRY_OAUTH_EXTENSIONS",
	},
}

func (c *checker) checkRegistry() {
	r := c.cfg.Registry
	login := c.checkRegistryLogin()
	files := []string{"SCHEMA_REGISTRY_CA_FILE", "SCHEMA_REGISTRY_CERT_FILE", "SCHEMA_REGISTRY_KEY_FILE"}
	if login != "" || slices.ContainsFunc(files, c.reader.set) {
		c.need("SCHEMA_REGISTRY_URL", "the address of the registry that the other settings are for")
	}
	if len(r.URLs) == 0 {
		return
	}
	if login != "" && slices.ContainsFunc(r.URLs, inClear) {
		c.warn("SCHEMA_REGISTRY_URL is http: the password or token crosses the network unencrypted")
	}
	if inClear(r.OAuth.Endpoint) {
		c.warn("SCHEMA_REGISTRY_OAUTH_TOKEN_ENDPOINT_URL is http: the secret crosses the network unencrypted")
	}
	if !slices.ContainsFunc(r.URLs, func(u string) bool { return strings.HasPrefix(u, "https:") }) {
		for _, name := range files {
			if c.reader.set(name) {
				c.reader.add(name, "is set, but SCHEMA_REGISTRY_URL is http; expected https there, or nothing here")
			}
		}
		return
	}
	if r.CertFile == "" && r.KeyFile != "" {
		c.need("SCHEMA_REGISTRY_CERT_FILE", "the certificate of the key in SCHEMA_REGISTRY_KEY_FILE")
	}
	for _, fault := range r.files(nil).Faults() {
		c.reader.add(fault.Variable, "%s", fault.Text)
	}
}

// checkRegistryLogin returns a variable of the way to log in, "" for none.
func (c *checker) checkRegistryLogin() (login string) {
	for _, way := range registryLogins {
		i := slices.IndexFunc(way, c.reader.set)
		if i < 0 {
			continue
		}
		if login != "" && !c.reader.wrong(way[i]) {
			c.reader.add(way[i], "is set, and so is %s; expected one way to log in to the registry", login)
			continue
		}
		login = way[i]
		for _, name := range way[:min(len(way), 3)] { // scope and extensions are optional
			c.need(name, "a value, for "+login+" is set")
		}
	}
	return login
}
