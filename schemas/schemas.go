// Package schemas embeds the Avro schemas and the entity mappings.
package schemas

import "embed"

// ConfigurationChange is the Avro schema of the records in the changes topic.
//
//go:embed configuration_change.avsc
var ConfigurationChange string

// Entities holds the entity mappings: entities/*.yaml.
//
//go:embed entities/*.yaml
var Entities embed.FS
