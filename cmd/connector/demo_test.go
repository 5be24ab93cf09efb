package main

import (
	"bytes"
	"context"
	"regexp"
	"strings"
	"testing"
	"time"

	"genesys-audit-connector/internal/audit"
)

func TestDemoTellsWhatHappens(t *testing.T) {
	text := func(s string) *string { return &s }
	at := time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)
	grant := audit.Change{Time: at, Action: "MemberAdd", EntityType: "Role", Level: text("SYSTEM"), EntityID: text("r-1"),
		MemberID: text("u-1"), DivisionID: text("d-1"), Key: text("members"), Type: "ADDED", New: text("u-1"), NewType: "STRING"}
	named := grant
	named.EntityName, named.MemberName, named.MemberType, named.DivisionName = text("Supervisor"), text("Night shift"), text("group"), text("Berlin")
	everywhere := named
	everywhere.Action, everywhere.DivisionID, everywhere.UserName, everywhere.Level = "MemberRemove", text("*"), text("Ana Lima"), text("USER")
	noise := audit.Change{Time: at, Action: "Update", EntityType: "User", Level: text("SYSTEM"), Key: text("version"), Count: 1}
	both := noise
	both.Count, both.Type, both.PreviousType, both.Previous, both.NewType, both.New = 2, "MODIFIED", "STRING", text("1"), "STRING", text("2")
	joined := audit.Change{Time: at, UserName: text("Ana Lima"), Action: "MemberAdd", EntityType: "Queue", EntityName: text("Billing"),
		Key: text("QueueMember/q-1:u-1"), Type: "ADDED", NewType: "STRING", New: text("<queue member added>"), MemberID: text("u-1"), MemberName: text("Ida Costa")}
	group := audit.Change{Time: at, UserName: text("Ana Lima"), Action: "Update", EntityType: "DirectoryGroup", EntityID: text("g-1"),
		Key: text("group-membership"), Type: "MODIFIED", NewType: "STRING", New: text("u-1"), MemberID: text("u-1")}
	forged := group
	forged.EntityID, forged.MemberName = nil, text("x\n12:00:00.000  ROLE \x1b[2K")
	for name, tc := range map[string]struct {
		changes []audit.Change
		want    string
	}{
		"a grant by ids":          {[]audit.Change{grant}, "12:00:00.000  ROLE the system granted role r-1 to user u-1 in division d-1\n"},
		"a grant by names":        {[]audit.Change{named}, "12:00:00.000  ROLE the system granted role \"Supervisor\" to group \"Night shift\" in division \"Berlin\"\n"},
		"a grant everywhere":      {[]audit.Change{everywhere}, "12:00:00.000  ROLE Ana Lima revoked role \"Supervisor\" from group \"Night shift\" in all divisions\n"},
		"little noise":            {[]audit.Change{noise}, ""},
		"a lot of noise":          {[]audit.Change{noise, noise, noise, noise, noise, noise, noise, noise, noise, noise}, "              … 10 times synchronisation, with nothing but a new version\n"},
		"a version among others":  {[]audit.Change{both}, "12:00:00.000  the system  Update User  version: \"1\" → \"2\"\n"},
		"somebody joins a queue":  {[]audit.Change{joined}, "12:00:00.000  Ana Lima  MemberAdd Queue \"Billing\"  + member \"Ida Costa\"\n"},
		"a member of a group":     {[]audit.Change{group}, "12:00:00.000  Ana Lima  Update DirectoryGroup g-1  member u-1 came or went\n"},
		"a name that forges":      {[]audit.Change{forged}, "12:00:00.000  Ana Lima  Update DirectoryGroup  member \"x·12:00:00.000  ROLE ·[2K\" came or went\n"},
		"the second of one event": {[]audit.Change{{Time: at, Index: 1, Action: "MemberAdd", EntityType: "Role"}}, ""},
	} {
		var out bytes.Buffer
		p := newPrinter(&out)
		for _, c := range tc.changes {
			p.change(c)
		}
		if out.String() != tc.want {
			t.Errorf("%s: %q, want %q", name, out.String(), tc.want)
		}
	}
}

// The demo shows the realistic organisation: what the API showed is in Kafka, once.
func TestDemoShowsTheOrganisation(t *testing.T) {
	var out bytes.Buffer
	o := demoOptions{length: 12 * time.Second, rate: 5, history: 200, seed: 5, addr: "127.0.0.1:0"}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	if err := demo(ctx, o, &out); err != nil {
		t.Fatalf("%v after %s", err, out.String())
	}
	for _, want := range []string{
		`(?m)^\S+ .*ROLE .* (granted|revoked) role .* (to|from) (user|group) .* in (division|all divisions)`,
		`(?m)^events shown by the API +[2-9]\d\d$`, `(?m)^missing +0$`, `(?m)^duplicate +0$`,
	} {
		if !regexp.MustCompile(want).MatchString(out.String()) {
			t.Errorf("nothing like %s in\n%s", want, out.String())
		}
	}
	if strings.Contains(out.String(), " Role ") && strings.Contains(out.String(), "--") {
		t.Errorf("a triple is told as a name:\n%s", out.String())
	}
}
