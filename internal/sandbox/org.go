package sandbox

import (
	"net/http"
	"slices"
	"sync/atomic"
	"time"
)

// Dialect is one of the ways to read audit events.
type Dialect string

// The dialects.
const (
	Auditlogs Dialect = "auditlogs"
	Query     Dialect = "query"
	Realtime  Dialect = "realtime"
)

// Endpoint names what a request asks for, in faults and in statistics.
type Endpoint string

// The endpoints.
const (
	EndpointToken           Endpoint = "token"
	EndpointAuditlogs       Endpoint = "auditlogs"
	EndpointSubmit          Endpoint = "submit"  // POST /audits/query
	EndpointStatus          Endpoint = "status"  // GET /audits/query/{id}
	EndpointResults         Endpoint = "results" // GET /audits/query/{id}/results
	EndpointMapping         Endpoint = "servicemapping"
	EndpointRealtime        Endpoint = "realtime"
	EndpointRealtimeMapping Endpoint = "realtime-servicemapping"
	EndpointRelated         Endpoint = "related"
	EndpointDownload        Endpoint = "download"
	EndpointOrganization    Endpoint = "organization"
	EndpointUsers           Endpoint = "users" // names: see names.go
	EndpointUser            Endpoint = "user"
	EndpointRoles           Endpoint = "roles"
	EndpointGroups          Endpoint = "groups"
	EndpointDivisions       Endpoint = "divisions"
	EndpointPermitted       Endpoint = "divisions-permitted"
	EndpointClients         Endpoint = "oauth-clients"
	EndpointQueues          Endpoint = "queues"
)

// Options is what the organisation is like. The zero value is a patient one:
// all dialects, the documented limits and retention, no surprises but the odd
// events.
type Options struct {
	Seed  uint64
	Clock func() time.Time // the organisation's own; nil: time.Now. Its Date header tells it

	ClientID, ClientSecret string        // "sandbox", "sandbox-secret"
	RefreshToken           string        // the first one that the refresh-token grant takes; "" refuses the grant
	KeepRefreshToken       bool          // it is not replaced when used
	RefuseBasic            bool          // client id and secret must come in the form
	TokenLife              time.Duration // of an access token: 24 hours

	Dialects        []Dialect     // the others answer 404; nil: all
	Retention       time.Duration // of auditlogs: 180 days
	QueryRetention  time.Duration // 365 days
	PageTokenLife   time.Duration // 0: for ever
	MissingDateHang time.Duration // how long a request without dates takes to end in 408
	Latency         time.Duration // of every answer
	Gzip            bool          // compress for who accepts it

	AuditlogsLimit Limit            // 100 in 10 s for the organisation, X-RateLimit headers
	PlatformLimit  Limit            // of all other routes together: 300 in 1 minute, inin-ratelimit headers
	FamilyLimits   map[Family]Limit // of families of routes, beside it; where there is one, the headers are about it
	InFlight       int              // more requests of dialect realtime at once are refused; 0: any number

	Forbidden []string // permissions that the OAuth client lacks (PermissionUsers …); see Forbid

	Divisions []string // names of those that the OAuth client's permission is for; nil: all

	Escalate  bool // who comes before Retry-After has passed waits twice as long the next time
	Consumers []Consumer

	Odd        float64 // share of odd events: 0.02; negative: none
	OtherTypes float64 // share of events that are no configuration: 0.02; negative: none
	Noise      float64 // share of events of synchronisation, in which only a version changed: 0.6; negative: none
	Lateness   Lateness

	MappingNames   MappingNames  // how service mappings spell their members
	RequireService bool          // a query without serviceName is refused
	WholeRealtime  bool          // dialect realtime shows all of the services that it has; else it lacks types and actions
	RealtimeSpan   time.Duration // longer intervals of dialect realtime time out; 0: none do
	RealtimeHang   time.Duration // how long such a one takes to end in 504

	QueryDelay   time.Duration // from submitting a query until it has succeeded
	ResultsLife  time.Duration // of a query and its results: 1 hour
	DownloadURL  string        // base URL that Downloads is served at; "" : results are never a file
	DownloadOver int           // results of more events are a file; 0: never
	Files        *Files        // how such files come; nil: one of them, by Location or, unasked for, by downloadUrl
}

func (o Options) withDefaults() Options {
	if o.Clock == nil {
		o.Clock = time.Now
	}
	setDefault(&o.ClientID, "sandbox")
	setDefault(&o.ClientSecret, "sandbox-secret")
	setDefault(&o.TokenLife, 24*time.Hour)
	setDefault(&o.Retention, 180*24*time.Hour)
	setDefault(&o.QueryRetention, 365*24*time.Hour)
	setDefault(&o.AuditlogsLimit, Limit{Requests: 100, Window: 10 * time.Second, Headers: HeadersX})
	setDefault(&o.PlatformLimit, Limit{Requests: 300, Window: time.Minute, Headers: HeadersInin})
	setDefault(&o.Odd, 0.02)
	setDefault(&o.OtherTypes, 0.02)
	setDefault(&o.Noise, 0.6)
	setDefault(&o.ResultsLife, time.Hour)
	if o.Dialects == nil {
		o.Dialects = []Dialect{Auditlogs, Query, Realtime}
	}
	return o
}

func setDefault[T comparable](value *T, otherwise T) {
	var zero T
	if *value == zero {
		*value = otherwise
	}
}

// Org is a simulated organisation: an http.Handler for its API and its login
// host alike. Everything it owns may be used from many goroutines.
type Org struct {
	options Options
	world   *world
	journal journal
	maker   maker
	tokens  tokens
	faults  faults
	jobs    jobs
	stats   statistics

	tangle     tangle
	answers    atomic.Uint64
	clockError atomic.Pointer[ClockError]

	taxonomy    *vocabulary
	permissions permissions
	names       names

	auditlogsLimit, platformLimit *limiter
	families                      map[Family]*limiter
	flying                        atomic.Int64 // requests of dialect realtime

	mux *http.ServeMux
}

// New makes an organisation without a past; Backfill gives it one.
func New(options Options) *Org {
	options = options.withDefaults()
	o := &Org{
		options: options,
		world:   newWorld(options.Seed),
		maker:   maker{late: options.Lateness},
		faults:  faults{luck: roll(options.Seed, 1<<60), struck: map[FaultKind]int{}},
		mux:     http.NewServeMux(),
	}
	o.jobs.byID = map[string]*job{}
	o.taxonomy = newVocabulary(o.world, options.WholeRealtime)
	o.tokens.start(options)
	now := o.now()
	o.auditlogsLimit = newLimiter(options.AuditlogsLimit, options.Consumers, options.Escalate, now)
	o.platformLimit = newLimiter(options.PlatformLimit, options.Consumers, options.Escalate, now)
	o.families = map[Family]*limiter{}
	for family, limit := range options.FamilyLimits {
		setDefault(&limit.Headers, HeadersInin)
		o.families[family] = newLimiter(limit, nil, options.Escalate, now)
	}
	o.Forbid(options.Forbidden...)
	o.routes()
	return o
}

func (o *Org) routes() {
	o.handle("POST /oauth/token", EndpointToken, "", o.token)
	o.handle("GET /api/v2/auditlogs", EndpointAuditlogs, Auditlogs, o.auditlogs)
	o.handle("GET /api/v2/organizations/me", EndpointOrganization, "", o.organization)
	o.handle("POST /api/v2/audits/query", EndpointSubmit, Query, o.submit)
	o.handle("GET /api/v2/audits/query/servicemapping", EndpointMapping, Query, o.serviceMapping)
	o.handle("GET /api/v2/audits/query/{id}", EndpointStatus, Query, o.queryStatus)
	o.handle("GET /api/v2/audits/query/{id}/results", EndpointResults, Query, o.results)
	o.handle("POST /api/v2/audits/query/realtime", EndpointRealtime, Realtime, o.realtime)
	o.handle("GET /api/v2/audits/query/realtime/servicemapping", EndpointRealtimeMapping, Realtime, o.realtimeMapping)
	o.handle("POST /api/v2/audits/query/realtime/related", EndpointRelated, Realtime, o.related)
	o.nameRoutes()
	o.controls()
	o.mux.HandleFunc("/", o.nothing)
}

// handle serves an endpoint, where the organisation speaks its dialect.
func (o *Org) handle(pattern string, endpoint Endpoint, dialect Dialect, respond func(*call) *answer) {
	if dialect != "" && !slices.Contains(o.options.Dialects, dialect) {
		respond = func(*call) *answer { return noRoute() }
	}
	o.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) { o.serve(w, r, endpoint, respond) })
}

func noRoute() *answer { return failure(http.StatusNotFound, "not.found", "HTTP 404 Not Found") }

// nothing answers for what is no route of the API; nothing is counted.
func (o *Org) nothing(w http.ResponseWriter, _ *http.Request) {
	a := noRoute()
	o.correlate(a)
	w.Header().Set("Date", o.date(o.now()).UTC().Format(http.TimeFormat))
	for name, values := range a.header {
		w.Header()[name] = values
	}
	send(w, a.status, len(a.body), a.body)
}

// ServeHTTP answers for the API, the login host, and /sandbox/.
func (o *Org) ServeHTTP(w http.ResponseWriter, r *http.Request) { o.mux.ServeHTTP(w, r) }

func (o *Org) now() time.Time { return o.options.Clock() }

// SetCredentials replaces the OAuth client's id and secret; tokens stay alive.
func (o *Org) SetCredentials(id, secret string) { o.tokens.setCredentials(id, secret) }

// ExpireTokens ends all access tokens that are out.
func (o *Org) ExpireTokens() { o.tokens.revokeAll() }

func (o *Org) organization(*call) *answer {
	return document(obj("id", o.world.orgID, "name", "Sandbox", "defaultLanguage", "en-us", "state", "active"))
}
