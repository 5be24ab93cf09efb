package genesys

import (
	"maps"
	"slices"
	"testing"

	"genesys-audit-connector/internal/sandbox"
)

// A mapping says the same however it spells its members, also of what each service has.
func TestMappingsOfEverySpelling(t *testing.T) {
	var streams []string
	var taxonomy map[string]bool
	for _, spelling := range []sandbox.MappingNames{sandbox.MappingShort, sandbox.MappingLong} {
		inOrg(t, Auto, sandbox.Options{Seed: 5, RequireService: true, Dialects: []sandbox.Dialect{sandbox.Query, sandbox.Realtime}, MappingNames: spelling}, nil,
			func(l *lab, _ *sandbox.Org) {
				named := l.open()
				if streams == nil {
					streams, taxonomy = named, l.client.taxonomy
				}
				if len(named) < 40 || !slices.Equal(named, streams) || len(taxonomy) < 200 || !maps.Equal(l.client.taxonomy, taxonomy) {
					l.t.Errorf("spelled %q: %d streams, %d actions; want %d and %d", spelling, len(named), len(l.client.taxonomy), len(streams), len(taxonomy))
				}
			})
	}
}
