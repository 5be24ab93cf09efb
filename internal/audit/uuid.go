package audit

import "encoding/hex"

// nibbles maps a lower-case hexadecimal digit to its value, all else to notHex.
var nibbles = func() (n [256]byte) {
	for i := range n {
		n[i] = notHex
	}
	for i, c := range []byte("0123456789abcdef") {
		n[c] = byte(i)
	}
	return n
}()

const notHex = 0xff

// uuidPairs is where the 16 pairs of digits stand in the canonical spelling.
var uuidPairs = [16]uint8{0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34}

// ParseUUID reads a UUID in its canonical, lower-case spelling (RFC 9562,
// section 4) and no other: FormatUUID gives the same bytes back.
func ParseUUID(s string) (u [16]byte, ok bool) {
	if len(s) != 36 || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return u, false
	}
	wrong := byte(0)
	for i, at := range uuidPairs {
		high, low := nibbles[s[at]], nibbles[s[at+1]]
		wrong |= high | low
		u[i] = high<<4 | low
	}
	return u, wrong&0xf0 == 0
}

// FormatUUID returns the canonical spelling.
func FormatUUID(u [16]byte) string {
	var s [36]byte
	return string(AppendUUID(s[:0], u))
}

// AppendUUID appends the canonical spelling to dst.
func AppendUUID(dst []byte, u [16]byte) []byte {
	for i, part := range [...][]byte{u[0:4], u[4:6], u[6:8], u[8:10], u[10:16]} {
		if i > 0 {
			dst = append(dst, '-')
		}
		dst = hex.AppendEncode(dst, part)
	}
	return dst
}
