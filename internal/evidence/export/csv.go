package export

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"genesys-audit-connector/internal/audit"
)

// columns are those of changes.csv: the fields of the changes topic's schema, in its order.
var columns = []string{
	"auditId", "changeIndex", "changeCount", "timestamp", "userId", "userName", "action", "entityType", "entityId",
	"entityName", "configurationKey", "changeType", "previousValue", "newValue", "previousType", "newType", "orgId",
	"serviceName", "clientId", "status", "level", "application", "remoteIp", "context", "message", "transactionId",
	"memberId", "memberType", "memberName", "divisionId", "divisionName", "resolvedNames", "maskedFields",
}

// csvHead is what the file begins with. Spreadsheets take it for UTF-8 by its first three bytes.
func csvHead() []byte { return []byte("\ufeff" + strings.Join(columns, ",") + "\r\n") }

// appendRow appends a change as a line of the file. encoding/csv is no help: where lines
// end as spreadsheets want it, it alters those in values.
func appendRow(dst []byte, c *audit.Change) []byte {
	text := func(s *string) string {
		if s == nil {
			return ""
		}
		return *s
	}
	pairs := make([]string, 0, len(c.Context))
	for _, k := range slices.Sorted(maps.Keys(c.Context)) {
		pairs = append(pairs, k+"="+c.Context[k])
	}
	for i, value := range [...]string{
		c.AuditID, strconv.Itoa(c.Index), strconv.Itoa(c.Count), c.Time.UTC().Format(audit.TimeFormat),
		text(c.UserID), text(c.UserName), c.Action, c.EntityType, text(c.EntityID), text(c.EntityName), text(c.Key),
		c.Type, text(c.Previous), text(c.New), c.PreviousType, c.NewType, text(c.OrgID), text(c.ServiceName),
		text(c.ClientID), text(c.Status), text(c.Level), text(c.Application), list(c.RemoteIP), list(pairs),
		text(c.Message), text(c.TransactionID), text(c.MemberID), text(c.MemberType), text(c.MemberName),
		text(c.DivisionID), text(c.DivisionName), list(c.ResolvedNames), list(c.MaskedFields),
	} {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendCell(dst, value)
	}
	return append(dst, '\r', '\n')
}

func list(values []string) string { return strings.Join(values, "; ") }

// maxCell is how many characters a cell holds; spreadsheets take 32,767.
const maxCell = 32000

// formula are the characters with which spreadsheets begin a formula, or skip to one.
const formula = "=+-@\t\r\n＝＋－＠"

// appendCell appends a value as spreadsheets show it and never run it.
func appendCell(dst []byte, s string) []byte {
	if !utf8.ValidString(s) {
		s = string([]rune(s))
	}
	if n := utf8.RuneCountInString(s); n > maxCell {
		s = string([]rune(s)[:maxCell]) + "… (" + strconv.Itoa(n) + " characters)"
	}
	if first, _ := utf8.DecodeRuneInString(s); s != "" && strings.ContainsRune(formula, first) {
		s = "'" + s
	}
	if !strings.ContainsAny(s, "\",\r\n") {
		return append(dst, s...)
	}
	dst = append(dst, '"')
	dst = append(dst, strings.ReplaceAll(s, `"`, `""`)...)
	return append(dst, '"')
}
