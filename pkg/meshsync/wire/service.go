package wire

import (
	"encoding/json"
	"net"
	"strconv"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// IsService reports whether obj is a Service of the core group: others (Knative's) share its kind.
func IsService(obj *unstructured.Unstructured) bool {
	return obj.GetKind() == "Service" && obj.GetAPIVersion() == "v1"
}

// ServiceMetadata is the component_metadata of a Service, as JSON.
func ServiceMetadata(obj *unstructured.Unstructured) ([]byte, error) {
	return json.Marshal(serviceMetadata(obj))
}

// serviceMetadata says where a Service can be reached: from outside first, then from inside the cluster. It is derived from
// the object alone; nothing is dialled. The last port stands for the Service, as Meshery Server expects.
func serviceMetadata(obj *unstructured.Unstructured) *componentMetadata {
	urls := []string{} // null would be another type
	if port, ok := lastPort(obj); ok {
		for _, address := range []string{externalAddress(obj, port), internalAddress(obj, port)} {
			if address != "" {
				urls = append(urls, port.scheme()+"://"+address)
			}
		}
	}
	return &componentMetadata{Capabilities: capabilities{Connection: true, URLs: urls}}
}

type servicePort struct {
	name             string
	number, nodePort int64
}

func (p servicePort) scheme() string {
	if p.number == 443 || p.name == "https" {
		return "https"
	}
	return "http"
}

func lastPort(obj *unstructured.Unstructured) (servicePort, bool) {
	ports, _, _ := unstructured.NestedSlice(obj.Object, "spec", "ports")
	if len(ports) == 0 {
		return servicePort{}, false
	}
	last, ok := ports[len(ports)-1].(map[string]any)
	if !ok {
		return servicePort{}, false
	}
	port := servicePort{name: plainText(last["name"])}
	port.number, _ = last["port"].(int64)
	port.nodePort, _ = last["nodePort"].(int64)
	return port, port.number != 0
}

func externalAddress(obj *unstructured.Unstructured, port servicePort) string {
	serviceType, _, _ := unstructured.NestedString(obj.Object, "spec", "type")
	switch {
	case serviceType == "NodePort" && port.nodePort != 0:
		return hostPort("localhost", port.nodePort)
	case serviceType == "LoadBalancer":
		if host := ingressHost(obj); host != "" {
			return hostPort(host, port.number)
		}
	}
	return ""
}

func ingressHost(obj *unstructured.Unstructured) string {
	ingresses, _, _ := unstructured.NestedSlice(obj.Object, "status", "loadBalancer", "ingress")
	for _, entry := range ingresses {
		ingress, _ := entry.(map[string]any)
		for _, member := range []string{"ip", "hostname"} {
			if host := plainText(ingress[member]); host != "" {
				return host
			}
		}
	}
	return ""
}

// internalAddress is empty for a headless Service ("None") and for one that is only another name.
func internalAddress(obj *unstructured.Unstructured, port servicePort) string {
	address, _, _ := unstructured.NestedString(obj.Object, "spec", "clusterIP")
	if address == "" || address == "None" {
		return ""
	}
	return hostPort(address, port.number)
}

func hostPort(host string, port int64) string {
	return net.JoinHostPort(host, strconv.FormatInt(port, 10))
}
