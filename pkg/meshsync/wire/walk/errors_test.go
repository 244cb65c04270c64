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
		"the end behind a backslash":    {`{"metadata":{"generateName":"x\`, errEnd},
		"the end in an escape":          {`{"metadata":{"generateName":"\u00`, errEnd},
		"an escape that is none":        {`{"metadata":{"generateName":"\x"}}`, errString},
		"a line break in a string":      {"{\"metadata\":{},\"spec\":\"a\nb\"}", errString},
		"two names":                     {`{"metadata":{"name":"a","name":"b"}}`, errTwice},
		"a member with an escape":       {`{"metadata":{},"sp\u0065c":{}}`, errMember},
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
	}
	kind := NewKind(schema.GroupVersionKind{Version: "v1", Kind: "Pod"}, Options{ClusterID: clusterID})
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
