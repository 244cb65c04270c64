package wire_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"meshery.io/operator/pkg/meshsync/wire"
	"meshery.io/operator/test/consumer"
)

// large is an object that has everything, in some places a lot of it.
func large(sizes map[string]int) *unstructured.Unstructured {
	text := func(name string) string { return strings.Repeat("x", sizes[name]) }
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "Service", "type": text("type"), "immutable": true,
		"metadata": map[string]any{
			"name": "web", "namespace": "demo", "uid": "u1", "resourceVersion": "7", "generation": int64(3),
			"labels": map[string]any{"app": text("metadata.labels")}, "annotations": map[string]any{"a": text("metadata.annotations")},
			"finalizers": []any{text("metadata.finalizers")}, "ownerReferences": []any{map[string]any{"name": text("metadata.ownerReferences")}},
		},
		"spec":   map[string]any{"ports": []any{map[string]any{"port": int64(80)}}, "clusterIP": "10.0.0.1", "x": text("spec")},
		"status": map[string]any{"x": text("status")},
		"data":   map[string]any{"x": text("data")}, "binaryData": map[string]any{"x": text("binaryData")}, "stringData": map[string]any{"x": text("stringData")},
	}}
}

// encoded is the message about an object, with a component_metadata of its own where one is given.
func encoded(t *testing.T, obj *unstructured.Unstructured, event wire.Event, mark string) []byte {
	t.Helper()
	encode := wire.NewEncoder(clusterID, true).EncodeObject
	if event == wire.Deleted {
		encode = wire.NewEncoder(clusterID, true).EncodeDeleted
	}
	body, err := encode(obj)
	if err != nil {
		t.Fatal(err)
	}
	if mark != "" {
		var object map[string]json.RawMessage
		if err := json.Unmarshal(body, &object); err != nil {
			t.Fatal(err)
		}
		const name = `"component_metadata":`
		body = bytes.Replace(body, append([]byte(name), object["component_metadata"]...), []byte(name+mark), 1)
	}
	return wire.AppendEnd(append(wire.AppendStart(nil), body...), event)
}

func TestTrim(t *testing.T) {
	const limit, capabilities = 1200, `"capabilities":{"connection":true,"urls":["http://10.0.0.1:80"]}`
	for name, test := range map[string]struct {
		sizes   map[string]int
		event   wire.Event
		without []string
		mark    string
	}{
		"everything fits": {event: wire.Added},
		"annotations go first": {
			map[string]int{"metadata.annotations": 300, "status": 200}, wire.Added,
			[]string{"metadata.annotations"}, `{` + capabilities + `,"trimmed":["metadata.annotations"]}`,
		},
		"then the status": {
			map[string]int{"metadata.annotations": 400, "status": 500, "spec": 100}, wire.Modified,
			[]string{"metadata.annotations", "status"}, `{` + capabilities + `,"trimmed":["metadata.annotations","status"]}`,
		},
		"what has room beside the rest stays": {
			map[string]int{"metadata.annotations": 10, "status": 100, "spec": 1000}, wire.Added,
			[]string{"spec"}, `{` + capabilities + `,"trimmed":["spec"]}`,
		},
		"of two the one that counts more stays": {
			map[string]int{"data": 300, "spec": 300}, wire.Added,
			[]string{"data"}, `{` + capabilities + `,"trimmed":["data"]}`,
		},
		"what is gone, too": {
			map[string]int{"metadata.annotations": 600}, wire.Deleted,
			[]string{"metadata.annotations"}, `{"trimmed":["metadata.annotations"]}`,
		},
		"labels go last": {
			map[string]int{
				"metadata.annotations": 1000, "status": 1000, "spec": 1000, "data": 1000, "binaryData": 1000, "stringData": 1000,
				"type": 4000, "metadata.finalizers": 1000, "metadata.ownerReferences": 1000, "metadata.labels": 400,
			}, wire.Added,
			[]string{"metadata.annotations", "status", "binaryData", "data", "stringData", "spec", "type", "metadata.finalizers", "metadata.ownerReferences"},
			`{` + capabilities + `,"trimmed":["metadata.annotations","status","binaryData","data","stringData","spec","type","metadata.finalizers","metadata.ownerReferences"]}`,
		},
		"labels go where nothing else helps": {
			map[string]int{"metadata.labels": 1000}, wire.Deleted,
			[]string{"metadata.labels"}, `{"trimmed":["metadata.labels"]}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			obj := large(test.sizes)
			message := encoded(t, obj, test.event, "")
			for _, member := range test.without {
				unstructured.RemoveNestedField(obj.Object, strings.Split(member, ".")...)
			}
			want := encoded(t, obj, test.event, test.mark)
			got, without, ok := wire.Trim(message, limit)
			if !ok || !slices.Equal(without, test.without) {
				t.Errorf("left out %v, ok is %t", without, ok)
			}
			if !bytes.Equal(got, want) {
				t.Errorf("got  %s\nwant %s", got, want)
			}
		})
	}
}

// testMessages are the messages of all objects in testdata.
func testMessages(t testing.TB) [][]byte {
	files, err := filepath.Glob("testdata/*.json")
	if err != nil || len(files) == 0 {
		t.Fatal("no testdata", err)
	}
	var messages [][]byte
	for _, file := range files {
		message, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		messages = append(messages, bytes.TrimSpace(message))
	}
	return messages
}

// TestTrimToEverySize: whatever the limit, what is left is a message by the contract, about the same object, and says what it lacks.
func TestTrimToEverySize(t *testing.T) {
	for _, message := range append(testMessages(t), encoded(t, large(nil), wire.Added, "")) {
		whole, err := consumer.Decode(message)
		if err != nil {
			t.Fatal(err)
		}
		fitted, least := true, len(message)
		for limit := len(message); limit >= 0; limit-- {
			trimmed, without, ok := wire.Trim(message, limit)
			if ok && (!fitted || len(trimmed) > limit) {
				t.Fatalf("%d bytes for %d, fewer did not fit: %t", len(trimmed), limit, !fitted)
			}
			if fitted = ok; !ok || len(trimmed) == least {
				continue
			}
			least = len(trimmed)
			decoded, err := consumer.Decode(trimmed)
			if err != nil {
				t.Fatalf("%v in %s", err, trimmed)
			}
			if !slices.Equal(decoded.Object.ComponentMetadata.Trimmed, without) || len(without) == 0 {
				t.Errorf("%v is missing in %s", without, trimmed)
			}
			if decoded.EventType != whole.EventType || decoded.Object.Key() != whole.Object.Key() ||
				decoded.Object.Metadata.UID != whole.Object.Metadata.UID || decoded.Object.Metadata.ResourceVersion != whole.Object.Metadata.ResourceVersion {
				t.Errorf("another object: %s", trimmed)
			}
		}
		if fitted {
			t.Errorf("nothing fits into 0 bytes: %s", message)
		}
	}
}

func TestWhatIsNoMessageIsNotTrimmed(t *testing.T) {
	const spec = `"spec":"0123456789012345678901234567890123456789"`
	for _, odd := range []string{
		"", "null", "[]", `{"Object":null}`, `{"Object":[]}`, `{"Object":{"metadata":null}}`, `{"Object":{"id":"",` + spec,
		`{"Object":{"id":"",` + spec + `}}`,                                                     // where would it be said?
		`{"component_metadata":null,"Object":{"id":"",` + spec + `},"component_metadata":null}`, // not there
	} {
		if trimmed, _, ok := wire.Trim([]byte(odd), len(odd)-1); ok {
			t.Errorf("%s: got %s", odd, trimmed)
		}
	}
}

// FuzzTrim: what is no message is refused; valid JSON stays valid, and no larger than it may be.
func FuzzTrim(f *testing.F) {
	for _, message := range testMessages(f) {
		f.Add(message, len(message)-1)
		f.Add(message, 500)
	}
	f.Add([]byte(` { "Object" : { "id" : 1 , "spec" : 2 , "component_metadata" : { } , "metadata" : { "labels" : [ ] } } } `), 90)
	f.Add([]byte(`{"Object":{"spec":"0123456789012345678901234567890123456789","status":1,"component_metadata":[]}}`), 80)
	f.Fuzz(func(t *testing.T, message []byte, limit int) {
		trimmed, _, ok := wire.Trim(message, limit)
		if !ok {
			return
		}
		if len(trimmed) > limit {
			t.Errorf("%d bytes, limit %d", len(trimmed), limit)
		}
		if json.Valid(message) && !json.Valid(trimmed) {
			t.Errorf("%q became %q", message, trimmed)
		}
	})
}
