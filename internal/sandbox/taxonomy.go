package sandbox

import (
	"maps"
	"slices"
	"sync"
)

// taxonomy is the services, their entity types, and the actions of each.
type taxonomy map[string]map[string][]string

// quietServices are those of a real organisation in which nothing happens here.
var quietServices = []string{
	"Analytics", "Coaching", "ContactCenter", "ContentManagement", "Emails", "ExternalContacts", "GDPR",
	"KnowledgeManagement", "LanguageUnderstanding", "LearningManagement", "PredictiveEngagement", "Quality",
	"ResponseManagement", "Scripts", "WorkforceManagement",
}

// batchServices are served by dialect query only.
var batchServices = []string{"Datatables", "OAuth", "Telephony", "GDPR"}

// vocabulary is the taxonomy that grows when an event of a new kind is made.
type vocabulary struct {
	mu    sync.Mutex
	known taxonomy
}

func newVocabulary(w *world) *vocabulary {
	v := &vocabulary{known: taxonomy{}}
	for _, scenes := range [][]*scene{w.scenes, w.deploy, w.logins} {
		for _, s := range scenes {
			v.learn(s)
		}
	}
	for _, service := range quietServices {
		v.known[service] = map[string][]string{"Configuration": {"Create", "Delete", "Update"}}
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

func (v *vocabulary) realtime() taxonomy {
	known := v.all()
	for _, service := range batchServices {
		delete(known, service)
	}
	return known
}

func (o *Org) serviceMapping(c *call) *answer {
	return document(o.flapped(c, o.taxonomy.all()).document())
}

func (o *Org) realtimeMapping(c *call) *answer {
	return document(o.flapped(c, o.taxonomy.realtime()).document())
}

func (t taxonomy) document() object {
	services := array{}
	for _, service := range slices.Sorted(maps.Keys(t)) {
		types := array{}
		for _, entityType := range slices.Sorted(maps.Keys(t[service])) {
			actions := array{}
			for _, action := range slices.Sorted(slices.Values(t[service][entityType])) {
				actions = append(actions, action)
			}
			types = append(types, obj("name", entityType, "actions", actions))
		}
		services = append(services, obj("name", service, "entities", types))
	}
	return obj("services", services)
}
