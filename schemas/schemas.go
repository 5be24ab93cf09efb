// Package schemas embeds the Avro schemas and the entity mappings.
package schemas

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
)

// ConfigurationChange is the Avro schema of the records in the changes topic.
//
//go:embed configuration_change.avsc
var ConfigurationChange string

// Entities holds the entity mappings: entities/*.yaml.
//
//go:embed entities/*.yaml
var Entities embed.FS

//go:embed released/*.avsc
var released embed.FS

// Released are the schemas of the changes topic that were released, oldest first:
// records that were written with them stay in the topic.
func Released() ([]string, error) {
	var all []string
	for n := 1; ; n++ {
		text, err := released.ReadFile(fmt.Sprintf("released/configuration_change.v%d.avsc", n))
		if errors.Is(err, fs.ErrNotExist) {
			return all, nil
		}
		if err != nil {
			return nil, fmt.Errorf("released schema: %w", err)
		}
		all = append(all, string(text))
	}
}
