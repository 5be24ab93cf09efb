package sandbox

import (
	"net/http"
	"strings"
)

// Files is how large results come where they are files, as the SDK has it
// (AuditQueryExecutionLargeResultsResponse): only to who says allowRedirect=true,
// with a 302 whose body names the file and the cursor that leads to the next one.
// Each file is a bare array.
type Files struct {
	Events       int  // of one file; 0: all of them
	Location     bool // the 302 has a Location, too
	Notification bool // the events have the shape of audit topics (AuditTopicAuditLogMessage)
}

// Downloads is the host that large results lie on: another one than the API's,
// which must never see the access token. Like such storage does, it refuses a
// request that carries one; the statistics count it.
func (o *Org) Downloads() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		o.serve(w, r, EndpointDownload, o.download)
	})
}

// downloadURL is where the results of a job lie, for who knows the URL: those
// from start on and before end; all of them, as an object, where end is 0.
func (o *Org) downloadURL(j *job, shape form, start, end int) string {
	return o.options.DownloadURL + "/audits/" + j.id + "?signature=" +
		o.seal("d", j.number, uint64(shape), uint64(start), uint64(end))
}

// file answers with the file that begins at start and the cursor of the next one.
func (o *Org) file(c *call, j *job, found []*event, start int, shape form) *answer {
	files := o.options.Files
	if files.Notification {
		shape = formNotification
	}
	end := len(found)
	if files.Events > 0 {
		end = min(start+files.Events, end)
	}
	url := o.downloadURL(j, shape, start, end)
	said := obj("id", j.id, "downloadUrl", url)
	if end < len(found) {
		said = said.with("cursor", o.seal("c", j.number, uint64(end), uint64(c.now.UnixMilli())))
	}
	a := jsonAnswer(http.StatusFound, appendJSON(nil, said))
	if files.Location {
		a.with("Location", url)
	}
	return a
}

func (o *Org) download(c *call) *answer {
	if c.Header.Get("Authorization") != "" {
		o.stats.violate(func(v *Violations) { v.TokenToDownload++ })
		return failure(http.StatusBadRequest, "InvalidArgument", "Only one auth mechanism allowed")
	}
	n, ok := o.unseal("d", c.URL.Query().Get("signature"), 4)
	j, _ := o.job(strings.TrimPrefix(c.URL.Path, "/audits/"), c.now)
	if !ok || j == nil || n[0] != j.number {
		return failure(http.StatusForbidden, "AccessDenied", "Request has expired")
	}
	shape, start, end := form(n[1]), int(n[2]), int(n[3])
	if end == 0 {
		return o.resultsPage(j, j.found, len(j.found), "", shape)
	}
	buffer := buffers.Get().(*[]byte)
	body := append((*buffer)[:0], '[')
	body = o.appendEvents(body, j.found[start:end], shape)
	a := jsonAnswer(http.StatusOK, append(body, ']'))
	a.buffer, a.shown, a.form = buffer, j.found[start:end], shape
	return a
}
