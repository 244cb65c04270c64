package walk

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

// agree is compare for what one of the two ways may refuse: what the walk does not, the obvious way does neither, and says the same.
// It reports whether the walk went through.
func agree(t testing.TB, data []byte, gvk schema.GroupVersionKind, o Options) bool {
	t.Helper()
	kind := NewKind(gvk, o)
	if _, _, err := kind.Append(nil, data, false); err != nil {
		return false
	}
	if _, _, err := kind.AppendSlowly(nil, data, false); err != nil {
		return false
	}
	compare(t, data, gvk, o)
	return true
}

// oddObjects are such as no kind of Kubernetes' own looks like: those that are walked, and those that are left to the obvious way.
func oddObjects() (walked, refused map[string]string) {
	walked = map[string]string{
		"nothing but metadata":            `{"metadata":{}}`,
		"empty members":                   `{"metadata":{"labels":{},"annotations":{},"finalizers":[],"ownerReferences":[]},"spec":{},"status":[],"data":{},"type":""}`,
		"null members":                    `{"metadata":{"labels":null,"annotations":null,"creationTimestamp":null,"finalizers":null,"generation":null},"spec":null,"status":null,"data":null,"type":null,"immutable":null}`,
		"members that are not carried":    `{"metadata":{"name":"x","else":{"name":"y"}},"rules":[{"a":1}],"webhooks":"x","roleRef":null,"other":{"metadata":{"name":"z"},"spec":1}}`,
		"members in another order":        `{"status":{"a":1},"spec":{"b":2},"metadata":{"resourceVersion":"7","uid":"u","name":"x"},"kind":"X","apiVersion":"y"}`,
		"members in another case":         `{"Metadata":1,"metadata":{"Name":"y","name":"x"},"Spec":{"a":1},"DATA":{"b":2}}`,
		"a type that is a number":         `{"metadata":{},"type":7}`,
		"a type that is an object":        `{"metadata":{},"type":{"a":"b"},"immutable":"yes"}`,
		"data that is an array":           `{"metadata":{},"data":["a",1,null],"binaryData":"text","stringData":7}`,
		"a spec that is no object":        `{"metadata":{},"spec":"text","status":7}`,
		"times that are none":             `{"metadata":{"creationTimestamp":7,"selfLink":{},"generateName":[]}}`,
		"white space":                     " {\n\t\"metadata\" : { \"name\" :\r\n \"x\" , \"labels\" : { \"a\" : \"b\" } } , \"spec\" : {\n\t\"a\" :\r\n[ 1 , 2 ] , \"b\" : { } } } \n",
		"escapes":                         `{"metadata":{"name":"x","annotations":{"\"\\\/\b\f\n\r\t\u00e9\u2028":"\"\\\/\b\f\n\r\t\u00e9\u2028<&>"}},"spec":{"\"\\\/\b\f\n\r\t\u00e9":"\"\\\/\b\f\n\r\t\u00e9\u2028<&>"}}`,
		"an escape at every place":        `{"metadata":{},"spec":["\n","a\n","ab\n","abc\n","abcd\n","abcde\n","abcdef\n","abcdefg\n","abcdefgh\n","\n12345678\n12345678"]}`,
		"surrogates":                      `{"metadata":{"annotations":{"a":"\ud83d\ude00\ud800x\udc00"}},"spec":{"\ud83d\ude00":"\ud800"}}`,
		"invalid UTF-8":                   "{\"metadata\":{\"name\":\"x\xff\",\"labels\":{\"a\":\"\xc3\"}},\"spec\":{\"a\xfe\":\"\xe2\x82\"}}",
		"bytes that look special":         "{\"metadata\":{\"name\":\"x\"},\"spec\":\"\u00a2\u00dc\u0122\u015c \u00ff\u007f\u0080\u2022\"}",
		"names with an escape":            `{"metadata":{"name":"a\u0026b","namespace":"\n","uid":"\u0022","resourceVersion":"\u0037"}}`,
		"numbers":                         `{"metadata":{"generation":9223372036854775807,"deletionGracePeriodSeconds":0},"spec":[0,-0,1e3,-1.5E-7,9007199254740993,18446744073709551616,1e300,0.1]}`,
		"a label twice":                   `{"metadata":{"labels":{"a":"1","a":"2"}},"spec":{"a":1,"a":2}}`,
		"what is not carried, twice":      `{"metadata":{"x":1,"x":2},"kind":"a","kind":"b","x":1,"x":2}`,
		"brackets and commas in a string": `{"metadata":{"labels":{"a":"}],{[:"}},"spec":{"a":"]}\"}{","b":["{\\"]},"x":"}\\\"}"}`,
	}
	refused = map[string]string{
		"a spec twice":              `{"metadata":{},"spec":{"a":1},"spec":null}`,
		"data twice":                `{"metadata":{},"data":{"a":"1"},"data":{}}`,
		"labels twice":              `{"metadata":{"labels":{"a":"1"},"labels":{}}}`,
		"metadata twice":            `{"metadata":{"name":"a"},"metadata":{"uid":"b"}}`,
		"a name twice":              `{"metadata":{"name":"a","name":"b"}}`,
		"a name that is a number":   `{"metadata":{"name":7}}`,
		"a fraction of generations": `{"metadata":{"generation":1.5}}`,
		"a spec with an escape":     `{"metadata":{},"sp\u0065c":{}}`,
		"a uid with an escape":      `{"metadata":{"\u0075id":"u"}}`,
	}
	return walked, refused
}

func TestOddObjectsAreWalkedAsTheObviousWayDoes(t *testing.T) {
	walked, refused := oddObjects()
	deep := strings.Repeat(`{"a":[`, 2000) + "1" + strings.Repeat("]}", 2000)
	walked["deep nesting"] = `{"metadata":{},"spec":` + deep + `,"other":` + deep + `}`
	for _, gvk := range []schema.GroupVersionKind{{Group: "example.com", Version: "v1", Kind: "Odd"}, secrets, configMaps, {Version: "v1", Kind: "Service"}} {
		for name, data := range walked {
			t.Run(name+" as "+gvk.Kind, func(t *testing.T) {
				for _, o := range everyOption() {
					compare(t, []byte(data), gvk, o)
				}
			})
		}
		for name, data := range refused {
			t.Run(name+" as "+gvk.Kind, func(t *testing.T) {
				kind := NewKind(gvk, Options{ClusterID: clusterID})
				if got, _, err := kind.Append(nil, []byte(data), false); err == nil {
					t.Errorf("got %s", got)
				}
				if _, _, err := kind.AppendSlowly(nil, []byte(data), false); err != nil {
					t.Error(err)
				}
			})
		}
	}
}
