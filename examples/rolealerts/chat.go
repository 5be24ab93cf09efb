package main

import (
	"fmt"
	"strings"
	"time"
)

// formats are what a webhook's receiver wants, by WEBHOOK_FORMAT. A chat's message
// has two lines, both ours; what comes from outside is inert in them.
var formats = map[string]func(*Alert) any{
	"json":       func(a *Alert) any { return a },
	"slack":      slackMessage,
	"mattermost": mattermostMessage,
	"discord":    discordMessage,
	"teams":      teamsMessage,
}

var severityMarks = map[string]string{"info": "ℹ️", "warning": "⚠️", "error": "🚨", "critical": "🚨"}

// message is an alert as a chat shows it.
type message struct{ mark, severity, summary, origin string }

func messageOf(a *Alert) message {
	name := func(text string) string { return inert(cut(plain(text), longestName)) }
	origin := fmt.Sprintf("%s, organisation %s, audit event %s, key %s",
		a.Time.UTC().Format(time.RFC3339), name(a.Organisation), name(a.AuditID), a.Key)
	return message{severityMarks[a.Severity], strings.ToUpper(a.Severity), inert(a.Summary), origin}
}

// slackMessage is for incoming webhooks of Slack. Nothing of "&<>", which its
// documentation wants escaped, is left in inert text.
// https://docs.slack.dev/messaging/formatting-message-text#escaping
func slackMessage(a *Alert) any {
	m := messageOf(a)
	return map[string]any{"text": fmt.Sprintf("%s *%s* %s\n_%s_", m.mark, m.severity, m.summary, m.origin)}
}

// mattermostMessage is for incoming webhooks of Mattermost: Markdown, and mentions
// by @. https://developers.mattermost.com/integrate/webhooks/incoming/
func mattermostMessage(a *Alert) any {
	m := messageOf(a)
	return map[string]any{"text": fmt.Sprintf("%s **%s** %s\n_%s_", m.mark, m.severity, m.summary, m.origin)}
}

// suppressEmbeds is Discord's message flag for no previews of links.
const suppressEmbeds = 1 << 2

// discordMessage is for webhooks of Discord; allowed_mentions without any says that
// nobody is called, whatever content has.
// https://docs.discord.com/developers/resources/webhook#execute-webhook
func discordMessage(a *Alert) any {
	m := messageOf(a)
	return map[string]any{
		"content":          fmt.Sprintf("%s **%s** %s\n_%s_", m.mark, m.severity, m.summary, m.origin),
		"allowed_mentions": map[string]any{"parse": []string{}},
		"flags":            suppressEmbeds,
	}
}

// teamsMessage is for Workflows of Microsoft Teams ("when a Teams webhook request is
// received"): an Adaptive Card. Its TextRuns, unlike TextBlocks, know no Markdown, and
// a mention needs an entity in msteams, of which there is none.
// https://adaptivecards.io/explorer/TextRun.html
func teamsMessage(a *Alert) any {
	m := messageOf(a)
	type object = map[string]any
	line := func(runs ...object) object { return object{"type": "RichTextBlock", "inlines": runs} }
	run := func(text, weight string) object {
		return object{"type": "TextRun", "text": text, "weight": weight}
	}
	return object{
		"type": "message",
		"attachments": []object{{
			"contentType": "application/vnd.microsoft.card.adaptive",
			"content": object{
				"$schema": "http://adaptivecards.io/schemas/adaptive-card.json", "type": "AdaptiveCard", "version": "1.4",
				"body": []object{
					line(run(m.mark+" "+m.severity+" ", "Bolder"), run(m.summary, "Default")),
					line(run(m.origin, "Lighter")),
				},
			},
		}},
	}
}
