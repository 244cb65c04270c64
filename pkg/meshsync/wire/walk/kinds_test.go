package walk

import (
	"encoding/json"
	"math/rand"
	"reflect"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/randfill"
)

// builtinKinds are all that Kubernetes has objects of.
func builtinKinds() []schema.GroupVersionKind {
	var kinds []schema.GroupVersionKind
	for gvk, kind := range scheme.Scheme.AllKnownTypes() {
		meta, ok := kind.FieldByName("ObjectMeta")
		if ok && meta.Type == reflect.TypeFor[metav1.ObjectMeta]() && gvk.Version != runtime.APIVersionInternal {
			kinds = append(kinds, gvk)
		}
	}
	slices.SortFunc(kinds, func(a, b schema.GroupVersionKind) int { return strings.Compare(a.String(), b.String()) })
	return kinds
}

// filled is an object with anything in it, odd texts included, that the API server might send. Three sizes take turns.
func filled(t testing.TB, obj runtime.Object, gvk schema.GroupVersionKind, seed int64) []byte {
	t.Helper()
	size := seed % 3
	randfill.New().RandSource(rand.NewSource(seed)).NilChance([]float64{0.8, 0.3, 0.1}[size]).NumElements(int(size), 1+2*int(size)).MaxDepth(8).Funcs(
		func(fields *metav1.FieldsV1, _ randfill.Continue) {
			fields.SetRawBytes([]byte(`{"f:spec":{"k:{\"name\":\"x\"}":{}}}`))
		},
		func(raw *runtime.RawExtension, _ randfill.Continue) {
			raw.Raw, raw.Object = []byte(`{"a":[1,2.5,"\u00e9\n\""],"b":null}`), nil
		},
		func(value *intstr.IntOrString, c randfill.Continue) { *value = intstr.FromInt32(c.Int31()) },
		func(meta *metav1.ObjectMeta, c randfill.Continue) {
			c.FillNoCustom(meta)
			meta.Name, meta.Namespace, meta.UID, meta.ResourceVersion = "name", "namespace", "uid", "7"
			if c.Bool() {
				meta.Labels = map[string]string{"design.meshery.io/id": "5F0A7C1E-9999-4000-8000-000000000009", "odd": "\"\\\n<&>é\u2028"}
			}
		},
	).Fill(obj)
	obj.GetObjectKind().SetGroupVersionKind(gvk)
	data, err := json.Marshal(obj)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestEveryBuiltinKindIsWalkedAsTheObviousWayDoes(t *testing.T) {
	kinds := builtinKinds()
	if len(kinds) < 160 {
		t.Fatalf("only %d kinds", len(kinds))
	}
	for _, gvk := range kinds {
		t.Run(gvk.String(), func(t *testing.T) {
			t.Parallel()
			for seed := range int64(12) {
				obj, err := scheme.Scheme.New(gvk)
				if err != nil {
					t.Fatal(err)
				}
				data := filled(t, obj, gvk, seed)
				compare(t, data, gvk, everyOption()[seed%4])
				if t.Failed() {
					return
				}
			}
		})
	}
}

// At depth inventory, the API server sends every kind as this one.
func TestMetadataOfEveryKindIsWalkedAsTheObviousWayDoes(t *testing.T) {
	data := filled(t, &metav1.PartialObjectMetadata{}, metav1.SchemeGroupVersion.WithKind("PartialObjectMetadata"), 1)
	for _, gvk := range builtinKinds() {
		compare(t, data, gvk, Options{ClusterID: clusterID, MetadataOnly: true})
	}
}
