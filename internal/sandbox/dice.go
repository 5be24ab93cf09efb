package sandbox

import "encoding/hex"

// dice is a small deterministic source of chance (SplitMix64). An event is a
// pure function of the seed and its number, so each has dice of its own: it can
// be written again in another dialect, and no call order can change it.
type dice uint64

func roll(seed, n uint64) dice {
	d := dice(seed ^ n*0x9e3779b97f4a7c15)
	d.next()
	return d
}

func (d *dice) next() uint64 {
	*d += 0x9e3779b97f4a7c15
	z := uint64(*d)
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// n is a number in [0, limit).
func (d *dice) n(limit int) int { return int(d.next() % uint64(limit)) }

// chance is true with the given probability.
func (d *dice) chance(p float64) bool { return float64(d.next()>>11)/(1<<53) < p }

// uuid appends a random (version 4) UUID.
func (d *dice) uuid(dst []byte) []byte {
	var b [16]byte
	hi, lo := d.next(), d.next()
	for i := range 8 {
		b[i], b[8+i] = byte(hi>>(8*i)), byte(lo>>(8*i))
	}
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	for i, cut := range [...]int{0, 4, 6, 8, 10} {
		if i > 0 {
			dst = append(dst, '-')
		}
		dst = hex.AppendEncode(dst, b[cut:[...]int{4, 6, 8, 10, 16}[i]])
	}
	return dst
}

func pick[T any](d *dice, from []T) T { return from[d.n(len(from))] }
