package sandbox

import "slices"

// platformScenes: flows, schedules, data tables, integrations, outbound
// campaigns, trunks and edges.
func (w *world) platformScenes(d *dice) {
	w.flowScenes(d)
	w.telephonyScenes(d)
	for _, name := range []string{"Salesforce", "ServiceNow", "AWS Lambda Data Actions", "Webhook: ciel \"bleu\""} {
		integration := obj("id", w.id(d), "name", name, "integrationType", "custom-rest-actions", "intendedState", "DISABLED",
			"config", obj("version", 3, "properties", obj("baseUrl", "https://crm.example.com/api/v2", "timeoutMs", 5000), "credentials", obj("basicAuth", obj("id", w.id(d)))),
			"notes", "line one\nline two\ttabbed")
		w.often(4,
			edited(integrationKind, "Update", integration, to("intendedState", "ENABLED")),
			edited(integrationKind, "Update", integration, to("config.properties.baseUrl", "https://crm.example.com/api/v3"), to("config.version", 4)),
		)
	}
	for _, name := range []string{"Winback Q3", "Payment reminder", "NPS survey"} {
		lists := array{w.id(d), w.id(d), w.id(d)}
		campaign := obj("id", w.id(d), "name", name, "dialingMode", "predictive", "campaignStatus", "off",
			"abandonRate", literal("3.0"), "dncLists", lists, "contactList", obj("id", w.id(d), "name", name+" contacts"),
			"callableTimeSet", nil, "priority", 5)
		w.often(5,
			edited(campaignKind, "Update", campaign, to("campaignStatus", "on")),
			edited(campaignKind, "Update", campaign, to("dncLists", reversed(lists)), to("abandonRate", literal("3.5"))),
			edited(campaignKind, "Update", campaign, to("campaignStatus", "complete")).system(),
		)
	}
}

func (w *world) flowScenes(d *dice) {
	for _, name := range []string{"Main IVR", "After hours", "Überlauf", "Chat bot", "Callback", "Survey"} {
		flow := obj("id", w.id(d), "name", name, "type", "inboundcall", "active", true,
			"publishedVersion", obj("id", "12.0", "commitVersion", "12", "secure", false),
			"inputSchema", obj("type", "object", "properties", obj("Flow.Priority", obj("type", "integer"), "Flow.Lang", obj("type", "string"))),
			"languages", array{"en-us", "de-de", "pt-br"})
		w.often(6,
			edited(flowKind, "Publish", flow, to("publishedVersion.id", "13.0"), to("publishedVersion.commitVersion", "13")),
			edited(flowKind, "Checkout", flow),
			edited(flowKind, "Update", flow, to("languages", array{"en-us", "de-de", "pt-br", "ar-sa"})),
		)
		w.deploy = append(w.deploy, edited(flowKind, "Publish", flow, to("publishedVersion.id", "14.0")))
	}
	for _, name := range []string{"Opening hours", "Holidays 2026"} {
		schedule := obj("id", w.id(d), "name", name, "start", "2026-01-01T08:00:00.000", "end", "2026-01-01T18:00:00.000",
			"rrule", "FREQ=WEEKLY;BYDAY=MO,TU,WE,TH,FR", "description", nil)
		w.often(3, edited(scheduleKind, "Update", schedule, to("rrule", "FREQ=DAILY"), to("description", "All days")))
	}
	table := obj("id", w.id(d), "name", "Opening hours by site", "schema", obj("properties", obj("key", obj("type", "string"), "open", obj("type", "boolean"))))
	row := edited(tableKind, "Update", table, to("schema.properties.open.default", true))
	row.entities = appendJSON(nil, array{obj("entityId", w.id(d), "entityName", "Berlin", "entityType", "Row",
		"oldValues", array{`{"open":true}`}, "newValues", array{`{"open":false}`, "berlin"})})
	w.often(4, row, made(tableKind, table), edited(rowKind, "Update", obj("id", w.id(d), "name", "Berlin", "open", true), to("open", false)))
}

func (w *world) telephonyScenes(d *dice) {
	for _, name := range []string{"SIP Frankfurt", "SIP Dublin"} {
		trunk := obj("id", w.id(d), "name", name, "state", "active", "trunkType", "EXTERNAL",
			"sip", obj("inviteTimeoutMs", 8000, "codecs", array{"audio/opus", "audio/pcmu", "audio/g729"}, "tls", true))
		w.often(3,
			edited(trunkKind, "Update", trunk, to("sip.codecs", array{"audio/pcmu", "audio/opus", "audio/g729"})),
			edited(trunkKind, "Update", trunk, to("sip.tls", false)),
		)
		edge := obj("id", w.id(d), "name", "edge-"+name, "onlineStatus", "ONLINE", "site", obj("id", w.id(d)), "softwareVersion", "1.0.0.9876")
		w.often(2, edited(edgeKind, "Update", edge, to("onlineStatus", "OFFLINE")).system())
	}
}

// quietScenes: in every service something happens now and then.
func (w *world) quietScenes(d *dice) {
	busy := map[string]bool{}
	for _, s := range w.scenes {
		busy[s.service] = true
	}
	for _, service := range services {
		if busy[service.name] {
			continue
		}
		first := service.types[0]
		k := kindOf(service.name, first.name)
		thing := obj("id", w.id(d), "name", "Default "+first.name, "enabled", false, "version", 1)
		switch {
		case slices.Contains(first.actions, "Update"):
			w.often(2, edited(k, "Update", thing, to("enabled", true), to("version", 2)))
		case slices.Contains(first.actions, "Create"):
			w.often(2, made(k, thing))
		default:
			w.often(2, edited(k, first.actions[0], thing))
		}
	}
}
