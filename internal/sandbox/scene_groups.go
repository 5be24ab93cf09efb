package sandbox

import (
	"strings"
	"time"
)

func (w *world) newGroups(d *dice) []object {
	var groups []object
	for _, name := range []string{"Night shift", "Team Berlin", "Öffentlicher Dienst", "Floor 3"} {
		id := w.id(d)
		groups = append(groups, obj("id", id, "name", name, "type", "official", "visibility", "public", "state", "active",
			"memberCount", 4+d.n(20), "memberIds", w.ids(d, 4), "ownerIds", w.ids(d, 1), "selfUri", "/api/v2/groups/"+id))
	}
	return groups
}

// groupScenes: what happens to groups, but for who comes and goes.
func (w *world) groupScenes(d *dice) {
	for _, group := range w.groups {
		w.often(1, edited(groupKind, "Update", group, to("visibility", "owners")), made(groupKind, group))
	}
	team := obj("id", w.id(d), "name", "Claims Dublin", "division", obj("id", w.divisions[2].get("id")))
	skilled := obj("id", w.id(d), "name", "French speakers", "memberCount", 12)
	w.often(2,
		edited(kindOf("Groups", "Team"), "Update", team, to("name", "Claims Dublin and Cork")),
		edited(kindOf("Groups", "SkillGroup"), "Update", skilled, to("memberCount", 14)).system(),
		edited(kindOf("Groups", "SkillGroupDefinition"), "Update", skilled, to("name", "French and Spanish speakers")),
	)
}

// membershipSpan is how far apart the three events are at most.
const membershipSpan = 3 * time.Second

// membership is one change of a group's members, which live organisations show as
// three events with one correlationId: only memberCount tells whether people
// came or went, only group-membership who they are.
type membership struct {
	scenes [3]*scene
	actors [3]*actor
	after  [3]time.Duration // since the first
}

func (w *world) membership(d *dice, joins bool) membership {
	group, by := pick(d, w.groups), pick(d, w.admins)
	who := w.ids(d, 1+d.n(3))
	count := group.get("memberCount").(int)
	next := count + len(who)
	if !joins {
		next = count - len(who)
	}
	ids := make([]string, len(who))
	for i, id := range who {
		ids[i] = id.(string)
	}
	correlation := w.id(d)
	group = group.with("name", "")
	number := func(n int) array { return array{string(appendJSON(nil, n))} }
	counted := edited(groupKind, "Update", group, to("memberCount", next)).system().
		changing("memberCount", number(count), number(next)).
		withContext("correlationId", correlation, "userid", by.id)
	noise := edited(groupKind, "Update", group).changing("individuals", array{}, array{}).
		withContext("correlationId", correlation)
	listed := edited(groupKind, "Update", group, to("memberIds", plus(group.get("memberIds").(array), who...))).
		changing("group-membership", array{}, array{"[" + strings.Join(ids, ", ") + "]"}).
		withContext("correlationId", correlation)
	if !joins {
		listed.before, listed.after = listed.after, listed.before
	}
	last := time.Duration(1000+d.n(2000)) * time.Millisecond
	return membership{
		scenes: [3]*scene{counted, noise, listed},
		actors: [3]*actor{w.system, by, by},
		after:  [3]time.Duration{0, last / 2, last},
	}
}
