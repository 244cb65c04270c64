// Command openapi-schema prints the OpenAPI definitions of the API types, as the apply-configuration generator reads them.
package main

import (
	"encoding/json"
	"log"
	"os"

	"k8s.io/kube-openapi/pkg/common"
	"k8s.io/kube-openapi/pkg/validation/spec"

	"meshery.io/operator/pkg/generated/openapi"
)

func main() {
	ref := func(name string) spec.Ref { return spec.MustCreateRef("#/definitions/" + name) }
	schemas := map[string]spec.Schema{}
	for name, definition := range openapi.GetOpenAPIDefinitions(ref) {
		schema, ok := definition.Schema.Extensions[common.ExtensionV2Schema].(spec.Schema)
		if !ok {
			schema = definition.Schema
		}
		schemas[name] = schema
	}
	swagger := spec.Swagger{SwaggerProps: spec.SwaggerProps{
		Swagger:     "2.0",
		Definitions: schemas,
		Info:        &spec.Info{InfoProps: spec.InfoProps{Title: "meshery.io", Version: "unversioned"}},
	}}
	if err := json.NewEncoder(os.Stdout).Encode(swagger); err != nil {
		log.Fatal(err)
	}
}
