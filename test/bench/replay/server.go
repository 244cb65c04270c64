package replay

import (
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// Server is an API server.
type Server struct {
	Kubeconfig string
	Objects    int // in all

	resources map[schema.GroupVersionResource]*resource
	stopping  chan struct{}
}

// Start starts a server with objects of these shapes, numbered from 0 on: in the proportions that they have. It ends with
// the test.
func Start(t testing.TB, shapes []*Shape, objects int) *Server {
	t.Helper()
	s := &Server{resources: map[schema.GroupVersionResource]*resource{}, stopping: make(chan struct{})}
	of := 0
	for _, shape := range shapes {
		of += shape.Of
	}
	for _, shape := range shapes {
		known := s.resources[shape.Resource]
		if known == nil {
			known = &resource{kind: shape.Object.GroupVersionKind(), namespaced: shape.Namespaced, watchers: map[chan burst]bool{}}
			s.resources[shape.Resource] = known
		}
		count := objects * shape.Of / of
		known.runs = append(known.runs, run{shape, s.Objects, count})
		s.Objects += count
	}
	server := httptest.NewUnstartedServer(s)
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(func() {
		close(s.stopping)
		server.Close()
	})
	s.writeKubeconfig(t, server)
	return s
}

func (s *Server) writeKubeconfig(t testing.TB, server *httptest.Server) {
	t.Helper()
	// The certificate is its own authority.
	certificate := filepath.Join(t.TempDir(), "ca.crt")
	if err := os.WriteFile(certificate, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	config := clientcmdapi.NewConfig()
	config.Clusters["replay"] = &clientcmdapi.Cluster{Server: server.URL, CertificateAuthority: certificate}
	config.AuthInfos["replay"] = &clientcmdapi.AuthInfo{Token: "any"}
	config.Contexts["replay"] = &clientcmdapi.Context{Cluster: "replay", AuthInfo: "replay"}
	config.CurrentContext = "replay"
	s.Kubeconfig = filepath.Join(t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*config, s.Kubeconfig); err != nil {
		t.Fatal(err)
	}
}

// Kinds are the names of what is served, as plural.version.group.
func (s *Server) Kinds() []string {
	var kinds []string
	for resource := range s.resources {
		kinds = append(kinds, resource.Resource+"."+resource.Version+"."+resource.Group)
	}
	slices.Sort(kinds)
	return kinds
}

// ServeHTTP answers what is not about objects, and hands on what is.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch path := r.URL.Path; path {
	case "/api":
		answer(w, metav1.APIVersions{TypeMeta: metav1.TypeMeta{Kind: "APIVersions"}, Versions: []string{"v1"}})
	case "/apis":
		answer(w, s.groups())
	case "/api/v1/namespaces/kube-system":
		answer(w, &metav1.PartialObjectMetadata{
			TypeMeta:   metav1.TypeMeta{Kind: "PartialObjectMetadata", APIVersion: "meta.k8s.io/v1"},
			ObjectMeta: metav1.ObjectMeta{Name: metav1.NamespaceSystem, UID: "8a5f2c1e-1111-4000-8000-000000000009", ResourceVersion: "1"},
		})
	case "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews":
		everything := authorizationv1.ResourceRule{Verbs: []string{"*"}, APIGroups: []string{"*"}, Resources: []string{"*"}}
		answer(w, &authorizationv1.SelfSubjectRulesReview{
			TypeMeta: metav1.TypeMeta{Kind: "SelfSubjectRulesReview", APIVersion: "authorization.k8s.io/v1"},
			Status:   authorizationv1.SubjectRulesReviewStatus{ResourceRules: []authorizationv1.ResourceRule{everything}},
		})
	case "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews":
		answer(w, &authorizationv1.SelfSubjectAccessReview{
			TypeMeta: metav1.TypeMeta{Kind: "SelfSubjectAccessReview", APIVersion: "authorization.k8s.io/v1"},
			Status:   authorizationv1.SubjectAccessReviewStatus{Allowed: true},
		})
	case "/apis/apiextensions.k8s.io/v1/customresourcedefinitions":
		none := &resource{kind: schema.GroupVersionKind{Group: "meta.k8s.io", Version: "v1", Kind: "PartialObjectMetadata"}, watchers: map[chan burst]bool{}}
		none.serve(w, r, s.stopping)
	default:
		s.serveKinds(w, r)
	}
}

// serveKinds answers about kinds of one version of a group, and about objects of one kind.
func (s *Server) serveKinds(w http.ResponseWriter, r *http.Request) {
	list := &metav1.APIResourceList{TypeMeta: metav1.TypeMeta{Kind: "APIResourceList", APIVersion: "v1"}}
	for gvr, one := range s.resources {
		path := "/apis/" + gvr.Group + "/" + gvr.Version
		if gvr.Group == "" {
			path = "/api/" + gvr.Version
		}
		switch r.URL.Path {
		case path + "/" + gvr.Resource:
			one.serve(w, r, s.stopping)
			return
		case path:
			list.GroupVersion = gvr.GroupVersion().String()
			list.APIResources = append(list.APIResources, metav1.APIResource{
				Name: gvr.Resource, Kind: one.kind.Kind, Namespaced: one.namespaced, Verbs: metav1.Verbs{"get", "list", "watch"},
			})
		}
	}
	if list.GroupVersion != "" {
		answer(w, list)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusNotFound)
	_ = json.NewEncoder(w).Encode(metav1.Status{
		TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"},
		Status:   metav1.StatusFailure, Reason: metav1.StatusReasonNotFound, Code: http.StatusNotFound, Message: r.URL.Path + " is not served",
	})
}

func (s *Server) groups() *metav1.APIGroupList {
	list := &metav1.APIGroupList{TypeMeta: metav1.TypeMeta{Kind: "APIGroupList", APIVersion: "v1"}}
	versions := map[schema.GroupVersion]bool{}
	for resource := range s.resources {
		if resource.Group != "" {
			versions[resource.GroupVersion()] = true
		}
	}
	for version := range versions {
		named := metav1.GroupVersionForDiscovery{GroupVersion: version.String(), Version: version.Version}
		list.Groups = append(list.Groups, metav1.APIGroup{Name: version.Group, Versions: []metav1.GroupVersionForDiscovery{named}, PreferredVersion: named})
	}
	return list
}

func answer(w http.ResponseWriter, value any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(value)
}
