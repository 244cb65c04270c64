package walk

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
)

// maxDepth of nesting; the API server itself takes no more than 10,000.
const maxDepth = 10_000

var (
	errEnd     = errors.New("it ends too soon")
	errDepth   = errors.New("it is nested too deeply")
	errString  = errors.New("a string is not well-formed")
	errValue   = errors.New("a value is not well-formed")
	errMember  = errors.New("an object is not well-formed")
	errTwice   = errors.New("a member is there twice")
	errNoText  = errors.New("a value that must be a string is none")
	errNoWhole = errors.New("a value that must be a whole number is none")
)

// scanner reads JSON. It checks what is needed to find the ends of values, and that strings that are carried are well-formed; not that
// what stands between the strings of a value makes sense.
type scanner struct {
	data []byte
	at   int
}

// failed says where.
func (s *scanner) failed(err error) error {
	return fmt.Errorf("at byte %d of %d: %w", s.at, len(s.data), err)
}

// space skips white space and returns the byte after it, 0 at the end.
func (s *scanner) space() byte {
	for s.at < len(s.data) {
		switch c := s.data[s.at]; c {
		case ' ', '\t', '\n', '\r':
			s.at++
		default:
			return c
		}
	}
	return 0
}

// text reads a string and returns it with its quotes.
func (s *scanner) text() ([]byte, error) {
	data, start := s.data, s.at
	if start >= len(data) || data[start] != '"' {
		return nil, errNoText
	}
	at := start + 1
	for {
		at += plain(data[at:])
		if at >= len(data) {
			return nil, errEnd
		}
		if data[at] == '"' {
			s.at = at + 1
			return data[start:s.at], nil
		}
		length := escapeLength(data[at:])
		if length == 0 {
			return nil, notEscaped(data[at:])
		}
		at += length
	}
}

// notEscaped says why something is no escape sequence: it may go on where the data ends.
func notEscaped(data []byte) error {
	if data[0] != '\\' || len(data) > 1 && data[1] != 'u' {
		return errString
	}
	if digits := data[min(2, len(data)):]; len(digits) >= 4 || slices.ContainsFunc(digits, func(c byte) bool { return !isHexadecimal(c) }) {
		return errString
	}
	return errEnd
}

// escapeLength is how many bytes an escape sequence has; 0 if it is none, such as a control character.
func escapeLength(data []byte) int {
	if len(data) < 2 || data[0] != '\\' {
		return 0
	}
	switch data[1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 2
	case 'u':
		if len(data) < 6 {
			return 0
		}
		for _, c := range data[2:6] {
			if !isHexadecimal(c) {
				return 0
			}
		}
		return 6
	}
	return 0
}

func isHexadecimal(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}

// class is what a byte is between strings.
type class uint8

const (
	stray   class = iota // it has no business there
	between              // of a number, true, false or null, or a comma, colon or white space
	quote
	opening
	closing
)

var classes = func() (table [256]class) {
	for _, c := range []byte(" \t\n\r,:+-.0123456789eEtrufalsn") {
		table[c] = between
	}
	table['"'], table['{'], table['['], table['}'], table[']'] = quote, opening, opening, closing, closing
	return table
}()

// value skips a value and returns it.
func (s *scanner) value() ([]byte, error) {
	switch s.space() {
	case '"':
		return s.text()
	case '{', '[':
		start := s.at
		length := extent(s.data[start:])
		if length == 0 {
			return nil, errEnd
		}
		s.at += length
		return s.data[start:s.at], nil
	}
	return s.scalar()
}

// scalar reads a number, true, false or null.
func (s *scanner) scalar() ([]byte, error) {
	start := s.at
	for s.at < len(s.data) {
		switch c := s.data[s.at]; {
		case c == ',' || c == '}' || c == ']' || c == ' ' || c == '\t' || c == '\n' || c == '\r':
			if s.at == start {
				return nil, errValue
			}
			return s.data[start:s.at], nil
		case c == ':' || classes[c] != between:
			return nil, errValue
		}
		s.at++
	}
	return s.data[start:s.at], nil
}

// object calls member for every member of an object, with its name in quotes. member must read the value.
func (s *scanner) object(member func(name []byte) error) error {
	if s.space() != '{' {
		return errMember
	}
	s.at++
	if s.space() == '}' {
		s.at++
		return nil
	}
	for {
		s.space()
		name, err := s.text()
		if err != nil {
			return err
		}
		if s.space() != ':' {
			return errMember
		}
		s.at++
		s.space()
		if err := member(name); err != nil {
			return err
		}
		switch s.space() {
		case ',':
			s.at++
		case '}':
			s.at++
			return nil
		default:
			return errMember
		}
	}
}

// notCarried skips the value of a member. One that is spelt with an escape may be another: there is none in the names that Kubernetes
// knows.
func (s *scanner) notCarried(name []byte) error {
	if bytes.IndexByte(name, '\\') >= 0 {
		return errMember
	}
	_, err := s.value()
	return err
}

// appendValue skips a value as value does, and appends it on the way as the content of a JSON string.
func (s *scanner) appendValue(dst []byte) ([]byte, error) {
	s.space()
	depth := 0
	for s.at < len(s.data) {
		c := s.data[s.at]
		switch classes[c] {
		case between:
			if depth == 0 {
				text, err := s.scalar()
				return append(dst, text...), err
			}
			if c > ' ' { // white space means nothing here
				dst = append(dst, c)
			}
			s.at++
			continue
		case quote:
			var err error
			if dst, err = s.appendText(dst); err != nil {
				return nil, err
			}
		case opening:
			if depth++; depth > maxDepth {
				return nil, errDepth
			}
			dst = append(dst, c)
			s.at++
			continue
		case closing:
			if depth--; depth < 0 {
				return nil, errValue
			}
			dst = append(dst, c)
			s.at++
		default:
			return nil, errValue
		}
		if depth == 0 {
			return dst, nil
		}
	}
	return nil, errEnd
}

// appendText does so for a string.
func (s *scanner) appendText(dst []byte) ([]byte, error) {
	data, at := s.data, s.at+1
	dst = append(dst, '\\', '"')
	for {
		before := len(dst)
		dst = appendPlain(dst, data[at:])
		at += len(dst) - before
		if at >= len(data) {
			return nil, errEnd
		}
		if data[at] == '"' {
			s.at = at + 1
			return append(dst, '\\', '"'), nil
		}
		length := escapeLength(data[at:])
		if length == 0 {
			return nil, errString
		}
		dst = append(dst, '\\', '\\')
		if c := data[at+1]; c == '"' || c == '\\' {
			dst = append(dst, '\\')
		}
		dst = append(dst, data[at+1:at+length]...)
		at += length
	}
}
