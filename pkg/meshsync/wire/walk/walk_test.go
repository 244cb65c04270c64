package walk

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	"meshery.io/operator/pkg/meshsync/wire"
)

const clusterID = "5f0a7c1e-9999-4000-8000-000000000009"

// jsonTexts are the members that are strings with JSON in them.
var jsonTexts = map[string]bool{
	"attribute": true, "ownerReferences": true, "finalizers": true, "data": true, "binaryData": true, "stringData": true,
}

// plainly decodes a message so that two that mean the same are equal: the texts in it are decoded too, pairs are a map.
func plainly(t testing.TB, message []byte) any {
	t.Helper()
	var decoded any
	decoder := json.NewDecoder(bytes.NewReader(message))
	decoder.UseNumber()
	if err := decoder.Decode(&decoded); err != nil {
		t.Fatalf("%v in %s", err, message)
	}
	return expand(t, decoded)
}

func expand(t testing.TB, value any) any {
	switch value := value.(type) {
	case map[string]any:
		for name, member := range value {
			text, ok := member.(string)
			switch {
			case ok && jsonTexts[name]:
				value[name] = numbers(t, text)
			case name == "labels" || name == "annotations":
				pairs := map[string]string{}
				for _, pair := range member.([]any) {
					fields := pair.(map[string]any)
					pairs[fields["key"].(string)] = normalise(fields["value"].(string))
				}
				value[name] = pairs
			default:
				value[name] = expand(t, member)
			}
		}
	}
	return value
}

// normalise makes two copies of a redacted object equal.
func normalise(text string) string {
	var value any
	if !strings.HasPrefix(text, "{") || json.Unmarshal([]byte(text), &value) != nil {
		return text
	}
	again, _ := json.Marshal(value)
	return string(again)
}

// numbers decodes JSON with numbers as float64: 1.0 and 1 are the same.
func numbers(t testing.TB, text string) any {
	var value any
	if err := json.Unmarshal([]byte(text), &value); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return value
}

// obvious is what the walk must be equal to.
func obvious(data []byte, event wire.Event, clearSecrets bool) ([]byte, *unstructured.Unstructured, error) {
	obj := &unstructured.Unstructured{}
	if err := obj.UnmarshalJSON(data); err != nil {
		return nil, nil, err
	}
	message, err := wire.NewEncoder(clusterID, clearSecrets).Encode(event, obj)
	if err != nil {
		return nil, nil, err
	}
	var envelope struct{ Object json.RawMessage }
	if err := json.Unmarshal(message, &envelope); err != nil {
		return nil, nil, err
	}
	return envelope.Object, obj, nil
}

func compare(t testing.TB, data []byte, gvk schema.GroupVersionKind, event wire.Event, clearSecrets bool) {
	t.Helper()
	want, obj, err := obvious(data, event, clearSecrets)
	if err != nil {
		t.Fatal(err)
	}
	got, identity, err := NewKind(gvk, clusterID, clearSecrets).Append(nil, data, event == wire.Deleted)
	if err != nil {
		t.Fatalf("%v\n%s", err, data)
	}
	if a, b := plainly(t, got), plainly(t, want); !reflect.DeepEqual(a, b) {
		t.Errorf("walked  %v\nobvious %v\nfrom %s", a, b, data)
	}
	for _, pair := range [][2]string{
		{string(identity.Name), obj.GetName()}, {string(identity.Namespace), obj.GetNamespace()},
		{string(identity.UID), string(obj.GetUID())}, {string(identity.ResourceVersion), obj.GetResourceVersion()},
	} {
		if pair[0] != pair[1] {
			t.Errorf("identity: got %q, want %q", pair[0], pair[1])
		}
	}
}

func TestTheWalkIsEqualToTheObviousWay(t *testing.T) {
	files, err := filepath.Glob("../testdata/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no samples: %v", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			data, err := yaml.YAMLToJSON(text)
			if err != nil {
				t.Fatal(err)
			}
			obj := &unstructured.Unstructured{}
			if err := obj.UnmarshalJSON(data); err != nil {
				t.Fatal(err)
			}
			for _, event := range []wire.Event{wire.Added, wire.Deleted} {
				for _, clearSecrets := range []bool{false, true} {
					compare(t, data, obj.GroupVersionKind(), event, clearSecrets)
				}
			}
		})
	}
}

// FuzzAppend: whatever comes in, nothing panics. What is returned is JSON, and says what the obvious way does.
func FuzzAppend(f *testing.F) {
	files, _ := filepath.Glob("../testdata/*.yaml")
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		data, err := yaml.YAMLToJSON(text)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data, false)
		f.Add(data, true)
	}
	f.Fuzz(func(t *testing.T, data []byte, clearSecrets bool) {
		want, obj, obviousErr := obvious(data, wire.Added, clearSecrets)
		gvk := schema.GroupVersionKind{Version: "v1", Kind: "Secret"}
		if obviousErr == nil {
			gvk = obj.GroupVersionKind()
		}
		got, _, err := NewKind(gvk, clusterID, clearSecrets).Append(nil, data, false)
		switch {
		case err != nil: // the caller goes the obvious way
		case !json.Valid(got):
			t.Fatalf("no JSON: %s\nfrom %s", got, data)
		case obviousErr == nil && !reflect.DeepEqual(plainly(t, got), plainly(t, want)):
			t.Fatalf("walked  %s\nobvious %s\nfrom %s", got, want, data)
		}
	})
}

func pod(b testing.TB) []byte {
	b.Helper()
	data, err := os.ReadFile("testdata/pod.json")
	if err != nil {
		b.Fatal(err)
	}
	return bytes.TrimSpace(data)
}

// A pod costs nothing but the bytes of its message, in a buffer that the caller uses again.
func TestAppendAllocatesNothing(t *testing.T) {
	data := pod(t)
	kind := NewKind(schema.GroupVersionKind{Version: "v1", Kind: "Pod"}, clusterID, false)
	buffer := make([]byte, 0, 2*len(data))
	allocations := testing.AllocsPerRun(100, func() {
		message, _, err := kind.Append(buffer, data, false)
		if err != nil || &message[0] != &buffer[:1][0] {
			t.Fatalf("%v; or the buffer was too small", err)
		}
	})
	if allocations > 0 {
		t.Errorf("%v allocations", allocations)
	}
}

func BenchmarkAppend(b *testing.B) {
	data := pod(b)
	kind := NewKind(schema.GroupVersionKind{Version: "v1", Kind: "Pod"}, clusterID, false)
	buffer := make([]byte, 0, 2*len(data))
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := kind.Append(buffer, data, false); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkObvious(b *testing.B) {
	data := pod(b)
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := obvious(data, wire.Added, false); err != nil {
			b.Fatal(err)
		}
	}
}
