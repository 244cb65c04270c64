package walk

import (
	"encoding/json"
	"errors"
)

// Identity names an object and its state.
type Identity struct {
	// What names it, decoded. The bytes may be those that were read.
	Namespace, Name, UID, ResourceVersion []byte
	// Where the resourceVersion stands, with its quotes, in what was appended (in what was read, from Identify): what is there changes
	// with everything that changes the object, so that a hash of its content must leave it out. Both are 0 where there is none.
	VersionStart, VersionEnd int
}

// errIdentified ends a walk that has found what it is for.
var errIdentified = errors.New("identified")

// Identify reads only the identity of an object, and no further than it has to.
func Identify(data []byte) (Identity, error) {
	r := identifier{scanner: scanner{data: data}}
	err := r.object(r.member)
	switch {
	case errors.Is(err, errIdentified):
		return r.identity, nil
	case err == nil: // there was no metadata
		err = errMember
	}
	return Identity{}, r.failed(err)
}

// identifier reads the identity of one object.
type identifier struct {
	scanner
	identity Identity
}

func (r *identifier) member(name []byte) error {
	if string(name) != `"metadata"` {
		return r.notCarried(name)
	}
	if err := r.object(r.metadataMember); err != nil {
		return err
	}
	return errIdentified
}

func (r *identifier) metadataMember(name []byte) error {
	var err error
	switch string(name) {
	case `"namespace"`:
		_, err = r.textOnce(&r.identity.Namespace)
	case `"name"`:
		_, err = r.textOnce(&r.identity.Name)
	case `"uid"`:
		_, err = r.textOnce(&r.identity.UID)
	case `"resourceVersion"`:
		var text []byte
		text, err = r.textOnce(&r.identity.ResourceVersion)
		if len(r.identity.ResourceVersion) > 0 {
			r.identity.VersionStart, r.identity.VersionEnd = r.at-len(text), r.at
		}
	default:
		return r.notCarried(name)
	}
	if err == nil && r.identity.Namespace != nil && r.identity.Name != nil && r.identity.UID != nil && r.identity.ResourceVersion != nil {
		return errIdentified
	}
	return err
}

// textOnce reads a string that may come once. It returns it as it was read, and decoded in into.
func (s *scanner) textOnce(into *[]byte) ([]byte, error) {
	text, err := s.text()
	if err != nil {
		return nil, err
	}
	if *into != nil {
		return nil, errTwice
	}
	*into, err = decoded(text)
	return text, err
}

// decoded is what a string says. Hardly any identifier is not spelt as itself.
func decoded(text []byte) ([]byte, error) {
	for _, c := range text {
		if c == '\\' || c >= 0x80 {
			var decoded string
			err := json.Unmarshal(text, &decoded)
			return []byte(decoded), err
		}
	}
	return text[1 : len(text)-1], nil
}
