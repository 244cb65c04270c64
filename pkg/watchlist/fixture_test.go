package watchlist

import (
	"fmt"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// groupVersions is what discovery of the tests' cluster returns: a line per group version, and per resource its plural, kind and
// scope (n: namespaced, c: cluster), then further names, singular first. A "!" before it: cannot be watched.
const groupVersions = `
v1
  !bindings Binding n
  !componentstatuses ComponentStatus c componentstatus cs
  configmaps ConfigMap n configmap cm
  endpoints Endpoints n endpoints ep
  events Event n event ev
  namespaces Namespace c namespace ns
  nodes Node c node no
  persistentvolumeclaims PersistentVolumeClaim n persistentvolumeclaim pvc
  persistentvolumes PersistentVolume c persistentvolume pv
  pods Pod n pod po
  pods/log Pod n
  pods/status Pod n
  replicationcontrollers ReplicationController n replicationcontroller rc
  replicationcontrollers/scale Scale n
  secrets Secret n secret
  serviceaccounts ServiceAccount n serviceaccount sa
  services Service n service svc
apiregistration.k8s.io/v1
  apiservices APIService c apiservice
apps/v1
  daemonsets DaemonSet n daemonset ds
  deployments Deployment n deployment deploy
  deployments/scale Scale n
  replicasets ReplicaSet n replicaset rs
  statefulsets StatefulSet n statefulset sts
events.k8s.io/v1
  events Event n event ev
authentication.k8s.io/v1
  !tokenreviews TokenReview c tokenreview
autoscaling/v2
  horizontalpodautoscalers HorizontalPodAutoscaler n horizontalpodautoscaler hpa
autoscaling/v1
  horizontalpodautoscalers HorizontalPodAutoscaler n horizontalpodautoscaler hpa
batch/v1
  cronjobs CronJob n cronjob cj
  jobs Job n job
certificates.k8s.io/v1
  certificatesigningrequests CertificateSigningRequest c certificatesigningrequest csr
networking.k8s.io/v1
  ingressclasses IngressClass c ingressclass
  ingresses Ingress n ingress ing
  networkpolicies NetworkPolicy n networkpolicy netpol
policy/v1
  poddisruptionbudgets PodDisruptionBudget n poddisruptionbudget pdb
rbac.authorization.k8s.io/v1
  clusterroles ClusterRole c clusterrole
  roles Role n role
storage.k8s.io/v1
  csistoragecapacities CSIStorageCapacity n csistoragecapacity
  storageclasses StorageClass c storageclass sc
  volumeattachments VolumeAttachment c volumeattachment
apiextensions.k8s.io/v1
  customresourcedefinitions CustomResourceDefinition c customresourcedefinition crd crds
coordination.k8s.io/v1
  leases Lease n lease
discovery.k8s.io/v1
  endpointslices EndpointSlice n endpointslice
1password.com/v1
  onepassworditems OnePasswordItem n onepassworditem
cert-manager.io/v1
  certificates Certificate n certificate cert certs
  certificates/status Certificate n
  clusterissuers ClusterIssuer c clusterissuer
example.com/v1beta1
  widgets Widget n widget wi
  gears Gear n gear
example.com/v1alpha2
  widgets Widget n widget wi
  levers Lever n lever
example.com/v1alpha10
  levers Lever n lever
factory.example.com/stable
  belts Belt n belt
  bolts Bolt n bolt
stable.factory.example.com/v1
  bolts Bolt n bolt
odd.example.com/latest
  gizmos Gizmo n gizmette gz
metrics.k8s.io/v1beta1
  !nodes NodeMetrics c
  !pods PodMetrics n
monitoring.coreos.com/v1
  prometheuses Prometheus n prometheus prom
`

// discovered returns what client-go's discovery returns for a text such as groupVersions. A group prefers its first version.
func discovered(text string) ([]*metav1.APIGroup, []*metav1.APIResourceList) {
	var groups []*metav1.APIGroup
	var lists []*metav1.APIResourceList
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		if !strings.HasPrefix(line, " ") {
			gv, err := schema.ParseGroupVersion(words[0])
			if err != nil {
				panic(err)
			}
			version := metav1.GroupVersionForDiscovery{GroupVersion: words[0], Version: gv.Version}
			if len(groups) == 0 || groups[len(groups)-1].Name != gv.Group {
				groups = append(groups, &metav1.APIGroup{Name: gv.Group, PreferredVersion: version})
			}
			groups[len(groups)-1].Versions = append(groups[len(groups)-1].Versions, version)
			lists = append(lists, &metav1.APIResourceList{GroupVersion: words[0]})
			continue
		}
		name, unwatchable := strings.CutPrefix(words[0], "!")
		resource := metav1.APIResource{Name: name, Kind: words[1], Namespaced: words[2] == "n", Verbs: metav1.Verbs{"create", "delete", "get", "list", "patch", "update", "watch"}}
		if unwatchable || strings.Contains(name, "/") {
			resource.Verbs = metav1.Verbs{"get", "list"}
		}
		if len(words) > 3 {
			resource.SingularName, resource.ShortNames = words[3], words[4:]
		}
		lists[len(lists)-1].APIResources = append(lists[len(lists)-1].APIResources, resource)
	}
	return groups, lists
}

func testCluster() Served {
	groups, lists := discovered(groupVersions)
	return NewServed(groups, lists, nil)
}

// with adds what discovery returns for a text.
func with(text string) Served {
	groups, lists := discovered(groupVersions + text)
	return NewServed(groups, lists, nil)
}

func mustParse(t testing.TB, data map[string]string) List {
	t.Helper()
	list, err := Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// texts says everything that is in a resolution, line by line.
func texts(r Resolution) []string {
	var lines []string
	for _, target := range r.Targets {
		words := []string{"watch", Format(target.Resource)}
		if target.Events != AllEvents {
			words = append(words, target.Events.String())
		}
		for _, option := range [][2]string{
			{"in", strings.Join(target.Namespaces, ",")}, {"not in", strings.Join(target.Excluded, ",")},
			{"labels", target.LabelSelector}, {"fields", target.FieldSelector}, {"depth", strings.TrimSuffix(string(target.Depth), "full")},
		} {
			if option[1] != "" {
				words = append(words, option[:]...)
			}
		}
		lines = append(lines, strings.Join(words, " "))
	}
	for _, missing := range r.Missing {
		line := fmt.Sprintf("missing %d %s", missing.Position, missing.Name)
		if !missing.Kind.Empty() {
			line += " (" + missing.Kind.String() + ")"
		}
		if missing.Silent {
			line += " silent"
		}
		lines = append(lines, line+": "+missing.Reason)
	}
	for _, problem := range r.Problems {
		word := "note "
		if problem.Skipped {
			word = "skip "
		}
		lines = append(lines, word+problem.String())
	}
	return lines
}

// wantTexts compares a resolution with the lines of want, and says where they part.
func wantTexts(t *testing.T, r Resolution, want string) {
	t.Helper()
	got := strings.Join(texts(r), "\n")
	var lines []string
	for line := range strings.Lines(want) {
		if line = strings.TrimSpace(line); line != "" {
			lines = append(lines, line)
		}
	}
	if want = strings.Join(lines, "\n"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
