package web

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"html/template"
	"net/http"
)

// A page is one document: nothing is fetched to show it, and a copy of it
// that was saved or mailed still looks like this.
var (
	//go:embed page.html
	pageHTML string
	//go:embed fleet.html
	fleetHTML string
	//go:embed page.css
	pageCSS string
	//go:embed fleet.css
	fleetCSS string
	//go:embed page.js
	pageJS string

	pageTemplate = template.Must(template.New("page").Parse(pageHTML))
	// fleetTemplate draws the overview, with the marks of the other page.
	fleetTemplate = template.Must(template.Must(pageTemplate.Clone()).New("fleet").Parse(fleetHTML))

	pagePolicy  = policy(pageCSS, "'none'")
	fleetPolicy = policy(pageCSS+fleetCSS, "'self'") // the filter is a form
)

// policy is the Content-Security-Policy of a page with that style: nothing but the page's
// own style and script counts, whatever an event smuggles in.
func policy(style, forms string) string {
	return "default-src 'none'; style-src " + sourceHash(style) + "; script-src " + sourceHash(pageJS) +
		"; connect-src 'self'; img-src data:; base-uri 'none'; form-action " + forms + "; frame-ancestors 'none'"
}

// sourceHash names an inline style or script in a Content-Security-Policy.
func sourceHash(source string) string {
	sum := sha256.Sum256([]byte(source))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

// page answers with the page of one organisation.
func (s *Server) page(w http.ResponseWriter, v *view) { s.draw(w, pageTemplate, pagePolicy, v) }

// draw answers with a page.
func (s *Server) draw(w http.ResponseWriter, t *template.Template, policy string, view any) {
	var body bytes.Buffer
	if err := t.Execute(&body, view); err != nil {
		s.broken(w, "draw the status page", err)
		return
	}
	w.Header().Set("Content-Security-Policy", policy)
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = w.Write(body.Bytes()) // the client is gone: nobody to tell
}
