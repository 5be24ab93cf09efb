package sandbox

import (
	"net/http"
	"strings"
)

// Downloads is the host that large results lie on: another one than the API's,
// which must never see the access token. Like such storage does, it refuses a
// request that carries one; the statistics count it.
func (o *Org) Downloads() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		o.serve(w, r, EndpointDownload, o.download)
	})
}

// downloadURL is where the results of a job lie, for who knows the URL.
func (o *Org) downloadURL(j *job, shape form) string {
	return o.options.DownloadURL + "/audits/" + j.id + "?signature=" + o.seal("d", j.number, uint64(shape))
}

func (o *Org) download(c *call) *answer {
	if c.Header.Get("Authorization") != "" {
		o.stats.violate(func(v *Violations) { v.TokenToDownload++ })
		return failure(http.StatusBadRequest, "InvalidArgument", "Only one auth mechanism allowed")
	}
	n, ok := o.unseal("d", c.URL.Query().Get("signature"), 2)
	j, _ := o.job(strings.TrimPrefix(c.URL.Path, "/audits/"), c.now)
	if !ok || j == nil || n[0] != j.number {
		return failure(http.StatusForbidden, "AccessDenied", "Request has expired")
	}
	return o.resultsPage(j, j.found, len(j.found), "", form(n[1]))
}
