package wire_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	"meshery.io/operator/pkg/meshsync/wire"
	"meshery.io/operator/pkg/meshsync/wire/walk"
	"meshery.io/operator/test/consumer"
)

var update = flag.Bool("update", false, "write the golden files instead of comparing with them")

const clusterID = "5f0a7c1e-9999-4000-8000-000000000009"

// readJSON returns an object as an API server would send it.
func readJSON(t *testing.T, file string) []byte {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	asJSON, err := yaml.YAMLToJSON(text)
	if err != nil {
		t.Fatal(err)
	}
	return asJSON
}

func readObject(t *testing.T, file string) *unstructured.Unstructured {
	t.Helper()
	var obj unstructured.Unstructured
	if err := obj.UnmarshalJSON(readJSON(t, file)); err != nil {
		t.Fatal(err)
	}
	return &obj
}

// message writes a message as the agent does: its start, the object straight from the API server's bytes, and its end.
func message(t *testing.T, file string, event wire.Event, clearSecrets bool) []byte {
	t.Helper()
	kind := walk.NewKind(readObject(t, file).GroupVersionKind(), walk.Options{ClusterID: clusterID, ClearSecrets: clearSecrets})
	body, _, err := kind.Append(wire.AppendStart(nil), readJSON(t, file), event == wire.Deleted)
	if err != nil {
		t.Fatal(err)
	}
	return wire.AppendEnd(body, event)
}

// decodedMessage writes a message the obvious way, from the decoded object.
func decodedMessage(t *testing.T, file string, event wire.Event) []byte {
	t.Helper()
	encoder := wire.NewEncoder(clusterID, false)
	encode := encoder.EncodeObject
	if event == wire.Deleted {
		encode = encoder.EncodeDeleted
	}
	obj := readObject(t, file)
	before := obj.DeepCopy()
	body, err := encode(obj)
	if err != nil {
		t.Fatal(err)
	}
	if !sameJSON(t, before.Object, obj.Object) {
		t.Error("the object was changed")
	}
	return wire.AppendEnd(append(wire.AppendStart(nil), body...), event)
}

func eventOf(name string) wire.Event {
	if strings.HasPrefix(name, "deleted-") {
		return wire.Deleted
	}
	return wire.Added
}

// TestGolden fixes the bytes of every kind of object in testdata and holds them against the contract, also when they were written the
// obvious way: then members stand in another order.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal("no testdata", err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".yaml")
		t.Run(name, func(t *testing.T) {
			got := message(t, file, eventOf(name), false)
			compareGolden(t, filepath.Join("testdata", name+".json"), got)
			for _, body := range [][]byte{got, decodedMessage(t, file, eventOf(name))} {
				if bytes.Contains(body, []byte("canary")) || bytes.Contains(body, []byte("Y2FuYXJ5")) {
					t.Errorf("a secret value leaves the cluster: %s", body)
				}
				if bytes.Contains(body, []byte("managedFields")) {
					t.Error("managedFields are carried")
				}
				decoded, err := consumer.Decode(body)
				if err != nil || decoded.EventType != string(eventOf(name)) {
					t.Errorf("%v in %s", err, body)
				}
			}
		})
	}
}

// TestEndFitsItsRoom: a message gets its end without being copied, whatever has happened.
func TestEndFitsItsRoom(t *testing.T) {
	for _, event := range []wire.Event{wire.Added, wire.Modified, wire.Deleted} {
		if n := len(wire.AppendEnd(nil, event)); n > wire.EndRoom {
			t.Errorf("the end of %s takes %d bytes, EndRoom is %d", event, n, wire.EndRoom)
		}
	}
}

func compareGolden(t *testing.T, file string, got []byte) {
	t.Helper()
	got = append(bytes.Clone(got), '\n')
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("got  %s\nwant %s\n(go test ./pkg/meshsync/wire -update writes it)", got, want)
	}
}

func sameJSON(t *testing.T, a, b map[string]any) bool {
	t.Helper()
	left, err := json.Marshal(a)
	if err != nil {
		t.Fatal(err)
	}
	right, err := json.Marshal(b)
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Equal(left, right)
}

// TestAttributesKeepTheirMeaning compares spec and status with the object they came from: numbers beyond 2^53, text that looks
// like HTML and every kind of null must come out as they went in.
func TestAttributesKeepTheirMeaning(t *testing.T) {
	for _, file := range []string{"testdata/custom.yaml", "testdata/deployment.yaml"} {
		obj := readObject(t, file)
		decoded, err := consumer.Decode(message(t, file, wire.Modified, false))
		if err != nil {
			t.Fatal(err)
		}
		for name, part := range map[string]*consumer.Attribute{"spec": decoded.Object.Spec, "status": decoded.Object.Status} {
			var got unstructured.Unstructured
			if err := got.UnmarshalJSON([]byte(`{"apiVersion":"v1","kind":"x","part":` + part.Attribute + `}`)); err != nil {
				t.Fatal(err)
			}
			if !sameJSON(t, map[string]any{"part": obj.Object[name]}, map[string]any{"part": got.Object["part"]}) {
				t.Errorf("%s %s: got %s", file, name, part.Attribute)
			}
		}
	}
}

func TestSecretsLeaveInClearOnlyWhenAsked(t *testing.T) {
	body := message(t, "testdata/secret.yaml", wire.Added, true)
	for _, want := range []string{"Y2FuYXJ5LTE=", "canary-3", "canary-7"} {
		if !bytes.Contains(body, []byte(want)) {
			t.Errorf("%s is missing in %s", want, body)
		}
	}
}

func TestOddObjectsAreErrors(t *testing.T) {
	encoder := wire.NewEncoder(clusterID, false)
	tests := map[string]map[string]any{
		"no metadata":          {"apiVersion": "v1", "kind": "Pod"},
		"a label is no string": {"apiVersion": "v1", "kind": "Pod", "metadata": map[string]any{"name": "x", "labels": map[string]any{"a": int64(1)}}},
		"labels are no map":    {"apiVersion": "v1", "kind": "Secret", "metadata": map[string]any{"name": "x", "labels": "a"}},
	}
	for name, fields := range tests {
		t.Run(name, func(t *testing.T) {
			if body, err := encoder.EncodeObject(&unstructured.Unstructured{Object: fields}); err == nil {
				t.Errorf("got %s", body)
			}
		})
	}
}

// TestStore counts bytes as a reply does. Not every API server escapes "<": what was written of it must not grow.
func TestStore(t *testing.T) {
	unescaped := walk.NewKind(schema.GroupVersionKind{Group: "example.com", Version: "v1", Kind: "Thing"}, walk.Options{ClusterID: clusterID})
	thing, _, err := unescaped.Append(nil, []byte(`{"metadata":{"name":"x","uid":"u","resourceVersion":"1"},"spec":{"text":"<<<<&&>>>>"}}`), false)
	if err != nil {
		t.Fatal(err)
	}
	service, err := wire.NewEncoder(clusterID, false).EncodeObject(readObject(t, "testdata/service-nodeport.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	body := wire.EncodeStore([][]byte{thing, service})
	if most := len(thing) + len(service) + wire.StoreOverhead(2); len(body) > most {
		t.Errorf("%d bytes, more than the %d that StoreOverhead promises", len(body), most)
	}
	decoded, err := consumer.DecodeStore(body)
	if err != nil || len(decoded) != 2 || decoded[0].Spec.Attribute != `{"text":"<<<<&&>>>>"}` || decoded[1].ComponentMetadata == nil {
		t.Errorf("got %v, %v in %s", decoded, err, body)
	}
}

func TestMeta(t *testing.T) {
	body, err := wire.EncodeMeta("v1.2.3")
	if err != nil || string(body) != `{"Object":"v1.2.3"}` {
		t.Errorf("got %s, %v", body, err)
	}
}

func TestDecodeRequest(t *testing.T) {
	request, err := wire.DecodeRequest([]byte(`{"ObjectType":"","EventType":"","Request":{"Entity":"informer-store","Payload":{"Reply":"a.b"}},"Object":null}`))
	if err != nil || request.Entity != "informer-store" || string(request.Payload) != `{"Reply":"a.b"}` {
		t.Errorf("got %+v, %v", request, err)
	}
	for _, odd := range []string{"", "null", "[]", "7", `{"Request":null}`, `{"Request":{}}`, `{"Request":"x"}`, `{"Request":{"Entity":7}}`} {
		if request, err := wire.DecodeRequest([]byte(odd)); err == nil {
			t.Errorf("%q: got %+v", odd, request)
		}
	}
}

// TestConsumerIsStrict makes sure that the consumer, which the other tests rely on, refuses what it must.
func TestConsumerIsStrict(t *testing.T) {
	good := message(t, "testdata/deployment.yaml", wire.Added, false)
	change := func(old, replacement string) string { return strings.Replace(string(good), old, replacement, 1) }
	bad := map[string]string{
		"member in another case": change(`"ObjectType"`, `"objectType"`),
		"unknown member":         change(`"model":""`, `"model":"","extra":1`),
		"missing member":         change(`,"component_metadata":null`, ``),
		"null metadata":          change(`"resourceVersion":"123"`, `"resourceVersion":null`),
		"event":                  change(`"ADDED"`, `"ADD"`),
		"labels as a map":        change(`"labels":[`, `"labels":{},"x":[`),
		"no cluster":             change(clusterID, ""),
		"no uuid":                change(`"pattern_resource":"5f`, `"pattern_resource":"x5f`),
	}
	for name, body := range bad {
		if body == string(good) {
			t.Fatalf("%s: the message was not changed", name)
		}
		if _, err := consumer.Decode([]byte(body)); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}
