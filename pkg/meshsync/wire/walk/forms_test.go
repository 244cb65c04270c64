package walk

import (
	"bytes"
	"fmt"
	"testing"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"meshery.io/operator/test/consumer"
)

var deployments = schema.GroupVersionKind{Group: "apps", Version: "v1", Kind: "Deployment"}

// received is what a consumer makes of the wire form of an object.
func received(t *testing.T, event string, object []byte) consumer.Object {
	t.Helper()
	message, err := consumer.Decode(fmt.Appendf(nil, `{"ObjectType":"meshsync-data","EventType":%q,"Request":null,"Object":%s}`, event, object))
	if err != nil {
		t.Fatalf("%v in %s", err, object)
	}
	return message.Object
}

// The items of lists come without a kind, and objects without anything but metadata with that of another.
func TestObjectsAreOfTheKindThatTheyWereAskedForAs(t *testing.T) {
	for _, data := range []string{
		` { "metadata" : { "name" : "x" , "uid" : "u" , "labels" : null , "resourceVersion" : "7" } , "spec" : null } `,
		`{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":{"name":"x","uid":"u","resourceVersion":"7"}}`,
	} {
		const want = `{"id":"","model":"","cluster_id":"` + clusterID + `","apiVersion":"apps/v1","kind":"Deployment",` +
			`"metadata":{"id":"","cluster_id":"","name":"x","uid":"u","resourceVersion":"7"},"pattern_resource":null,"component_metadata":null}`
		kind := NewKind(deployments, Options{ClusterID: clusterID})
		got, _, err := kind.Append(nil, []byte(data), false)
		if err != nil || string(got) != want {
			t.Errorf("got  %s, %v\nwant %s", got, err, want)
		}
		slowly, _, err := kind.AppendSlowly(nil, []byte(data), false)
		if err != nil || received(t, "ADDED", slowly).Key() != received(t, "ADDED", got).Key() {
			t.Errorf("slowly %s, %v", slowly, err)
		}
	}
}

func TestMetadataOnlyIsOnlyMetadata(t *testing.T) {
	data := []byte(`{"spec":{"a":1},"metadata":{"name":"x","uid":"u","resourceVersion":"7","labels":{"a":"b"}},"status":{},"data":{},"type":"t","immutable":true}`)
	kind := NewKind(deployments, Options{ClusterID: clusterID, MetadataOnly: true})
	for way, appendTo := range map[string]func([]byte, []byte, bool) ([]byte, Identity, error){"walked": kind.Append, "slowly": kind.AppendSlowly} {
		got, _, err := appendTo(nil, data, false)
		if err != nil {
			t.Fatal(err)
		}
		object := received(t, "ADDED", got)
		if object.Spec != nil || object.Status != nil || object.Data != "" || object.Type != "" || object.Immutable != "" || len(object.Metadata.Labels) != 1 {
			t.Errorf("%s: got %s", way, got)
		}
	}
}

// Nothing but the resourceVersion changes when nothing else does.
func TestTheVersionCanBeLeftOut(t *testing.T) {
	kind := NewKind(deployments, Options{ClusterID: clusterID})
	content := func(version string) []byte {
		data := fmt.Appendf(nil, `{"metadata":{"uid":"u","resourceVersion":%q,"name":"x","generation":2},"spec":{}}`, version)
		got, identity, err := kind.Append(nil, data, false)
		if err != nil || string(got[identity.VersionStart:identity.VersionEnd]) != fmt.Sprintf("%q", version) {
			t.Fatalf("%v, %+v in %s", err, identity, got)
		}
		return append(got[:identity.VersionStart:identity.VersionStart], got[identity.VersionEnd:]...)
	}
	if a, b := content("7"), content("12345"); !bytes.Equal(a, b) {
		t.Errorf("%s\nis not %s", a, b)
	}
}

func TestOfWhatIsGoneTheIdentityIsEnough(t *testing.T) {
	kind := NewKind(deployments, Options{ClusterID: clusterID})
	for _, name := range []string{"x", `a"b\<é>` + "\n"} {
		got := received(t, "DELETED", kind.Deleted(nil, "demo", name, "u", "7"))
		if got.Kind != "Deployment" || got.APIVersion != "apps/v1" || got.ClusterID != clusterID || got.Metadata.Namespace != "demo" ||
			got.Metadata.Name != name || got.Metadata.UID != "u" || got.Metadata.ResourceVersion != "7" {
			t.Errorf("got %+v", got)
		}
	}
	if got := received(t, "DELETED", kind.Deleted(nil, "", "x", "u", "7")); got.Metadata.Namespace != "" {
		t.Errorf("got %+v", got)
	}
}

func TestIdentify(t *testing.T) {
	tests := map[string]struct{ data, namespace, name, uid, version string }{
		"in the order of typed objects": {`{"kind":"Pod","metadata":{"name":"x","namespace":"n","uid":"u","resourceVersion":"7",,,`, "n", "x", "u", "7"},
		"in that of others":             {`{"a":[{}],"metadata":{"labels":{"name":"y"},"name":"x","resourceVersion":"7","uid":"u"}`, "", "x", "u", "7"},
		"of an odd spelling":            {`{"metadata":{"name":"a\u0026\"é","uid":""}}`, "", `a&"é`, "", ""},
		"nothing":                       {`{"metadata":{}}`, "", "", "", ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := Identify([]byte(test.data))
			if err != nil || string(got.Namespace) != test.namespace || string(got.Name) != test.name || string(got.UID) != test.uid ||
				string(got.ResourceVersion) != test.version {
				t.Errorf("got %s, %v", named(got), err)
			}
		})
	}
	for _, data := range []string{"", "{}", "[]", `{"metadata":null}`, `{"metadata":{"name":1}}`, `{"metadata":{"name":"x"`, `{"m\u0065tadata":{}}`} {
		if got, err := Identify([]byte(data)); err == nil {
			t.Errorf("%s: got %s", data, named(got))
		}
	}
	data := pod(t)
	if allocations := testing.AllocsPerRun(100, func() { _, _ = Identify(data) }); allocations > 0 {
		t.Errorf("%v allocations", allocations)
	}
}
