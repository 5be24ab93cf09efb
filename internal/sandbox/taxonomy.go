package sandbox

import (
	_ "embed"
	"maps"
	"slices"
	"strings"
	"sync"
)

// taxonomy is the services, their entity types, and the actions of each.
type taxonomy map[string]map[string][]string

//go:embed services.txt
var servicesText string

// service is one of the organisation's services.
type service struct {
	name  string
	types []entityType
}

type entityType struct {
	name    string
	actions []string
}

// services is what the organisation has; slow is what dialect realtime lacks of
// it: "Service", "Service Type" or "Service Type Action".
var services, slow = parseServices(servicesText)

func parseServices(text string) (all []service, slow map[string]bool) {
	slow = map[string]bool{}
	lacking := func(name, parent string) string {
		plain := strings.TrimPrefix(name, "-")
		if plain != name {
			slow[strings.TrimSpace(parent+" "+plain)] = true
		}
		return plain
	}
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if len(words) == 0 || words[0] == "#" {
			continue
		}
		s := service{name: lacking(words[0], "")}
		for _, word := range words[1:] {
			name, actions, some := strings.Cut(word, ":")
			t := entityType{name: lacking(name, s.name)}
			if !some {
				actions = "Create,Update,Delete"
			}
			for action := range strings.SplitSeq(actions, ",") {
				t.actions = append(t.actions, lacking(action, s.name+" "+t.name))
			}
			s.types = append(s.types, t)
		}
		all = append(all, s)
	}
	return all, slow
}

// MappingNames is how a service mapping calls its members.
type MappingNames string

// The two spellings that were seen.
const (
	MappingShort MappingNames = ""     // {"services":[{"name","entities":[{"name","actions"}]}]}
	MappingLong  MappingNames = "long" // {"services":[{"serviceName","entityTypes":[{"entityType","actions"}]}]}
)

// vocabulary is the taxonomy that grows when an event of a new kind is made.
type vocabulary struct {
	whole bool // dialect realtime lacks services, but nothing of those that it has

	mu    sync.Mutex
	known taxonomy
}

func newVocabulary(w *world, whole bool) *vocabulary {
	v := &vocabulary{known: taxonomy{}, whole: whole}
	for _, s := range services {
		v.known[s.name] = map[string][]string{}
		for _, t := range s.types {
			v.known[s.name][t.name] = t.actions
		}
	}
	for _, scenes := range [][]*scene{w.scenes, w.deploy, w.logins} {
		for _, s := range scenes {
			v.learn(s)
		}
	}
	return v
}

func (v *vocabulary) learn(s *scene) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if s.service == "" {
		return
	}
	if v.known[s.service] == nil {
		v.known[s.service] = map[string][]string{}
	}
	actions := v.known[s.service][s.entityType]
	if !slices.Contains(actions, s.action) {
		v.known[s.service][s.entityType] = append(slices.Clone(actions), s.action)
	}
}

func (v *vocabulary) all() taxonomy {
	v.mu.Lock()
	defer v.mu.Unlock()
	copied := taxonomy{}
	for service, types := range v.known {
		copied[service] = maps.Clone(types)
	}
	return copied
}

// fast reports whether dialect realtime shows events of a kind.
func (v *vocabulary) fast(service, entityType, action string) bool {
	switch {
	case slow[service]:
		return false
	case v.whole:
		return true
	}
	return !slow[service+" "+entityType] && !slow[service+" "+entityType+" "+action]
}

func (v *vocabulary) realtime() taxonomy {
	known := taxonomy{}
	for service, types := range v.all() {
		for entityType, actions := range types {
			for _, action := range actions {
				if !v.fast(service, entityType, action) {
					continue
				}
				if known[service] == nil {
					known[service] = map[string][]string{}
				}
				known[service][entityType] = append(known[service][entityType], action)
			}
		}
	}
	return known
}

func (o *Org) serviceMapping(c *call) *answer {
	return document(o.flapped(c, o.taxonomy.all()).document(o.options.MappingNames))
}

func (o *Org) realtimeMapping(c *call) *answer {
	return document(o.flapped(c, o.taxonomy.realtime()).document(o.options.MappingNames))
}

func (t taxonomy) document(names MappingNames) object {
	service, types, entityType := "name", "entities", "name"
	if names == MappingLong {
		service, types, entityType = "serviceName", "entityTypes", "entityType"
	}
	services := array{}
	for _, name := range slices.Sorted(maps.Keys(t)) {
		list := array{}
		for _, typeName := range slices.Sorted(maps.Keys(t[name])) {
			actions := array{}
			for _, action := range slices.Sorted(slices.Values(t[name][typeName])) {
				actions = append(actions, action)
			}
			list = append(list, obj(entityType, typeName, "actions", actions))
		}
		services = append(services, obj(service, name, types, list))
	}
	return obj("services", services)
}
