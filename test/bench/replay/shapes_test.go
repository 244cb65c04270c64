package replay

import (
	"encoding/json"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestShapes(t *testing.T) {
	shapes, err := Shapes()
	if err != nil {
		t.Fatal(err)
	}
	kinds, of := map[string]bool{}, 0
	for _, shape := range shapes {
		kinds[shape.Kind], of = true, of+shape.Of
		text := shape.appendTo(nil, 1234567, 89, 1763640000000000000)
		t.Logf("%-14s %9d bytes", shape.Kind, len(text))
		var object metav1.PartialObjectMetadata
		if err := json.Unmarshal(text, &object); err != nil {
			t.Errorf("%s: %v", shape.Kind, err)
		}
		if object.Name != "bench-1234567" || !strings.HasSuffix(string(object.UID), "000001234567") || object.ResourceVersion != "1000000089" || object.Kind != shape.Kind {
			t.Errorf("got %+v", object)
		}
		item := string(shape.appendItem(nil, 1234567, 89))
		if named := strings.Contains(item[:60], `"kind":`); !json.Valid([]byte(item)) || named != (shape.Kind == "Belt") {
			t.Errorf("%s in a list begins %s", shape.Kind, item[:60])
		}
		if sent, ok := object.Annotations[SentAnnotation]; ok && sent != SentPrefix+"1763640000000000000" {
			t.Errorf("%s: sent is %q", shape.Kind, sent)
		}
		if strings.Contains(string(text), "NNN") || strings.Contains(string(text), "SSS") {
			t.Errorf("%s has places that are not filled in", shape.Kind)
		}
	}
	if len(kinds) != 20 || of != 1000 {
		t.Errorf("got %d kinds and shares that add up to %d, want 20 and 1000", len(kinds), of)
	}
}
