package sandbox

import "strings"

func (w *world) newRoles(d *dice) (roles, gone []object) {
	for _, r := range []struct{ name, permissions string }{
		{"Master Admin", "admin:* authorization:role:edit authorization:grant:add telephony:plugin:all"},
		{"Supervisor", "routing:queue:view routing:queue:edit analytics:queueObservation:view"},
		{"Quality Evaluator", "quality:evaluation:add quality:evaluation:view recording:recording:view"},
		{"Agent", "routing:conversation:view presence:userPresence:edit"},
		{"Architect Designer", "architect:flow:view architect:flow:edit architect:flow:publish"},
		{"Audit Viewer", "audits:audit:view"},
		{"Telephony Admin", "telephony:edge:edit telephony:trunk:edit"},
		{"Outbound Manager", "outbound:campaign:add outbound:campaign:edit outbound:contactList:view"},
		{"Migration 2024", "authorization:grant:add"}, // was deleted
	} {
		var permissions array
		for _, p := range strings.Fields(r.permissions) {
			permissions = append(permissions, p)
		}
		id := w.id(d)
		roles = append(roles, obj("id", id, "name", r.name, "description", "Role "+r.name,
			"permissions", permissions, "default", r.name == "Agent", "userCount", d.n(90), "selfUri", "/api/v2/authorization/roles/"+id))
	}
	last := len(roles) - 1
	return roles[:last], roles[last:]
}

// peopleScenes: roles and who has them, users.
func (w *world) peopleScenes(d *dice) {
	for _, role := range w.roles {
		permissions := role.get("permissions").(array)
		w.often(2,
			edited(roleKind, "Update", role, to("permissions", plus(permissions, "recording:recording:export"))),
			edited(roleKind, "Update", role, to("permissions", reversed(permissions))),
			edited(roleKind, "Update", role, to("permissions", permissions[1:]), to("description", "Trimmed at the last review")),
		)
		for range 12 {
			w.grants = append(w.grants, w.roleMember(d, "MemberAdd", role, w.subject(d)))
		}
		w.often(4, w.roleMember(d, "MemberRemove", role, w.subject(d)), w.roleMember(d, "MemberUpdate", role, w.subject(d)))
		w.often(1, made(roleKind, role))
	}
	w.often(2, w.grants...)
	left := w.people[len(w.people)-1]
	w.often(3,
		w.roleMember(d, "MemberRemove", w.gone[0], subject{left.id, left.name, "user"}),
		w.roleMember(d, "MemberRemove", w.roles[1], subject{left.id, left.name, "user"}),
		gone(roleKind, w.gone[0]),
	)
	for i, user := range w.users[:60] {
		user = audited(user)
		version := user.get("version").(int)
		w.noise = append(w.noise, edited(userKind, "Update", user, to("version", version+1)).system())
		address := user.get("addresses").(array)[0].(object).with("extension", "41")
		w.often(1, edited(userKind, "Update", user, to("title", "Team Lead"), to("department", nil)))
		switch i % 3 {
		case 0:
			w.often(1, edited(userKind, "Update", user, to("state", "inactive")).system())
		case 1: // the value is JSON in a string, as live organisations show it
			was := array{string(appendJSON(nil, user.get("addresses")))}
			w.often(1, edited(userKind, "Update", user, to("addresses", array{address})).
				changing("addresses", was, array{string(appendJSON(nil, array{address}))}, "version", array{"3"}, array{"4"}))
		}
	}
	for _, user := range w.users[len(w.people)-deletedPeople : len(w.people)-deletedPeople+4] {
		user = audited(user).with("state", "active")
		w.often(1, gone(userKind, user), made(userKind, user))
	}
}

// audited is what a snapshot shows of a user.
func audited(user object) object {
	shown := object{}
	for _, key := range []string{"id", "name", "email", "title", "department", "state", "addresses", "version"} {
		shown = append(shown, member{key, user.get(key)})
	}
	return shown
}

// subject is who holds a role: a user or a group.
type subject struct{ id, name, kind string }

func (w *world) subject(d *dice) subject {
	if d.chance(0.15) {
		g := pick(d, w.groups)
		return subject{g.get("id").(string), g.get("name").(string), "group"}
	}
	p := w.people[d.n(len(w.people))]
	return subject{p.id, p.name, "user"}
}

// roleMember is a role that somebody got, lost or kept in another division. Live
// organisations show three ids in the entity's name and nothing else:
// <subject>--<role>--<division>, where * is all divisions. Dialect auditlogs has
// the readable names in its snapshots and its context.
func (w *world) roleMember(d *dice, action string, role object, s subject) *scene {
	roleID, roleName := role.get("id").(string), role.get("name").(string)
	division := obj("id", "*", "name", "all divisions")
	if !d.chance(0.3) {
		division = pick(d, w.divisions)
	}
	membership := obj("id", roleID, "name", s.id+"--"+roleID+"--"+division.get("id").(string),
		s.kind+"Id", s.id, s.kind+"Name", s.name, "roleId", roleID, "roleName", roleName,
		"divisions", array{division.get("name")})
	var scene *scene
	switch action {
	case "MemberAdd":
		scene = made(roleKind, membership)
	case "MemberRemove":
		scene = gone(roleKind, membership)
	default:
		scene = edited(roleKind, action, membership, to("divisions", array{division.get("name"), "Legal"}))
	}
	scene.action, scene.grant = action, true
	scene.message = "" // none of a hundred had one
	scene.properties = []byte("[]")
	scene.flatContext = appendJSON(nil, obj("roleName", roleName, "memberName", s.name))
	return scene
}
