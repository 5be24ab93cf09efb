package sandbox

import "strings"

func (w *world) newRoles(d *dice) []object {
	var roles []object
	for _, r := range []struct{ name, permissions string }{
		{"Master Admin", "admin:* authorization:role:edit authorization:grant:add telephony:plugin:all"},
		{"Supervisor", "routing:queue:view routing:queue:edit analytics:queueObservation:view"},
		{"Quality Evaluator", "quality:evaluation:add quality:evaluation:view recording:recording:view"},
		{"Agent", "routing:conversation:view presence:userPresence:edit"},
		{"Architect Designer", "architect:flow:view architect:flow:edit architect:flow:publish"},
		{"Audit Viewer", "audits:audit:view"},
		{"Telephony Admin", "telephony:edge:edit telephony:trunk:edit"},
		{"Outbound Manager", "outbound:campaign:add outbound:campaign:edit outbound:contactList:view"},
	} {
		var permissions array
		for _, p := range strings.Fields(r.permissions) {
			permissions = append(permissions, p)
		}
		roles = append(roles, obj("id", w.id(d), "name", r.name, "description", "Role "+r.name,
			"permissions", permissions, "default", r.name == "Agent", "userCount", d.n(90)))
	}
	return roles
}

// peopleScenes: roles and who has them, users, groups.
func (w *world) peopleScenes(d *dice) {
	for _, role := range w.roles {
		permissions := role.get("permissions").(array)
		w.often(4,
			edited(roleKind, "Update", role, to("permissions", plus(permissions, "recording:recording:export"))),
			edited(roleKind, "Update", role, to("permissions", reversed(permissions))),
			edited(roleKind, "Update", role, to("permissions", permissions[1:]), to("description", "Trimmed at the last review")),
		)
		for range 12 {
			w.grants = append(w.grants, w.roleMember(d, "MemberAdd", role))
		}
		w.often(5, w.roleMember(d, "MemberRemove", role), w.roleMember(d, "MemberUpdate", role))
		w.often(1, made(roleKind, role))
	}
	w.often(2, w.grants...)

	for _, p := range w.people[:60] {
		user := obj("id", p.id, "name", p.name,
			"email", strings.ToLower(strings.NewReplacer(" ", ".", "'", "").Replace(p.name))+"@example.com",
			"title", "Agent", "department", "Customer Care", "state", "active",
			"addresses", array{obj("type", "WORK", "mediaType", "PHONE", "address", "+4930555"+string(appendJSON(nil, 1000+d.n(9000))))},
			"version", 1+d.n(40))
		w.often(1,
			edited(userKind, "Update", user, to("title", "Team Lead"), to("department", nil)),
			edited(userKind, "Update", user, to("state", "inactive")).system(),
			edited(userKind, "Update", user, to("addresses", array{})),
		)
		w.deploy = append(w.deploy, edited(userKind, "Update", user, to("department", "Customer Experience")))
		w.logins = append(w.logins, login(user))
	}
	for _, name := range []string{"Night shift", "Team Berlin", "Öffentlicher Dienst", "Floor 3"} {
		members := w.ids(d, 4)
		group := obj("id", w.id(d), "name", name, "type", "official", "visibility", "public", "memberIds", members, "ownerIds", w.ids(d, 1))
		joined := w.people[d.n(len(w.people))]
		add := edited(groupKind, "MemberAdd", group, to("memberIds", plus(members, joined.id)))
		add.properties = appendJSON(nil, array{obj("property", "group-membership", "oldValues", array{}, "newValues", array{joined.id})})
		add.entities = appendJSON(nil, array{obj("entityId", joined.id, "entityName", joined.name, "entityType", "User",
			"oldValues", array{}, "newValues", array{name})})
		w.often(4, add, edited(groupKind, "Update", group, to("visibility", "owners")))
	}
}

// roleMember is a role that somebody got, lost or kept in other divisions. The
// ids hide in the name: <userId>--<roleId>--<orgId>; the readable names are in
// the context.
func (w *world) roleMember(d *dice, action string, role object) *scene {
	member := w.people[d.n(len(w.people))]
	roleID, roleName := role.get("id").(string), role.get("name").(string)
	membership := obj("id", roleID, "name", member.id+"--"+roleID+"--"+w.orgID,
		"userId", member.id, "userName", member.name, "roleId", roleID, "roleName", roleName,
		"divisions", array{"Home"})
	var s *scene
	switch action {
	case "MemberAdd":
		s = made(roleKind, membership)
		s.message = "Role " + roleName + " granted to " + member.name
	case "MemberRemove":
		s = gone(roleKind, membership)
		s.message = "Role " + roleName + " taken from " + member.name
	default:
		s = edited(roleKind, action, membership, to("divisions", array{"Home", "Berlin"}))
		s.message = "Role " + roleName + " of " + member.name + " changed"
	}
	s.action = action
	s.properties = []byte("[]") // as in the real service: everything is in the name
	return s.withContext("roleName", roleName, "memberName", member.name)
}

// login is an event that is no configuration change.
func login(user object) *scene {
	s := edited(sessionKind, "Login", user)
	s.typ = typeAuthentication
	s.before, s.after = []byte("null"), []byte("null")
	return s
}
