package sandbox

import "fmt"

func (w *world) newSkills(d *dice) []object {
	var skills []object
	for _, name := range []string{
		"Billing", "Claims Handling", "Retention", "VIP", "Français", "Español", "日本語", "العربية", "Fraud", "Tier 2 Support",
	} {
		skills = append(skills, obj("id", w.id(d), "name", name, "state", "active", "version", 1+d.n(9)))
	}
	return skills
}

func (w *world) newQueues(d *dice) []object {
	var queues []object
	for _, area := range []string{"Billing", "Claims", "Sales", "Retention", "Technical Support", "Réclamations", "Soporte", "VIP"} {
		for _, site := range []string{"Berlin", "Dublin", "São Paulo"} {
			skill := func() any { return w.skills[d.n(len(w.skills))].get("name") }
			queues = append(queues, obj(
				"id", w.id(d),
				"name", fmt.Sprintf("%s – %s", area, site),
				"division", site,
				"memberIds", w.ids(d, 1),
				"skills", array{skill(), skill()},
				"mediaSettings", obj(
					"call", obj("alertingSeconds", 8+d.n(20), "serviceLevel", obj("percentage", literal("0.80"))),
					"email", obj("alertingSeconds", 300),
				),
				"acw", obj("prompt", "MANDATORY", "timeoutMs", 30000),
				"evaluation", "BEST",
				"outboundEmail", nil,
			))
		}
	}
	return queues
}

// routingScenes: queues with their members, skills and media settings, skills,
// wrap-up codes.
func (w *world) routingScenes(d *dice) {
	for _, q := range w.queues {
		members := q.get("memberIds").(array)
		skills := q.get("skills").(array)
		joined := w.people[d.n(len(w.people))]
		w.often(3,
			edited(queueKind, "MemberAdd", q, to("memberIds", plus(members, joined.id))).
				withContext("memberName", joined.name),
			edited(queueKind, "MemberRemove", q, to("memberIds", members[1:])),
		)
		w.often(2,
			edited(queueKind, "Update", q, to("skills", reversed(skills))),
			edited(queueKind, "Update", q,
				to("mediaSettings.call.alertingSeconds", 40+d.n(20)),
				to("mediaSettings.call.serviceLevel.percentage", literal("0.9"))),
			edited(queueKind, "Update", q, to("evaluation", "ALL"), to("acw.timeoutMs", 45000)),
			queueMembership(q, joined),
		)
		w.often(1,
			edited(queueKind, "Update", q, to("outboundEmail", "help@example.com"), to("mediaSettings.email", removed{})),
			edited(queueKind, "Update", q, to("skills", plus(skills, "Night shift"))),
			edited(queueKind, "Update", q, to("mediaSettings.chat", obj("alertingSeconds", 30, "autoAnswer", true))),
		)
		w.deploy = append(w.deploy, edited(queueKind, "Update", q, to("acw.prompt", "OPTIONAL")))
	}
	for _, s := range w.skills {
		w.often(1, made(skillKind, s), edited(skillKind, "Update", s, to("state", "inactive")))
	}
	w.often(1, gone(skillKind, w.skills[0]))
	for _, name := range []string{"Resolved", "Call back", "Wrong number", "Escalated", "Erledigt ✔"} {
		code := obj("id", w.id(d), "name", name, "division", obj("id", "*"), "version", 1)
		w.often(1, made(wrapupKind, code), edited(wrapupKind, "Update", code, to("version", 2), to("name", name+" (new)")))
	}
}

// queueMembership is how the real service writes it: the ids hide in the name
// of the property.
func queueMembership(q object, member person) *scene {
	s := edited(queueKind, "MemberUpdate", q).withContext("memberName", member.name)
	id := q.get("id").(string)
	s.properties = appendJSON(nil, array{
		obj("property", "QueueMember/"+id+":"+member.id+":joined", "oldValues", array{"false"}, "newValues", array{"true"}),
		obj("property", "queueId:"+id+":members", "oldValues", array{}, "newValues", array{"queueMember:" + member.id}),
	})
	after := q.with("members", obj(member.id, obj("joined", true, "ringNumber", 1)))
	before := q.with("members", obj(member.id, obj("joined", false, "ringNumber", 1)))
	s.before, s.after = snapshot(before), snapshot(after)
	return s
}
