package convert

import (
	"bytes"
	"iter"
)

// member goes through JSON that is known to be good until it finds a member, and returns its value as it stands there; nil if there is
// none. It decodes nothing, as the library that the existing MeshSync uses.
func member(data []byte, path ...string) []byte {
	for _, name := range path {
		found := []byte(nil)
		for key, value := range members(data) {
			if string(key[1:len(key)-1]) == name {
				found = value
				break
			}
		}
		data = found
	}
	return data
}

// members returns the names, in their quotes, and the values of an object.
func members(data []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func(key, value []byte) bool) {
		for at := 1; at < len(data) && data[at] == '"'; at++ {
			colon := at + length(data[at:])
			end := colon + 1 + length(data[colon+1:])
			if !yield(data[at:colon], data[colon+1:end]) {
				return
			}
			at = end
		}
	}
}

// length of the value that data begins with. There are no spaces: encoding/json wrote it.
func length(data []byte) int {
	depth := 0
	for at := 0; at < len(data); at++ {
		switch data[at] {
		case '"':
			at += textLength(data[at:]) - 1
		case '{', '[':
			depth++
			continue
		case '}', ']':
			depth--
		case ',', ':':
			continue
		default:
			at += scalarLength(data[at:]) - 1
		}
		if depth == 0 {
			return at + 1
		}
	}
	return len(data)
}

// textLength is the length of a string with its quotes.
func textLength(data []byte) int {
	for at := 1; at < len(data); at++ {
		switch data[at] {
		case '\\':
			at++
		case '"':
			return at + 1
		}
	}
	return len(data)
}

// scalarLength is the length of a number, true, false or null.
func scalarLength(data []byte) int {
	if end := bytes.IndexAny(data, ",]}"); end >= 0 {
		return end
	}
	return len(data)
}
