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
		for i, site := range []string{"Berlin", "Dublin", "São Paulo"} {
			skill := func() any { return w.skills[d.n(len(w.skills))].get("name") }
			id := w.id(d)
			queues = append(queues, obj(
				"id", id,
				"name", fmt.Sprintf("%s – %s", area, site),
				"division", obj("id", w.divisions[1+i].get("id"), "name", site),
				"memberIds", w.ids(d, 1),
				"skills", array{skill(), skill()},
				"mediaSettings", obj(
					"call", obj("alertingSeconds", 8+d.n(20), "serviceLevel", obj("percentage", literal("0.80"))),
					"email", obj("alertingSeconds", 300),
				),
				"acw", obj("prompt", "MANDATORY", "timeoutMs", 30000),
				"evaluation", "BEST",
				"outboundEmail", nil,
				"selfUri", "/api/v2/routing/queues/"+id,
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
		left := person{id: members[0].(string)}
		w.often(2,
			queueMember(q, "MemberAdd", joined, to("memberIds", plus(members, joined.id))),
			queueMember(q, "MemberRemove", left, to("memberIds", members[1:])),
			queueMember(q, "MemberUpdate", joined),
		)
		w.often(2,
			edited(queueKind, "Update", q, to("skills", reversed(skills))),
			edited(queueKind, "Update", q,
				to("mediaSettings.call.alertingSeconds", 40+d.n(20)),
				to("mediaSettings.call.serviceLevel.percentage", literal("0.9"))),
			edited(queueKind, "Update", q, to("evaluation", "ALL"), to("acw.timeoutMs", 45000)),
		)
		w.often(1,
			edited(queueKind, "Update", q, to("outboundEmail", "help@example.com"), to("mediaSettings.email", removed{})),
			edited(queueKind, "Update", q, to("skills", plus(skills, "Night shift"))),
			edited(queueKind, "Update", q, to("mediaSettings.chat", obj("alertingSeconds", 30, "autoAnswer", true))),
			edited(queueKind, "WrapupCodeAdd", q, to("wrapupCodes", array{w.id(d)})),
		)
		w.deploy = append(w.deploy, edited(queueKind, "Update", q, to("acw.prompt", "OPTIONAL")))
	}
	w.often(2, gone(queueKind, obj("id", w.id(d), "name", "Closed 2025", "memberIds", array{})), made(queueKind, w.queues[0]))
	for _, s := range w.skills {
		w.often(2, made(skillKind, s), edited(skillKind, "Update", s, to("state", "inactive")))
	}
	w.often(2, gone(skillKind, w.skills[0]))
	for _, name := range []string{"Resolved", "Call back", "Wrong number", "Escalated", "Erledigt ✔"} {
		code := obj("id", w.id(d), "name", name, "division", obj("id", "*"), "version", 1)
		w.often(3, made(wrapupKind, code), edited(wrapupKind, "Update", code, to("version", 2), to("name", name+" (new)")))
	}
}

// queueMember is how live organisations write it: the ids hide in the name of the
// property, and the values are these very words.
func queueMember(q object, action string, member person, edits ...edit) *scene {
	s := edited(queueKind, action, q, edits...)
	id := q.get("id").(string)
	key := "QueueMember/" + id + ":" + member.id
	switch action {
	case "MemberAdd":
		s.changing(key, array{}, array{"<queue member added>"})
	case "MemberRemove":
		s.changing(key, array{"<queue member deleted>"}, array{})
	default:
		s.changing(key+":joined", array{"false"}, array{"true"})
		s.after = snapshot(q.with("members", obj(member.id, obj("joined", true, "ringNumber", 1))))
		s.before = snapshot(q.with("members", obj(member.id, obj("joined", false, "ringNumber", 1))))
	}
	s.flatContext = appendJSON(nil, obj("memberName", member.name))
	return s.withContext("entityId", id, "auditType", "QUEUE")
}
