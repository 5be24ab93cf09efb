package codec

import (
	"bytes"
	"fmt"
	"time"

	"github.com/linkedin/goavro/v2"

	"genesys-audit-connector/internal/audit"
	"genesys-audit-connector/schemas"
)

// Decoder reads change records back, for people to look at. It is goavro, which
// shares no code with the Encoder, and is not made for speed.
type Decoder struct {
	framing []byte
	codec   *goavro.Codec
}

// NewDecoder makes a decoder of values that begin with the framing; nil means
// single-object encoding, as in Options.
func NewDecoder(framing []byte) (*Decoder, error) {
	c, err := goavro.NewCodec(schemas.ConfigurationChange)
	if err != nil {
		return nil, fmt.Errorf("schema of the changes topic: %w", err)
	}
	if framing == nil {
		framing = singleObjectFraming()
	}
	return &Decoder{framing: framing, codec: c}, nil
}

// Decode reads the value of one change record.
func (d *Decoder) Decode(value []byte) (audit.Change, error) {
	body, ok := bytes.CutPrefix(value, d.framing)
	if !ok {
		return audit.Change{}, fmt.Errorf("decode a change record: it does not begin with % x", d.framing)
	}
	native, rest, err := d.codec.NativeFromBinary(body)
	if err == nil && len(rest) > 0 {
		err = fmt.Errorf("%d bytes follow the record", len(rest))
	}
	if err != nil {
		return audit.Change{}, fmt.Errorf("decode a change record: %w", err)
	}
	return fromNative(native.(map[string]any)), nil
}

// fromNative relies on the schema, which goavro has checked the record against.
func fromNative(m map[string]any) audit.Change {
	text := func(name string) *string {
		if u, ok := m[name].(map[string]any); ok {
			s := u["string"].(string)
			return &s
		}
		return nil
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
		Context: make(map[string]string),
	}
	for _, ip := range m["remoteIp"].([]any) {
		c.RemoteIP = append(c.RemoteIP, ip.(string))
	}
	for k, v := range m["context"].(map[string]any) {
		c.Context[k] = v.(string)
	}
	return c
}
