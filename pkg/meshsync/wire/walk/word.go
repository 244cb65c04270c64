package walk

import (
	"encoding/binary"
	"math/bits"
)

// Bytes are looked at eight at a time, as one word. Those that are found are marked in the highest bit of each; the first is the lowest.
const (
	everyByte = 0x0101010101010101
	highBits  = 0x8080808080808080
	lowBits   = ^uint64(highBits)
)

// word reads the first eight bytes, with zeros behind the end.
func word(data []byte) uint64 {
	if len(data) >= 8 {
		return binary.LittleEndian.Uint64(data)
	}
	var padded [8]byte
	copy(padded[:], data)
	return binary.LittleEndian.Uint64(padded[:])
}

// marked is how many bytes stand before the first that is marked: 8 if none is.
func marked(marks uint64) int { return bits.TrailingZeros64(marks) / 8 }

// equal marks the bytes that are c, which must be below 0x80: for any other, adding 0x7f to what differs carries into the highest bit.
func equal(x, c uint64) uint64 { return ^((x&lowBits ^ everyByte*c) + lowBits | x) & highBits }

// specials marks the bytes that mean more than themselves in a string: quotes, backslashes and control characters. Only the lowest mark
// is certain. The trick: x-1 borrows into the high bit of a byte that was 0, and x-0x20 into that of one below 0x20, where the bit was
// not set before; a false mark can only stand above a true one.
func specials(x uint64) uint64 {
	quote, backslash := x^(everyByte*'"'), x^(everyByte*'\\')
	return ((quote-everyByte)&^quote | (backslash-everyByte)&^backslash | (x-everyByte*0x20)&^x) & highBits
}

// extent is how many bytes the object or array has that data begins with; 0 if it does not end. Nothing in it is looked at but strings,
// which may have brackets in them, and brackets: what is skipped may be anything. Most of it is managedFields, with many short strings in
// them, so no branch depends on where strings begin and end: no processor could predict it.
func extent(data []byte) int {
	depth := 0
	var inside uint64  // every bit, if the word begins inside of a string
	var escaped uint64 // marks the first byte, if a backslash stands before the word
	for at := 0; at < len(data); at += 8 {
		x := word(data[at:])
		quotes, backslashes := equal(x, '"'), equal(x, '\\')
		if backslashes&(backslashes<<8|escaped) != 0 {
			backslashes = escaping(backslashes, escaped)
		}
		quotes &^= backslashes<<8 | escaped
		escaped = backslashes >> 63 << 7
		// A byte is inside of a string if the number of quotes up to it is odd.
		strings := quotes>>7*everyByte<<7 ^ inside
		inside = -(strings >> 63)

		// Brackets differ in three bits only, and one of these says which close. Nothing else that may stand outside of strings is equal to
		// them in the other bits.
		brackets := equal(x&^(everyByte*0x26), '['&^0x26) &^ strings
		closing := brackets & (x << 5)
		if closed := bits.OnesCount64(closing); depth > closed {
			depth += bits.OnesCount64(brackets) - 2*closed
			continue
		}
		for ; brackets != 0; brackets &= brackets - 1 { // the last may be one of these
			if brackets&-brackets&closing == 0 {
				depth++
			} else if depth--; depth == 0 {
				return at + marked(brackets) + 1
			}
		}
	}
	return 0
}

// escaping leaves out the backslashes that stand behind another, and mean nothing but themselves. escaped marks the first byte if it does.
func escaping(backslashes, escaped uint64) uint64 {
	for rest := backslashes; rest != 0; rest &= rest - 1 {
		if one := rest & -rest; one&escaped != 0 {
			backslashes &^= one
		} else {
			escaped = one << 8
		}
	}
	return backslashes
}

// plain returns how many bytes at the beginning are not special.
func plain(data []byte) int {
	at := 0
	for ; at+8 <= len(data); at += 8 {
		if special := specials(binary.LittleEndian.Uint64(data[at:])); special != 0 {
			return at + marked(special)
		}
	}
	for ; at < len(data); at++ {
		if c := data[at]; c == '"' || c == '\\' || c < 0x20 {
			break
		}
	}
	return at
}

// appendPlain appends what plain counts.
func appendPlain(dst, data []byte) []byte {
	for len(data) >= 8 {
		x := binary.LittleEndian.Uint64(data)
		special := specials(x)
		dst = binary.LittleEndian.AppendUint64(dst, x)
		if special != 0 {
			return dst[:len(dst)-8+marked(special)]
		}
		data = data[8:]
	}
	return append(dst, data[:plain(data)]...)
}
