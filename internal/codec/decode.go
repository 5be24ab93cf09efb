package codec

import (
	"bytes"
	"fmt"
	"slices"
	"time"

	"github.com/linkedin/goavro/v2"

	"genesys-audit-connector/internal/audit"
	"genesys-audit-connector/schemas"
)

// Decoder reads change records back, also those that were written with a schema
// released earlier. It is goavro, which shares no code with the Encoder, and is
// not made for speed.
type Decoder struct{ versions []version }

// version is a schema and what its records begin with.
type version struct {
	framing []byte
	codec   *goavro.Codec
}

// NewDecoder makes a decoder of values that begin with the framing; nil means
// single-object encoding, as in Options, of any version of the schema. Otherwise
// older are the framings of schemas.Released, oldest first; an empty one says
// that there are no such records. Registry.Framings has both.
func NewDecoder(framing []byte, older ...[]byte) (*Decoder, error) {
	released, err := schemas.Released()
	if err != nil {
		return nil, err
	}
	single := framing == nil
	d := new(Decoder)
	for i, schema := range append(released, schemas.ConfigurationChange) {
		c, rabin, err := compile(schema)
		if err != nil {
			return nil, fmt.Errorf("schema of the changes topic: %w", err)
		}
		v := version{framing, c}
		switch {
		case single:
			v.framing = singleObjectFraming(rabin)
		case i < len(released):
			v.framing = nil
			if i < len(older) {
				v.framing = older[i]
			}
			if len(v.framing) == 0 {
				continue
			}
		}
		d.versions = append(d.versions, v)
	}
	slices.Reverse(d.versions) // newest first
	return d, nil
}

// Decode reads the value of one change record.
func (d *Decoder) Decode(value []byte) (audit.Change, error) {
	for _, v := range d.versions {
		if body, ok := bytes.CutPrefix(value, v.framing); ok {
			return v.decode(body)
		}
	}
	return audit.Change{}, fmt.Errorf("decode a change record: it does not begin with % x", d.versions[0].framing)
}

func (v version) decode(body []byte) (audit.Change, error) {
	native, rest, err := v.codec.NativeFromBinary(body)
	if err == nil && len(rest) > 0 {
		err = fmt.Errorf("%d bytes follow the record", len(rest))
	}
	if err != nil {
		return audit.Change{}, fmt.Errorf("decode a change record: %w", err)
	}
	return fromNative(native.(map[string]any)), nil
}

// fromNative relies on the schema, which goavro has checked the record against.
// Fields that an older schema lacks have their default, which is empty.
func fromNative(m map[string]any) audit.Change {
	text := func(name string) *string {
		if u, ok := m[name].(map[string]any); ok {
			s := u["string"].(string)
			return &s
		}
		return nil
	}
	texts := func(name string) (list []string) {
		all, _ := m[name].([]any)
		for _, s := range all {
			list = append(list, s.(string))
		}
		return list
	}
	c := audit.Change{
		AuditID: m["auditId"].(string), Index: int(m["changeIndex"].(int32)), Count: int(m["changeCount"].(int32)),
		Time: m["timestamp"].(time.Time).UTC(), UserID: text("userId"), UserName: text("userName"),
		Action: m["action"].(string), EntityType: m["entityType"].(string),
		EntityID: text("entityId"), EntityName: text("entityName"), Key: text("configurationKey"),
		Type: m["changeType"].(string), Previous: text("previousValue"), New: text("newValue"),
		PreviousType: m["previousType"].(string), NewType: m["newType"].(string),
		OrgID: text("orgId"), ServiceName: text("serviceName"), ClientID: text("clientId"),
		Status: text("status"), Level: text("level"), Application: text("application"),
		RemoteIP: texts("remoteIp"), Context: make(map[string]string),
		Message: text("message"), TransactionID: text("transactionId"),
		MemberID: text("memberId"), MemberType: text("memberType"), MemberName: text("memberName"),
		DivisionID: text("divisionId"), DivisionName: text("divisionName"),
		ResolvedNames: texts("resolvedNames"), MaskedFields: texts("maskedFields"),
	}
	for k, v := range m["context"].(map[string]any) {
		c.Context[k] = v.(string)
	}
	return c
}
