package walk

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"
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

// compare holds what the walk makes of an object against the obvious way, as an object that is there and as one that is gone.
func compare(t testing.TB, data []byte, gvk schema.GroupVersionKind, o Options) {
	t.Helper()
	kind := NewKind(gvk, o)
	for _, deleted := range []bool{false, true} {
		want, wanted, err := kind.AppendSlowly(nil, data, deleted)
		if err != nil {
			t.Fatal(err)
		}
		got, identity, err := kind.Append([]byte("before"), data, deleted)
		if err != nil {
			t.Fatalf("%v\n%s", err, data)
		}
		got = got[len("before"):]
		if a, b := plainly(t, got), plainly(t, want); !reflect.DeepEqual(a, b) {
			t.Errorf("walked  %v\nobvious %v\nfrom %s", a, b, data)
		}
		identified, err := Identify(data)
		if err != nil {
			t.Errorf("%v\n%s", err, data)
		}
		for way, is := range map[string]struct {
			identity Identity
			in       []byte
		}{"walked": {identity, got}, "obvious": {wanted, want}, "identified": {identified, data}} {
			if named(is.identity) != named(wanted) || !versionStands(is.identity, is.in) {
				t.Errorf("%s %s, not %s, or it stands elsewhere in %s", way, named(is.identity), named(wanted), is.in)
			}
		}
	}
}

// named is an identity to compare and to print.
func named(i Identity) string {
	return fmt.Sprintf("%q/%q uid %q version %q", i.Namespace, i.Name, i.UID, i.ResourceVersion)
}

// versionStands reports whether the resourceVersion stands where the identity says.
func versionStands(identity Identity, in []byte) bool {
	if identity.VersionEnd == 0 {
		return len(identity.ResourceVersion) == 0
	}
	var version string
	err := json.Unmarshal(in[identity.VersionStart:identity.VersionEnd], &version)
	return err == nil && version == string(identity.ResourceVersion)
}

func everyOption() []Options {
	return []Options{
		{ClusterID: clusterID}, {ClusterID: clusterID, ClearSecrets: true},
		{ClusterID: clusterID, MetadataOnly: true}, {ClusterID: clusterID, ClearSecrets: true, MetadataOnly: true},
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
			for _, o := range everyOption() {
				compare(t, data, obj.GroupVersionKind(), o)
			}
		})
	}
}

// FuzzAppend: whatever comes in, nothing panics. What is returned is JSON, and says what the obvious way does, if that can read it.
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
		f.Add(data, false, false)
		f.Add(data, true, true)
	}
	walked, refused := oddObjects()
	for _, objects := range []map[string]string{walked, refused} {
		for _, object := range objects {
			f.Add([]byte(object), false, false)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte, clearSecrets, metadataOnly bool) {
		gvk, o := kindOf(data), Options{ClusterID: clusterID, ClearSecrets: clearSecrets, MetadataOnly: metadataOnly}
		if agree(t, data, gvk, o) {
			return
		}
		_, _ = Identify(data)
		if got, _, err := NewKind(gvk, o).Append(nil, data, false); err == nil && !json.Valid(got) {
			t.Fatalf("no JSON: %s\nfrom %s", got, data)
		}
	})
}

// kindOf is the kind that an object says it is of.
func kindOf(data []byte) schema.GroupVersionKind {
	var named metav1.TypeMeta
	if json.Unmarshal(data, &named) != nil || named.Kind == "" {
		return schema.GroupVersionKind{Version: "v1", Kind: "Secret"}
	}
	return named.GroupVersionKind()
}
