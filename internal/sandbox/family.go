package sandbox

import "net/http"

// Family is routes that share a limit of their own, beside that of all of them
// together: the headers of one family's answers say nothing of another's.
type Family string

// The families.
const (
	FamilyRealtime Family = "realtime"
	FamilyQuery    Family = "query"
	FamilyNames    Family = "names" // and the rest
	familyNone     Family = ""      // login, downloads, and dialect auditlogs, whose limit is AuditlogsLimit
)

func familyOf(endpoint Endpoint) Family {
	switch endpoint {
	case EndpointToken, EndpointDownload, EndpointAuditlogs:
		return familyNone
	case EndpointRealtime, EndpointRealtimeMapping, EndpointRelated:
		return FamilyRealtime
	case EndpointSubmit, EndpointStatus, EndpointResults, EndpointMapping:
		return FamilyQuery
	}
	return FamilyNames
}

// limitsOf are the limits that an endpoint is under, the narrowest last; it is
// the one whose headers are told.
func (o *Org) limitsOf(endpoint Endpoint) []*limiter {
	switch endpoint {
	case EndpointToken, EndpointDownload:
		return nil
	case EndpointAuditlogs:
		return []*limiter{o.auditlogsLimit}
	}
	limits := []*limiter{o.platformLimit}
	if l := o.families[familyOf(endpoint)]; l != nil {
		limits = append(limits, l)
	}
	return limits
}

// admit counts a request against its limits. It returns the headers that its
// answer bears, and the refusal where a limit is used up.
func (o *Org) admit(c *call) (quota http.Header, refusal *answer) {
	for _, limit := range o.limitsOf(c.endpoint) {
		verdict := limit.take(c.now)
		quota = verdict.header
		if verdict.refused {
			o.stats.violate(func(v *Violations) {
				v.OverLimit++
				if verdict.early {
					v.BeforeRetryAfter++
				}
			})
			return quota, tooMany(seconds(verdict.retryAfter)).merge(quota)
		}
	}
	return quota, nil
}

// crowded reports whether a request is one more of dialect realtime than are
// taken at once.
func (o *Org) crowded(c *call) bool {
	return o.options.InFlight > 0 && c.atOnce > int64(o.options.InFlight)
}
