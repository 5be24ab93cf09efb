package web

import "cmp"

// FleetStatus is the document at /api/status where there are many organisations.
// Others rely on its names.
type FleetStatus struct {
	Replica       string          `json:"replica"`
	Organisations []SummaryStatus `json:"organisations"`
	Version       string          `json:"version"`
	Members       []MemberStatus  `json:"members"`
	// LastError concerns no organisation in particular.
	LastError *string `json:"lastError"`
}

// SummaryStatus is one of FleetStatus.Organisations. LagSeconds and Gaps are null
// where another replica runs the organisation.
type SummaryStatus struct {
	Org          string              `json:"org"`
	Role         Role                `json:"role"`
	Partition    int32               `json:"partition"`
	LagSeconds   *float64            `json:"lagSeconds"`
	Gaps         *int                `json:"gaps"`
	NewestEvent  *Instant            `json:"newestEvent"`
	LastError    *string             `json:"lastError"`
	LastVerified *VerificationStatus `json:"lastVerified"`
	Replica      *string             `json:"replica"` // which runs it; null where that is not known
}

// MemberStatus is one of FleetStatus.Members.
type MemberStatus struct {
	Name       string `json:"name"`
	Partitions int    `json:"partitions"`
}

// Status is the fleet as /api/status shows it, by name.
func (f *Fleet) Status() FleetStatus {
	doc := FleetStatus{
		Replica: f.Replica, Version: f.Version,
		Organisations: make([]SummaryStatus, 0, len(f.Organisations)), Members: make([]MemberStatus, 0, len(f.Members)),
	}
	for _, o := range f.byName() {
		line := SummaryStatus{
			Org: o.Org, Role: cmp.Or(o.Role, Starting), Partition: o.Partition,
			NewestEvent: instant(o.NewestEvent), LastVerified: o.LastVerified.status(),
			LastError: textOrNull(o.LastError), Replica: textOrNull(o.Replica),
		}
		if o.Role == Active {
			lag, gaps := seconds(o.Lag), o.Gaps
			line.LagSeconds, line.Gaps = &lag, &gaps
		}
		doc.Organisations = append(doc.Organisations, line)
	}
	for _, m := range f.members() {
		doc.Members = append(doc.Members, MemberStatus(m))
	}
	if troubles := f.troubles(); len(troubles) > 0 {
		doc.LastError = textOrNull(troubles[0].What + ": " + troubles[0].Err)
	}
	return doc
}
