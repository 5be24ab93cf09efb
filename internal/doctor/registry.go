package doctor

import (
	"context"
	"errors"
	"time"

	"genesys-audit-connector/internal/codec"
)

const registryTime = 15 * time.Second

// Registry is the schema registry.
type Registry struct {
	Client *codec.Registry // nil where none is used
	Topic  string          // of the change records
}

func (r Registry) examine(e examination) {
	e.look("schema registry", registryTime, func(ctx context.Context, f *finding) {
		if r.Client == nil {
			f.ok("none is used: single-object encoding")
			return
		}
		err := r.Client.Compatible(ctx, r.Topic)
		var refused *codec.RegistryError
		switch {
		case err == nil:
			f.ok("the schema fits subject " + codec.Subject(r.Topic))
		case errors.As(err, &refused):
			detail := "subject " + refused.Subject + ": " + refused.Kind.Error()
			if refused.Err != nil {
				detail += ": " + cause(ctx, refused.Err).Error()
			}
			f.fail(detail, refused.Cure)
		default:
			f.fail(err.Error(), "is SCHEMA_REGISTRY_URL right?")
		}
	})
}
