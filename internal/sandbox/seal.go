package sandbox

import (
	"encoding/base64"
	"encoding/binary"
)

// seal makes an opaque token of numbers, masked and with a checksum of the seed.
func (o *Org) seal(purpose string, numbers ...uint64) string {
	mask := o.checksum(purpose, nil)
	b := binary.BigEndian.AppendUint64(nil, o.checksum(purpose, numbers))
	for _, n := range numbers {
		b = binary.BigEndian.AppendUint64(b, n^mask)
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

// unseal opens a token of so many numbers; false for one that seal did not make.
func (o *Org) unseal(purpose, token string, count int) ([]uint64, bool) {
	b, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil || len(b) != 8*(count+1) {
		return nil, false
	}
	mask := o.checksum(purpose, nil)
	numbers := make([]uint64, count)
	for i := range numbers {
		numbers[i] = binary.BigEndian.Uint64(b[8*(i+1):]) ^ mask
	}
	return numbers, binary.BigEndian.Uint64(b) == o.checksum(purpose, numbers)
}

func (o *Org) checksum(purpose string, numbers []uint64) uint64 {
	d := roll(o.world.seed, uint64(purpose[0]))
	for _, n := range numbers {
		d = roll(uint64(d), n)
	}
	return uint64(d)
}
