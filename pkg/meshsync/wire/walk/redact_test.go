package walk

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"meshery.io/operator/pkg/meshsync/wire"
	"meshery.io/operator/test/consumer"
)

var (
	secrets    = schema.GroupVersionKind{Version: "v1", Kind: "Secret"}
	configMaps = schema.GroupVersionKind{Version: "v1", Kind: "ConfigMap"}
)

// annotated is an object with one annotation, and with data.
func annotated(name, value, data string) string {
	quoted, err := json.Marshal(map[string]string{name: value})
	if err != nil {
		panic(err)
	}
	return fmt.Sprintf(`{"metadata":{"name":"x","annotations":%s},"data":%s}`, quoted, data)
}

const (
	kubectls = "kubectl.kubernetes.io/last-applied-configuration"
	planted  = `{"password":"Y2FuYXJ5LTE="}` // canary-1
)

// Both ways leave out every planted value, whatever the object looks like: "canary", or what begins with it in base64.
func TestSecretsDoNotLeaveWhateverTheyLookLike(t *testing.T) {
	tests := map[string]struct {
		kind schema.GroupVersionKind
		data string
	}{
		"as they should be":           {secrets, `{"metadata":{},"data":{"a":"canary"},"stringData":{"b":"canary"},"binaryData":{"c":"canary"}}`},
		"data before metadata":        {secrets, `{"data":` + planted + `,"metadata":{"annotations":{"a":"of canary-1"}}}`},
		"values that are no strings":  {secrets, `{"metadata":{},"data":{"a":["canary",{"b":"canary"}],"c":7,"d":{"canary":1}}}`},
		"data that is no object":      {secrets, `{"metadata":{},"data":"canary","stringData":["canary"]}`},
		"data twice":                  {secrets, `{"metadata":{},"data":{"a":"canary"},"data":{"b":"canary"}}`},
		"data by an escaped name":     {secrets, `{"metadata":{},"dat\u0061":{"a":"canary"}}`},
		"members that nobody expects": {secrets, `{"metadata":{"managedFields":[{"canary":1}]},"Data":{"a":"canary"},"other":"canary"}`},

		"kubectl's copy":                       {secrets, annotated(kubectls, `{"kind":"Secret","data":{"a":"canary"},"stringData":{"b":"canary"},"other":{"x":"canary"}}`, `{}`)},
		"somebody else's copy":                 {secrets, annotated("example.com/last-applied-configuration", `{"data":{"a":"canary"}}`, `{}`)},
		"kapp's copy":                          {secrets, annotated("kapp.k14s.io/original", `{"stringData":{"a":"canary"}}`, `{}`)},
		"a copy in an array":                   {secrets, annotated("a", ` [{"data":{"a":"canary"}},"canary"]`, `{}`)},
		"a copy in a list":                     {secrets, annotated("a", `{"kind":"List","items":[{"data":{"a":"canary"}}]}`, `{}`)},
		"a copy in a copy":                     {secrets, annotated(kubectls, annotated("a", annotated("b", "{}", `{"a":"canary"}`), "{}"), `{}`)},
		"a copy in a string":                   {secrets, annotated("a", `"{\"data\":{\"a\":\"canary\"}}"`, `{}`)},
		"a copy with values astray":            {secrets, annotated(kubectls, `{"kind":{"a":"canary"},"type":["canary"],"immutable":"canary","metadata":{"password":"canary","name":["canary"],"labels":{"a":["canary"]},"annotations":"canary"}}`, `{}`)},
		"a copy that is no object":             {secrets, annotated(kubectls, `canary`, `{}`)},
		"a copy that is cut off":               {secrets, annotated("a", `{"data":{"a":"canary`, `{}`)},
		"a copy with something else behind it": {secrets, annotated("a", `{}"canary"`, `{}`)},
		"a copy by an escaped name":            {secrets, `{"metadata":{"annotations":{"kubectl.kubernetes.io\/last-applied-configuratio\u006e":"{\"data\":{\"a\":\"canary\"}}"}}}`},
		"a packed copy":                        {secrets, annotated("objectset.rio.cattle.io/applied", "H4sIAAAAAAAA/canary", `{}`)},
		"another packed copy":                  {secrets, annotated("banzaicloud.com/last-applied", "UEsDBBQACAAIAcanary", `{}`)},

		"its own value":                   {secrets, annotated("a", "the password is canary-1.", planted)},
		"its own value in base64":         {secrets, annotated("a", "data:\n  password: Y2FuYXJ5LTE=\n", planted)},
		"its own value by its name":       {secrets, annotated("a", `{"canary-1":{}}`, planted)},
		"its own value with a line end":   {secrets, annotated("a", "canary-1", `{"password":"Y2FuYXJ5LTEK"}`)},
		"its own value in the stringData": {secrets, `{"metadata":{"annotations":{"a":"(canary-2)"}},"stringData":{"password":"canary-2"}}`},

		"a copy that is of another kind": {configMaps, annotated(kubectls, `{"kind": "Secret","data":{"a":"canary"}}`, `{}`)},
		"a list with a Secret in it":     {configMaps, annotated(kubectls, `{"kind":"List","items":[{"kind":"ConfigMap"},{"kind":"Secret","metadata":{},"stringData":{"a":"canary"}}]}`, `{}`)},
		"what may be a copy":             {configMaps, annotated(kubectls, `{"kind":"Secret","data":{"a":"canary`, `{}`)},
		"something else behind it":       {configMaps, annotated(kubectls, `{"kind":"ConfigMap"}{"kind":"Secret","data":{"a":"canary"}}`, `{}`)},
		"one by an escaped name":         {configMaps, `{"metadata":{"annotations":{"a\/last-applied-configuratio\u006e":"{\"kind\":\"S\u0065cret\",\"data\":{\"a\":\"canary\"}}"}}}`},
		"a Helm release":                 {configMaps, `{"metadata":{"name":"sh.helm.release.v1.web.v1","labels":{"owner":"helm"}},"data":{"release":"canary"},"binaryData":{"x":"canary"}}`},
		"a Helm release, its name last":  {configMaps, `{"data":{"release":"canary"},"metadata":{"name":"sh.helm.release.v1.web.v1"}}`},
		"a Helm release, escaped":        {configMaps, `{"metadata":{"name":"sh.helm.rel\u0065ase.v1.web.v1"},"data":{"release":"canary"}}`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			for _, metadataOnly := range []bool{false, true} {
				o := Options{ClusterID: clusterID, MetadataOnly: metadataOnly}
				agree(t, []byte(test.data), test.kind, o)
				kind := NewKind(test.kind, o)
				for way, appendTo := range map[string]func([]byte, []byte, bool) ([]byte, Identity, error){"walked": kind.Append, "slowly": kind.AppendSlowly} {
					got, _, err := appendTo(nil, []byte(test.data), false)
					if text := fmt.Sprint(string(got), err); strings.Contains(text, "canary") || strings.Contains(text, "Y2FuYXJ5") {
						t.Errorf("%s: got %s", way, text)
					}
				}
			}
		})
	}
}

// What is no secret is left alone, and of what is one the keys stay.
func TestOnlySecretsAreRedacted(t *testing.T) {
	role := schema.GroupVersionKind{Group: "rbac.authorization.k8s.io", Version: "v1", Kind: "Role"}
	inBase64 := base64.StdEncoding.EncodeToString([]byte(wire.Redacted))
	tests := map[string]struct {
		kind        schema.GroupVersionKind
		name, value string
		data        string
		want        string // "" is the same
		wantData    string
	}{
		"an annotation of a Secret":          {secrets, "a", "b", planted, "", `{"password":"` + inBase64 + `"}`},
		"one with a short value in it":       {secrets, "a", "of admin", `{"user":"YWRtaW4="}`, "", `{"user":"` + inBase64 + `"}`},
		"the namespace of a token":           {secrets, "a", "the-namespace", `{"namespace":"dGhlLW5hbWVzcGFjZQ=="}`, "", `{"namespace":"` + inBase64 + `"}`},
		"the keys of a copy":                 {secrets, kubectls, `{"kind":"Secret","metadata":{"name":"x","labels":{"a":"b"}},"type":"t","data":{"a":"b"}}`, `{}`, `{"data":{"a":"` + inBase64 + `"},"kind":"Secret","metadata":{"labels":{"a":"b"},"name":"x"},"type":"t"}`, `{}`},
		"the copy of another":                {configMaps, kubectls, `{"kind":"ConfigMap","data":{"a":"Secret"}}`, `{"a":"Secret"}`, "", `{"a":"Secret"}`},
		"a reference to one":                 {configMaps, kubectls, `{"spec":[{"kind":"Secret","name":"x"}]}`, `{}`, "", `{}`},
		"a copy that is none":                {role, "x/last-applied-configuration", `not JSON`, `{}`, "", `{}`},
		"JSON of another":                    {configMaps, "x", `{"kind":"Secret","data":{"a":"b"}}`, `{}`, "", `{}`},
		"a Secret of somebody else's making": {schema.GroupVersionKind{Group: "example.com", Version: "v1", Kind: "Secret"}, "a", "{}", planted, "", planted},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			data := []byte(strings.Replace(annotated(test.name, test.value, test.data), `"x"`, `"x","uid":"u","resourceVersion":"7"`, 1))
			compare(t, data, test.kind, Options{ClusterID: clusterID})
			got, _, err := NewKind(test.kind, Options{ClusterID: clusterID}).Append(nil, data, false)
			if err != nil {
				t.Fatal(err)
			}
			if test.want == "" {
				test.want = test.value
			}
			object := received(t, "ADDED", got)
			if annotation := object.Metadata.Annotations[0]; annotation.Key != test.name || annotation.Value != test.want || object.Data != test.wantData {
				t.Errorf("got %s", got)
			}
		})
	}
}

// FuzzRedact: whatever an annotation of a Secret says, the Secret's own value is not in it any more, and both ways agree.
func FuzzRedact(f *testing.F) {
	for _, value := range []string{"hunter22", `{"data":{"a":"hunter22"}}`, `[{"hunter22":"aHVudGVyMjI="}]`, `"hunter22`, "H4sI", "", `{"metadata":{"annotations":{"a":"{}"}}}`} {
		f.Add(kubectls, value, "hunter22")
		f.Add("a", value, "hunter22")
	}
	kind := NewKind(secrets, Options{ClusterID: clusterID})
	f.Fuzz(func(t *testing.T, name, value, secret string) {
		if secret = strings.TrimSpace(secret); len(secret) < 6 || strings.Contains(wire.Redacted, secret) {
			return
		}
		inBase64 := base64.StdEncoding.EncodeToString([]byte(secret))
		data := []byte(annotated(name, value, `{"password":"`+inBase64+`"}`))
		compare(t, data, secrets, Options{ClusterID: clusterID})
		got, _, err := kind.Append(nil, data, false)
		if err != nil {
			t.Fatal(err)
		}
		var object consumer.Object
		if err := json.Unmarshal(got, &object); err != nil {
			t.Fatal(err)
		}
		if slices.ContainsFunc(object.Metadata.Annotations, func(pair consumer.KeyValue) bool {
			return strings.Contains(pair.Value, secret) || strings.Contains(pair.Value, inBase64)
		}) {
			t.Errorf("got %s", got)
		}
	})
}
