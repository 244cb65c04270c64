package walk

import (
	"bytes"
	"encoding/base64"
	"encoding/json"

	"meshery.io/operator/pkg/meshsync/wire"
)

// What stands for a value that does not leave the cluster, as it is inside of a JSON string.
var (
	redactedText   = `\"` + wire.Redacted + `\"`
	redactedBase64 = `\"` + base64.StdEncoding.EncodeToString([]byte(wire.Redacted)) + `\"`
)

// values writes data as a string with JSON in it; of a Secret only its keys. What should be a map of it and is none is left out.
func (w *writer) values(before, replacement string) error {
	if !w.secret {
		return w.embed(before, `"`)
	}
	if w.space() != '{' {
		_, err := w.value()
		return err
	}
	w.dst = append(append(w.dst, before...), '{')
	first := true
	err := w.object(func(key []byte) error {
		if !first {
			w.dst = append(w.dst, ',')
		}
		first = false
		name := scanner{data: key}
		dst, err := name.appendText(w.dst)
		if err != nil {
			return err
		}
		w.dst = append(append(dst, ':'), replacement...)
		_, err = w.value()
		return err
	})
	w.dst = append(w.dst, `}"`...)
	return err
}

// isCopy tells the annotation in which kubectl keeps a copy of the object, however its name is escaped.
func isCopy(key []byte) bool {
	const name = "kubectl.kubernetes.io/last-applied-configuration"
	if bytes.IndexByte(key, '\\') < 0 {
		return string(key) == `"`+name+`"`
	}
	var text string
	return json.Unmarshal(key, &text) != nil || text == name
}

// redactCopy redacts the copy of a Secret that kubectl keeps in an annotation. It returns nil if nothing of it can be kept.
func redactCopy(quotedCopy []byte) ([]byte, error) {
	var text string
	if err := json.Unmarshal(quotedCopy, &text); err != nil {
		return nil, err
	}
	redacted := wire.RedactCopy(text)
	if redacted == "" {
		return nil, nil
	}
	return json.Marshal(redacted)
}
