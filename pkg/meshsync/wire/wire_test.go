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
	"sigs.k8s.io/yaml"

	"meshery.io/operator/pkg/meshsync/wire"
	"meshery.io/operator/test/consumer"
)

var update = flag.Bool("update", false, "write the golden files instead of comparing with them")

const clusterID = "5f0a7c1e-9999-4000-8000-000000000009"

func readObject(t *testing.T, file string) *unstructured.Unstructured {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	asJSON, err := yaml.YAMLToJSON(text)
	if err != nil {
		t.Fatal(err)
	}
	var obj unstructured.Unstructured
	if err := obj.UnmarshalJSON(asJSON); err != nil {
		t.Fatal(err)
	}
	return &obj
}

func eventOf(name string) wire.Event {
	if strings.HasPrefix(name, "deleted-") {
		return wire.Deleted
	}
	return wire.Added
}

// TestGolden fixes the bytes of every kind of object in testdata and holds them against the contract.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal("no testdata", err)
	}
	encoder := wire.NewEncoder(clusterID, false)
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".yaml")
		t.Run(name, func(t *testing.T) {
			obj := readObject(t, file)
			before := obj.DeepCopy()
			got, err := encoder.Encode(eventOf(name), obj)
			if err != nil {
				t.Fatal(err)
			}
			if !sameJSON(t, before.Object, obj.Object) {
				t.Error("the object was changed")
			}
			if bytes.Contains(got, []byte("canary")) || bytes.Contains(got, []byte("Y2FuYXJ5")) {
				t.Errorf("a secret value leaves the cluster: %s", got)
			}
			if bytes.Contains(got, []byte("managedFields")) {
				t.Error("managedFields are carried")
			}
			if _, err := consumer.Decode(got); err != nil {
				t.Errorf("%v in %s", err, got)
			}
			compareGolden(t, filepath.Join("testdata", name+".json"), got)
		})
	}
}

func compareGolden(t *testing.T, file string, got []byte) {
	t.Helper()
	got = append(got, '\n')
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
		body, err := wire.NewEncoder(clusterID, false).Encode(wire.Modified, obj)
		if err != nil {
			t.Fatal(err)
		}
		message, err := consumer.Decode(body)
		if err != nil {
			t.Fatal(err)
		}
		for name, part := range map[string]*consumer.Attribute{"spec": message.Object.Spec, "status": message.Object.Status} {
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
	body, err := wire.NewEncoder(clusterID, true).Encode(wire.Added, readObject(t, "testdata/secret.yaml"))
	if err != nil {
		t.Fatal(err)
	}
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
			if body, err := encoder.Encode(wire.Added, &unstructured.Unstructured{Object: fields}); err == nil {
				t.Errorf("got %s", body)
			}
		})
	}
}

func TestStore(t *testing.T) {
	encoder := wire.NewEncoder(clusterID, false)
	var objects []json.RawMessage
	size := 0
	for _, file := range []string{"testdata/pod.yaml", "testdata/service-nodeport.yaml"} {
		object, err := encoder.EncodeObject(readObject(t, file))
		if err != nil {
			t.Fatal(err)
		}
		objects, size = append(objects, object), size+len(object)
	}
	body, err := wire.EncodeStore(objects)
	if err != nil {
		t.Fatal(err)
	}
	if len(body) > size+wire.StoreOverhead(2) {
		t.Errorf("%d bytes, more than StoreOverhead promises", len(body))
	}
	decoded, err := consumer.DecodeStore(body)
	if err != nil || len(decoded) != 2 || decoded[1].ComponentMetadata == nil {
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
	good, err := wire.NewEncoder(clusterID, false).Encode(wire.Added, readObject(t, "testdata/deployment.yaml"))
	if err != nil {
		t.Fatal(err)
	}
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
	for name, message := range bad {
		if message == string(good) {
			t.Fatalf("%s: the message was not changed", name)
		}
		if _, err := consumer.Decode([]byte(message)); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}
