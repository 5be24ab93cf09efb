//go:build connect && linux

package elasticsearch

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"genesys-audit-connector/internal/codec"
	"genesys-audit-connector/internal/connecttest"
	"genesys-audit-connector/internal/kafkatest"
	"genesys-audit-connector/schemas"
)

// TestRegistryTakesSchema holds every released schema and the present one against a real registry that demands
// BACKWARD, in the order in which an installation that is updated registers them.
func TestRegistryTakesSchema(t *testing.T) {
	registry := connecttest.Service{URL: kafkatest.StartRegistry(t).URL}
	released, err := filepath.Glob("../../schemas/released/*.avsc")
	if err != nil || len(released) == 0 {
		t.Fatal("no released schema", err)
	}
	slices.SortFunc(released, func(a, b string) int { // v10 follows v9
		if len(a) != len(b) {
			return len(a) - len(b)
		}
		return strings.Compare(a, b)
	})
	versions := "/subjects/" + codec.Subject(topic) + "/versions"
	for _, path := range released {
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := registry.Do("POST", versions, map[string]string{"schema": string(content)}, nil); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
	}
	connector, err := codec.NewRegistry(codec.RegistryOptions{URL: registry.URL, AutoRegister: true})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := connector.Compatible(ctx, topic); err != nil {
		t.Errorf("the registry would refuse the schema: %v", err)
	}
	id, err := connector.SchemaID(ctx, topic)
	if again, err2 := connector.SchemaID(ctx, topic); err != nil || err2 != nil || id != again || id == 0 {
		t.Errorf("ids %d and %d, %v, %v", id, again, err, err2)
	}
	// The registry would have said so.
	required := strings.Replace(schemas.ConfigurationChange, `{"name": "orgId"`, `{"name": "must", "type": "string"}, {"name": "orgId"`, 1)
	if err := registry.Do("POST", versions, map[string]string{"schema": required}, nil); err == nil || !strings.Contains(err.Error(), "409") {
		t.Errorf("a field without default: %v, want 409", err)
	}
	// And the connector says which subject it is about, when the schema does not fit what somebody else put there.
	const other = `{"type":"record","name":"ConfigurationChange","namespace":"genesys.audit","fields":[{"name":"auditId","type":"long"}]}`
	if err := registry.Do("POST", "/subjects/"+codec.Subject("taken")+"/versions", map[string]string{"schema": other}, nil); err != nil {
		t.Fatal(err)
	}
	var refusal *codec.RegistryError
	if err := connector.Compatible(ctx, "taken"); !errors.As(err, &refusal) || !errors.Is(err, codec.ErrSchemaIncompatible) || refusal.Subject != codec.Subject("taken") {
		t.Errorf("Compatible with another schema: %v", err)
	}
	if _, err := connector.SchemaID(ctx, "taken"); !errors.Is(err, codec.ErrSchemaIncompatible) {
		t.Errorf("SchemaID where another schema is: %v", err)
	}
}
