package walk

import (
	"errors"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

func TestWhatCannotBeReadIsAnError(t *testing.T) {
	deep := strings.Repeat("[", maxDepth+1)
	tests := map[string]struct {
		data string
		want error
	}{
		"nothing":                       {"", errMember},
		"no object":                     {`"text"`, errMember},
		"no metadata":                   {`{"kind":"Pod"}`, errMember},
		"metadata that is no object":    {`{"metadata":null}`, errMember},
		"metadata twice":                {`{"metadata":{},"metadata":{}}`, errMember},
		"something behind it":           {`{"metadata":{}}{}`, errMember},
		"no colon":                      {`{"metadata" {}}`, errMember},
		"no comma":                      {`{"metadata":{} "spec":{}}`, errMember},
		"a comma too many":              {`{"metadata":{},}`, errNoText},
		"the end in a string":           {`{"metadata":{"name":"x`, errEnd},
		"the end in a value":            {`{"metadata":{},"spec":{"a":[1,2`, errEnd},
		"the end behind a backslash":    {`{"metadata":{"generateName":"x\`, errString},
		"the end in an escape":          {`{"metadata":{"generateName":"\u00`, errString},
		"an escape that is none":        {`{"metadata":{"generateName":"\x"}}`, errString},
		"a line break in a string":      {"{\"metadata\":{},\"spec\":\"a\nb\"}", errString},
		"a name with an escape":         {`{"metadata":{"name":"\u0061"}}`, errString},
		"two names":                     {`{"metadata":{"name":"a","name":"b"}}`, errString},
		"a name that is no string":      {`{"metadata":{"name":7}}`, errNoText},
		"a label that is no string":     {`{"metadata":{"labels":{"a":1}}}`, errNoText},
		"labels that are no object":     {`{"metadata":{"labels":7}}`, errMember},
		"labels that are almost null":   {`{"metadata":{"labels":nul}}`, errNoText},
		"a broken generation":           {`{"metadata":{"generation":1.5}}`, errNoWhole},
		"brackets that close too often": {`{"metadata":{},"spec":]}`, errValue},
		"a stray byte":                  {`{"metadata":{},"spec":{"a":#}}`, errValue},
		"no value":                      {`{"metadata":{},"other":}`, errValue},
		"a colon for a value":           {`{"metadata":{},"other"::}`, errValue},
		"too deep, carried":             {`{"metadata":{},"spec":` + deep, errDepth},
		"too deep, not carried":         {`{"metadata":{},"other":` + deep, errDepth},
	}
	kind := NewKind(schema.GroupVersionKind{Version: "v1", Kind: "Pod"}, clusterID, false)
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			before := []byte("kept")
			got, identity, err := kind.Append(before, []byte(test.data), false)
			if !errors.Is(err, test.want) || string(got) != "kept" || identity.Name != nil {
				t.Errorf("got %q, %v; want %v", got, err, test.want)
			}
		})
	}
}

// What comes without a kind, as the items of lists do, gets that of the list.
func TestItemsGetTheKindOfTheirList(t *testing.T) {
	kind := NewKind(schema.GroupVersionKind{Group: "apps", Version: "v1", Kind: "Deployment"}, clusterID, false)
	got, identity, err := kind.Append(nil, []byte(` { "metadata" : { "name" : "x" , "labels" : null } , "spec" : null } `), false)
	const want = `{"id":"","model":"","cluster_id":"` + clusterID + `","metadata":{"id":"","cluster_id":"","name":"x","uid":""},` +
		`"apiVersion":"apps/v1","kind":"Deployment","pattern_resource":null,"component_metadata":null}`
	if err != nil || string(got) != want || string(identity.Name) != "x" {
		t.Errorf("got  %s, %v\nwant %s", got, err, want)
	}
}

func TestSecretsAreRedactedWhateverTheyLookLike(t *testing.T) {
	secret := NewKind(schema.GroupVersionKind{Version: "v1", Kind: "Secret"}, clusterID, false)
	for name, data := range map[string]string{
		"as they should be":           `{"metadata":{},"data":{"a":"canary"},"stringData":{"b":"canary"},"binaryData":{"c":"canary"}}`,
		"values that are no strings":  `{"metadata":{},"data":{"a":["canary",{"b":"canary"}],"c":7,"d":{"canary":1}}}`,
		"data that is no object":      `{"metadata":{},"data":"canary","stringData":["canary"]}`,
		"data twice":                  `{"metadata":{},"data":{"a":"canary"},"data":{"b":"canary"}}`,
		"a copy":                      `{"metadata":{"annotations":{"kubectl.kubernetes.io/last-applied-configuration":"{\"data\":{\"a\":\"canary\"},\"other\":{\"x\":\"canary\"}}"}}}`,
		"a copy that is no object":    `{"metadata":{"annotations":{"kubectl.kubernetes.io/last-applied-configuration":"canary"}}}`,
		"a copy by an escaped name":   `{"metadata":{"annotations":{"kubectl.kubernetes.io\/last-applied-configuratio\u006e":"{\"data\":{\"a\":\"canary\"}}"}}}`,
		"data by an escaped name":     `{"metadata":{},"dat\u0061":{"a":"canary"}}`,
		"members that nobody expects": `{"metadata":{"managedFields":[{"canary":1}]},"Data":{"a":"canary"},"other":"canary"}`,
	} {
		t.Run(name, func(t *testing.T) {
			got, _, err := secret.Append(nil, []byte(data), false)
			if err != nil || strings.Contains(string(got), "canary") {
				t.Errorf("got %s, %v", got, err)
			}
		})
	}
}
