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

// values writes data, stringData or binaryData as a string with JSON in it; of what does not leave the cluster only the keys.
func (w *writer) values(before, replacement string) error {
	hidden, err := w.hidden()
	switch {
	case err != nil:
		return err
	case hidden:
		return w.keys(before, replacement)
	}
	return w.embed(before, `"`)
}

// hidden reports whether the values of the object do not leave the cluster. The name of a ConfigMap may stand behind them.
func (w *writer) hidden() (bool, error) {
	if !w.configMap {
		return w.secret, nil
	}
	if w.sawMetadata {
		return wire.IsHelmRelease(string(w.identity.Name)), nil
	}
	identity, err := Identify(w.data)
	return wire.IsHelmRelease(string(identity.Name)), err
}

// keys writes a map with the same replacement for every value. What should be a map and is none is left out.
func (w *writer) keys(before, replacement string) error {
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

// redacted returns what may leave the cluster of an annotation. Both it and its name are in quotes.
func (w *writer) redacted(key, value []byte) ([]byte, error) {
	if !w.redacts || !w.secret && !mayHoldSecrets(key, value) {
		return value, nil
	}
	var name, text string
	if err := json.Unmarshal(key, &name); err != nil {
		return nil, err
	}
	if err := json.Unmarshal(value, &text); err != nil {
		return nil, err
	}
	redact := wire.RedactAnnotation
	if w.secret {
		own, err := w.ownValues()
		if err != nil {
			return nil, err
		}
		redact = own.RedactAnnotation
	}
	redacted := redact(name, text)
	if redacted == text {
		return value, nil
	}
	return json.Marshal(redacted)
}

// mayHoldSecrets tells annotations worth to be decoded, however they are spelt: few are.
func mayHoldSecrets(key, value []byte) bool {
	if !bytes.HasSuffix(key, []byte(`last-applied-configuration"`)) && bytes.IndexByte(key, '\\') < 0 {
		return false
	}
	return bytes.Contains(value, []byte("Secret")) || bytes.Contains(value, []byte(`\u`))
}

// ownValues are those of the Secret, read when they are needed first: they stand behind the annotations or before them.
func (w *writer) ownValues() (wire.SecretValues, error) {
	if w.own != nil {
		return w.own, nil
	}
	object := map[string]any{}
	s := scanner{data: w.data}
	err := s.object(func(name []byte) error {
		text, err := s.value()
		if err != nil {
			return err
		}
		switch string(name) {
		case `"data"`, `"stringData"`, `"binaryData"`:
			var values any
			err = json.Unmarshal(text, &values)
			object[string(name[1:len(name)-1])] = values
		}
		return err
	})
	w.own = wire.SecretValuesOf(object)
	return w.own, err
}
