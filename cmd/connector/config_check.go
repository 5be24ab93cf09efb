package main

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"reflect"
	"strings"
	"time"

	"genesys-audit-connector/internal/evidence"
	"genesys-audit-connector/internal/genesys"
)

// readFiles sets the secrets that are given by NAME_FILE.
func (r *reader) readFiles(target any) {
	r.readFilesOf(reflect.ValueOf(target).Elem())
}

func (r *reader) readFilesOf(v reflect.Value) {
	for i := range v.NumField() {
		field, info := v.Field(i), v.Type().Field(i)
		secret, ok := field.Addr().Interface().(*Secret)
		if !ok {
			if field.Kind() == reflect.Struct && info.Tag.Get("env") == "" {
				r.readFilesOf(field)
			}
			continue
		}
		name := info.Tag.Get("env")
		path := r.value(name + "_FILE")
		if path == "" {
			continue
		}
		if secret.IsSet() {
			r.add(name, "both it and %s_FILE are set; expected one of them", name)
			continue
		}
		opened, fault := openSecretOf(name, path)
		if fault != nil {
			r.problems = append(r.problems, *fault)
			continue
		}
		*secret = opened
	}
}

// openSecretOf opens the file of a variable's secret.
func openSecretOf(name, path string) (Secret, *Problem) {
	if strings.Contains(path, "PRIVATE+KEY+") { // what "connector evidence key" prints; others see the message
		return Secret{}, &Problem{name + "_FILE", "holds the key itself; expected the path of a file that holds it alone"}
	}
	opened, err := openSecret(path)
	if err != nil {
		return Secret{}, &Problem{name + "_FILE", fmt.Sprintf("cannot read %s: %s; expected a file that holds the secret alone", quoted(path), reason(err))}
	}
	return opened, nil
}

// checker finds what is wrong between variables, each of which is right.
type checker struct {
	cfg           *Config
	reader        *reader
	secretsByFile bool // a secret can be given by NAME_FILE only
}

func (c *checker) check() {
	c.checkScope()
	if c.cfg.OrgsFile == "" {
		c.checkOrganisation()
	}
	c.checkKafka()
	c.checkRegistry()
	c.checkMasks()
}

// checkScope is about one organisation or many.
func (c *checker) checkScope() {
	switch set := c.reader.set; {
	case c.cfg.OrgsFile != "" && set("ORG_NAME") && !c.reader.wrong("ORG_NAME"):
		c.reader.add("ORG_NAME", "both it and ORGS_FILE are set; expected ORG_NAME for one organisation, or ORGS_FILE, which names each of many")
	case c.cfg.OrgsFile == "" && set("KAFKA_OFFSETS_PARTITIONS"):
		c.warn("KAFKA_OFFSETS_PARTITIONS has no effect without ORGS_FILE: the offsets topic has one partition")
	}
}

// checkOrganisation is about the settings of one organisation.
func (c *checker) checkOrganisation() {
	c.checkGenesys()
	c.checkPoll()
}

// checkKafka is about what a command needs that looks at Kafka alone.
func (c *checker) checkKafka() {
	c.checkTopics()
	c.checkTLS()
	c.checkSASL()
	c.checkEvidence()
}

// need notes a variable that must be set and is not.
func (c *checker) need(name, expected string) {
	if c.reader.set(name) || c.reader.wrong(name) || c.reader.wrong(name+"_FILE") {
		return // wrong ones were named already
	}
	v := variablesByName()[name]
	if c.secretsByFile && v.Secret && !v.identifier() {
		c.reader.add(name+"_FILE", "is not set; expected the path of a file with %s", expected)
		return
	}
	text := "is not set; expected " + expected
	if v.Example != "" {
		text += ", for example " + v.Example
	} else if v.Secret {
		text += ", here or in a file that " + name + "_FILE names"
	}
	c.reader.add(name, "%s", text)
}

func (c *checker) warn(text string) { c.cfg.Warnings = append(c.cfg.Warnings, text) }

func (c *checker) checkGenesys() {
	g, set := c.cfg.Genesys, c.reader.set
	switch {
	case set("GENESYS_REGION"):
	case set("GENESYS_API_URL"):
		c.need("GENESYS_LOGIN_URL", "the address that goes with GENESYS_API_URL, or GENESYS_REGION instead of both")
	case set("GENESYS_LOGIN_URL"):
		c.need("GENESYS_API_URL", "the address that goes with GENESYS_LOGIN_URL, or GENESYS_REGION instead of both")
	default:
		c.need("GENESYS_REGION", "the organisation's region")
	}
	c.need("GENESYS_CLIENT_ID", "the id of an OAuth client")
	c.need("GENESYS_CLIENT_SECRET", "the secret of that OAuth client")
	for _, v := range []struct{ name, address string }{{"GENESYS_API_URL", g.APIURL}, {"GENESYS_LOGIN_URL", g.LoginURL}} {
		if inClear(v.address) {
			c.warn(v.name + " is http: tokens and secrets cross the network unencrypted")
		}
	}
	if g.Region != "" && !genesys.KnownRegion(g.Region) && (g.APIURL == "" || g.LoginURL == "") {
		c.warn("GENESYS_REGION=" + g.Region + " is not a region that this version knows; it is taken as it is: the hosts are api." + g.Region + " and login." + g.Region)
	}
	if g.API == "auditlogs" && set("GENESYS_SERVICES") {
		c.warn("GENESYS_SERVICES has no effect with GENESYS_AUDIT_API=auditlogs; GENESYS_FILTER selects there")
	}
	if (g.API == "query" || g.API == "realtime") && set("GENESYS_FILTER") {
		c.warn("GENESYS_FILTER has no effect with GENESYS_AUDIT_API=" + g.API + "; GENESYS_SERVICES selects there")
	}
	var wrong *genesys.ValueError
	if (g.API == "auditlogs" || g.API == "auto") && !c.reader.wrong("GENESYS_FILTER") && errors.As(genesys.CheckFilter(g.Filter), &wrong) {
		c.reader.add("GENESYS_FILTER", "%s %s; expected %s", quoted(wrong.Value), wrong.Reason, wrong.Suggestion)
	}
	if g.RateLimit.Requests != 0 && g.RateReserve >= g.RateLimit.Requests {
		c.warn("GENESYS_RATE_RESERVE leaves nothing of GENESYS_RATE_LIMIT: only one request per 2 s, or none, will be sent")
	}
}

func (c *checker) checkPoll() {
	if c.cfg.Poll.Overlap <= c.cfg.Poll.Interval {
		c.warn("POLL_OVERLAP is not longer than POLL_INTERVAL: every poll leaves a gap that the backfill must fill")
	}
}

// minSessionTimeout is what brokers take unless group.min.session.timeout.ms says otherwise.
const minSessionTimeout = 6 * time.Second

func (c *checker) checkTopics() {
	k := c.cfg.Kafka
	c.need("KAFKA_BROKERS", "the brokers' addresses")
	names := map[string]string{k.TopicChanges: "KAFKA_TOPIC_CHANGES"}
	for _, t := range []struct{ variable, topic string }{{"KAFKA_TOPIC_RAW", k.TopicRaw}, {"KAFKA_TOPIC_OFFSETS", k.TopicOffsets}, {"KAFKA_TOPIC_EVIDENCE", c.cfg.Evidence.Topic}} {
		if other := names[t.topic]; other != "" && !c.reader.wrong(t.variable) && !c.reader.wrong(other) {
			c.reader.add(t.variable, "%s is also the topic of %s; expected a topic of its own", quoted(t.topic), other)
		}
		names[t.topic] = t.variable
	}
	if k.SessionTimeout < minSessionTimeout {
		c.warn("KAFKA_SESSION_TIMEOUT is under 6s, which brokers refuse unless their group.min.session.timeout.ms is lowered")
	}
}

func (c *checker) checkTLS() {
	k := c.cfg.Kafka
	if !k.TLS.Enabled && !c.reader.wrong("KAFKA_TLS") {
		for _, name := range []string{"KAFKA_TLS_CA_FILE", "KAFKA_TLS_CERT_FILE", "KAFKA_TLS_KEY_FILE", "KAFKA_TLS_KEY_PASSWORD"} {
			if c.reader.set(name) && !c.reader.wrong(name) && !c.reader.wrong(name+"_FILE") {
				c.reader.add(name, "is set, but KAFKA_TLS is false; expected KAFKA_TLS=true, or nothing here")
			}
		}
		return
	}
	if k.TLS.CertFile == "" {
		for _, name := range []string{"KAFKA_TLS_KEY_FILE", "KAFKA_TLS_KEY_PASSWORD"} {
			if c.reader.set(name) {
				c.need("KAFKA_TLS_CERT_FILE", "the certificate that "+name+" is for")
				break
			}
		}
	}
	files := KafkaTLS{Enabled: true, CAFile: k.TLS.CAFile, CertFile: k.TLS.CertFile, KeyFile: k.TLS.KeyFile, KeyPassword: k.TLS.KeyPassword}.Files(nil)
	for _, fault := range files.Faults() {
		c.reader.add(fault.Variable, "%s", fault.Text)
	}
}

func (c *checker) checkEvidence() {
	if c.reader.wrong("EVIDENCE_KEY") {
		return
	}
	if _, err := evidence.ParseKeys(c.cfg.Evidence.Key.Value()); err != nil {
		c.reader.add("EVIDENCE_KEY", "%v; expected what \"connector evidence key\" prints", err)
	}
}

// inClear tells whether what is sent to an address can be read on its way.
func inClear(address string) bool {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "http" {
		return false
	}
	host := u.Hostname()
	ip := net.ParseIP(host)
	return host != "localhost" && (ip == nil || !ip.IsLoopback())
}
