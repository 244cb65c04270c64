package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// dispensable are the members that an object can do without, in the order in which they are given up. What is left says which object
// it is. Labels say where it belongs: they come last.
func dispensable() []string {
	return []string{
		"metadata.annotations", "status", "binaryData", "data", "stringData", "spec",
		"type", "metadata.finalizers", "metadata.ownerReferences", "metadata.labels",
	}
}

// Trim makes a message, with its end, fit into limit bytes: it leaves out members of the object, as if the object had none such, and
// names them in component_metadata.trimmed. One that has room beside those that count more stays. All else is as it was, byte for byte.
// It is not ok when there is no room even for what says which object it is.
func Trim(message []byte, limit int) (trimmed []byte, without []string, ok bool) {
	if len(message) <= limit {
		return message, nil, true
	}
	members, err := appendMembers(nil, json.NewDecoder(bytes.NewReader(message)), "")
	if err != nil || !has(members, memberOfMarks) {
		return nil, nil, false
	}
	for _, name := range dispensable() {
		if has(members, inObject+name) {
			without = append(without, name)
		}
	}
	for i := range slices.Backward(without) {
		if fewer := slices.Delete(slices.Clone(without), i, i+1); len(cut(message, members, fewer)) <= limit {
			without = fewer
		}
	}
	if trimmed = cut(message, members, without); len(trimmed) > limit {
		return nil, nil, false
	}
	return trimmed, without, true
}

// member is where a member of an object stands in a message.
type member struct {
	path            string // of names, such as Object.metadata.labels
	from, value, to int    // from is the comma before it
}

const (
	inObject      = "Object."
	inMetadata    = "Object.metadata."
	memberOfMarks = "Object.component_metadata"
)

func has(members []member, path string) bool {
	return slices.ContainsFunc(members, func(m member) bool { return m.path == path })
}

// cut copies a message without some members of its object.
func cut(message []byte, members []member, without []string) []byte {
	dst, done := make([]byte, 0, len(message)), 0
	for _, m := range members {
		switch {
		case m.path == memberOfMarks:
			dst = appendMark(append(dst, message[done:m.value]...), message[m.value:m.to], without)
		case slices.Contains(without, strings.TrimPrefix(m.path, inObject)):
			dst = append(dst, message[done:m.from]...)
		default:
			continue
		}
		done = m.to
	}
	return append(dst, message[done:]...)
}

// appendMark appends a component_metadata with one member more. It is an object or null.
func appendMark(dst, marks []byte, without []string) []byte {
	dst = append(dst, '{')
	if others, ok := bytes.CutPrefix(marks, []byte("{")); ok {
		if others = bytes.TrimSpace(others[:len(others)-1]); len(others) > 0 {
			dst = append(append(dst, others...), ',')
		}
	}
	return append(append(append(dst, `"trimmed":["`...), strings.Join(without, `","`)...), `"]}`...)
}

// appendMembers appends the members of a message, of the object in it and of its metadata; but not the first of each: what is before
// it is no comma, and it is none of those that are left out.
func appendMembers(dst []member, decoder *json.Decoder, path string) ([]member, error) {
	if token, err := decoder.Token(); err != nil || token != json.Delim('{') {
		return nil, errors.Join(errors.New("no object"), err)
	}
	for first := true; decoder.More(); first = false {
		from := int(decoder.InputOffset())
		name, err := decoder.Token()
		if err != nil {
			return nil, err
		}
		inner := fmt.Sprint(path, name, ".")
		if inner == inObject || inner == inMetadata {
			if dst, err = appendMembers(dst, decoder, inner); err != nil {
				return nil, err
			}
			continue
		}
		var value json.RawMessage
		if err := decoder.Decode(&value); err != nil {
			return nil, err
		}
		if to := int(decoder.InputOffset()); !first {
			dst = append(dst, member{path: fmt.Sprint(path, name), from: from, value: to - len(value), to: to})
		}
	}
	_, err := decoder.Token()
	return dst, err
}
