package web

import "net/http"

func (s *Server) page(w http.ResponseWriter, _ *http.Request) {
	snap := s.source.Snapshot()
	text(w, http.StatusOK, string(snap.Role)+"\n")
}
