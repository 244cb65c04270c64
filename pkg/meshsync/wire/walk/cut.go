package walk

// ErrShort is returned for JSON that may go on where the data ends.
var ErrShort = errEnd

// Value returns the JSON value that data begins with, after white space, and how many bytes it takes with that. A number, true, false
// or null may go on behind the end of data: then, too, the error is ErrShort.
func Value(data []byte) (value []byte, length int, err error) {
	s := scanner{data: data}
	if s.space() == 0 {
		return nil, 0, ErrShort
	}
	if value, err = s.value(); err != nil {
		return nil, 0, err
	}
	if c := data[s.at-1]; s.at == len(data) && classes[c] == between {
		return nil, 0, ErrShort
	}
	return value, s.at, nil
}

// Members calls member for every member of the JSON object that data is, in their order, with its name in quotes and its value.
func Members(data []byte, member func(name, value []byte) error) error {
	s := scanner{data: data}
	err := s.object(func(name []byte) error {
		value, err := s.value()
		if err != nil {
			return err
		}
		return member(name, value)
	})
	if err != nil {
		return err
	}
	if s.space() != 0 {
		return errMember
	}
	return nil
}
