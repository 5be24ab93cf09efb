package sandbox

import "fmt"

func (w *world) newClients(d *dice) []object {
	var clients []object
	for _, name := range []string{"Terraform pipeline", "Workforce sync", "BI export", "Old wallboard"} {
		id := w.id(d)
		clients = append(clients, obj("id", id, "name", name, "authorizedGrantType", "CLIENT-CREDENTIALS", "accessTokenValiditySeconds", 86400,
			"roleIds", array{w.roles[1].get("id")}, "scope", array{"audits:readonly"}, "state", "active", "selfUri", "/api/v2/oauth/clients/"+id))
	}
	return clients
}

// securityScenes: logins, OAuth clients and tokens, identity providers, policies, trusts.
func (w *world) securityScenes(d *dice) {
	for _, user := range w.users[:40] {
		w.logins = append(w.logins, w.login(d, user, "Authenticate", ""), w.login(d, user, "Authenticate", ""))
	}
	for _, user := range w.users[:10] {
		w.logins = append(w.logins, w.login(d, user, "AuthenticationFailed", "FAILURE"), w.login(d, user, "ChangePassword", ""))
	}
	for _, client := range w.clients {
		roles := array{w.roles[1].get("id"), w.roles[0].get("id")}
		w.often(2, made(oauthKind, client), edited(oauthKind, "Update", client, to("roleIds", roles)), gone(oauthKind, client))
	}
	thing := func(entityType, name string, pairs ...any) object {
		return append(obj("id", w.id(d), "name", name), obj(pairs...)...)
	}
	permissions := func(entityType string) kind { return kindOf("PeoplePermissions", entityType) }
	provider := thing("IdentityProvider", "Okta", "ssoTargetURI", "https://sso.example.com/saml", "disabled", false, "issuerURI", "https://sso.example.com")
	policy := thing("Policy", "Password policy", "minimumLength", 12, "expirationDays", 90)
	trust := thing("OrganizationAuthorizationTrust", "Partner GmbH", "enabled", true)
	verifier := thing("MFAVerifier", w.people[3].name, "verifierType", "TOTP", "enabled", true)
	token := thing("AccessToken", "", "clientId", w.clients[2].get("id"))
	saml := thing("UserSamlAuthentication", w.people[5].name)
	granted := thing("OAuthClientAuthorization", "Old wallboard", "scope", array{"users:readonly"})
	w.often(2,
		edited(permissions("IdentityProvider"), "Update", provider, to("ssoTargetURI", "https://login.example.com/saml")),
		edited(permissions("IdentityProvider"), "Update", provider, to("disabled", true)),
		edited(permissions("Policy"), "Update", policy, to("minimumLength", 8)),
		made(permissions("OrganizationAuthorizationTrust"), trust), gone(permissions("OrganizationAuthorizationTrust"), trust),
		made(permissions("MFAVerifier"), verifier), gone(permissions("MFAVerifier"), verifier),
		gone(permissions("AccessToken"), token),
		edited(permissions("UserSamlAuthentication"), "Authenticate", saml),
		made(permissions("OAuthClientAuthorization"), granted),
	)
	keys := obj("id", w.id(d), "name", "", "keyConfigurationType", "Native", "url", nil)
	capture := obj("id", w.id(d), "name", "BYOC Cloud", "level", "off")
	w.often(2,
		edited(kindOf("Quality", "RecordingKeyConfig"), "Update", keys, to("keyConfigurationType", "LocalKeyManager"), to("url", "https://keys.example.com")),
		made(kindOf("Quality", "RecordingKey"), obj("id", w.id(d), "name", "2026-11")).system(),
		edited(kindOf("LogCapture", "User"), "EnableCapture", capture, to("level", "debug")),
		edited(kindOf("LogCapture", "User"), "DownloadCapture", capture),
	)
}

// login is an event that is no configuration change. Who failed to log in is
// nobody yet.
func (w *world) login(d *dice, user object, action, status string) *scene {
	s := edited(loginKind, action, user)
	s.typ, s.status = typeAuthentication, status
	s.before, s.after, s.properties = []byte("null"), []byte("null"), []byte("[]")
	s.by = &actor{person: person{user.get("id").(string), user.get("name").(string)}, ip: fmt.Sprint("198.51.100.", 50+d.n(100))}
	if status != "" {
		s.by = &actor{ip: s.by.ip}
		s.message = "Invalid login credentials"
	}
	return s
}
