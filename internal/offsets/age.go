package offsets

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

const day = 24 * time.Hour

// FormatAge spells a duration as the variables do, the one spelling that a
// ledger is written with: 10m, 1h30m, 24h, 180d.
func FormatAge(d time.Duration) string {
	if d >= 2*day && d%day == 0 {
		return strconv.FormatInt(int64(d/day), 10) + "d"
	}
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// ParseAge reads a positive duration: what time.ParseDuration takes, or whole days.
func ParseAge(s string) (time.Duration, error) {
	d, err := parseAge(s)
	if err == nil && d <= 0 {
		err = errors.New("it is not positive")
	}
	if err != nil {
		return 0, fmt.Errorf("%.40q is no duration like 90s, 10m, 6h or 180d: %w", s, err)
	}
	return d, nil
}

func parseAge(s string) (time.Duration, error) {
	days, isDays := strings.CutSuffix(s, "d")
	if !isDays {
		return time.ParseDuration(s)
	}
	n, err := strconv.ParseUint(days, 10, 64)
	if err != nil {
		return 0, err
	}
	if n > uint64(math.MaxInt64/day) {
		return 0, strconv.ErrRange
	}
	return time.Duration(n) * day, nil
}
