package wire_test

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"meshery.io/operator/pkg/meshsync/wire"
)

func TestNamesOfAStateStream(t *testing.T) {
	meshSync := wire.MeshSyncToken("meshery", "team.a")
	for name, got := range map[string]string{
		"meshery_team%2Ea": meshSync,
		"_":                wire.MeshSyncToken("", ""),
		"meshsync-" + clusterID + "-meshery_team%2Ea":                wire.StateStream(clusterID, meshSync),
		"meshery.meshsync.state." + clusterID + ".meshery_team%2Ea.": wire.StatePrefix(clusterID, meshSync),
		"meshery.meshsync.publish.7." + clusterID + "._.":            wire.PublishPrefix(7, clusterID, wire.MeshSyncToken("", "")),
	} {
		if got != name {
			t.Errorf("got %s, want %s", got, name)
		}
	}
}

func TestEpoch(t *testing.T) {
	for _, want := range []uint64{0, 1, 1<<64 - 1} {
		prefix := wire.PublishPrefix(want, clusterID, "_")
		for _, subject := range []string{prefix, prefix + ">", prefix + "pods.v1._.demo.web"} {
			if got, err := wire.ParseEpoch(subject); err != nil || got != want {
				t.Errorf("%s: got %d, %v", subject, got, err)
			}
		}
	}
	for _, odd := range []string{"", "1.", wire.StatePrefix("1", "_"), "meshery.meshsync.publish.", "meshery.meshsync.publish.1", "meshery.meshsync.publish.x.", "meshery.meshsync.publish.-1."} {
		if got, err := wire.ParseEpoch(odd); err == nil {
			t.Errorf("%q: got %d", odd, got)
		}
	}
}

func TestStateSubject(t *testing.T) {
	for want, object := range map[string][5]string{
		"pods.v1._.demo.web": {"pods", "v1", "", "demo", "web"},
		"ingresses.v1.networking%2Ek8s%2Eio.demo.web%2Eexample":           {"ingresses", "v1", "networking.k8s.io", "demo", "web.example"},
		"namespaces.v1._._.demo":                                          {"namespaces", "v1", "", "", "demo"},
		"clusterroles.v1.rbac%2Eauthorization%2Ek8s%2Eio._.system:node_x": {"clusterroles", "v1", "rbac.authorization.k8s.io", "", "system:node_x"},
		"clusterroles.v1._._.%5F":                                         {"clusterroles", "v1", "", "", "_"},
		"x.v1._._.%2A%3E%25%20%00%C3%A9%2F%5C%7F":                         {"x", "v1", "", "", "*>% \x00é/\\\x7f"},
	} {
		resource := schema.GroupVersionResource{Resource: object[0], Version: object[1], Group: object[2]}
		got := wire.StateSubject(resource, object[3], object[4])
		if got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		of, namespace, name, err := wire.ParseStateSubject(got)
		if err != nil || of != resource || namespace != object[3] || name != object[4] {
			t.Errorf("%s: got %s, %q, %q, %v", got, of, namespace, name, err)
		}
	}
}

// TestStateSubjectsOfOthersAreErrors: an object that is read out of a subject has that subject and no other.
func TestStateSubjectsOfOthersAreErrors(t *testing.T) {
	for _, odd := range []string{"", "pods.v1._.demo", "pods.v1._.demo.web.", "pods.v1._.demo.web.x", "pods.v1._.demo.", "pods.v1..demo.web",
		"pods.v1._.demo.%77eb", "pods.v1._.demo.%2e", "pods.v1._.demo.%", "pods.v1._.demo.%2", "pods.v1._.demo.%zz", "pods.v1._.demo.*", "pods.v1._.demo.>", "pods.v1._.de mo.web"} {
		if resource, namespace, name, err := wire.ParseStateSubject(odd); err == nil {
			t.Errorf("%q: got %s, %q, %q", odd, resource, namespace, name)
		}
	}
}

// FuzzStateSubject: what comes back is what went in, so that no two objects share a subject, and NATS takes it for five plain tokens.
func FuzzStateSubject(f *testing.F) {
	f.Add("pods", "v1", "", "demo", "web")
	f.Add("a.b", "*", ">", "_", "%5F")
	f.Add("%", "%2", "\x00\n", "é", "\xff{{wildcard(1)}}")
	f.Fuzz(func(t *testing.T, name, version, group, namespace, objectName string) {
		resource := schema.GroupVersionResource{Resource: name, Version: version, Group: group}
		subject := wire.StateSubject(resource, namespace, objectName)
		of, ns, n, err := wire.ParseStateSubject(subject)
		if err != nil || of != resource || ns != namespace || n != objectName {
			t.Errorf("%s: got %#v, %q, %q, %v", subject, of, ns, n, err)
		}
		for token := range strings.SplitSeq(subject, ".") {
			if token == "" || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' || r == '*' || r == '>' }) {
				t.Errorf("%q has the token %q", subject, token)
			}
		}
	})
}

// FuzzParseStateSubject: what is read is the subject of what is read.
func FuzzParseStateSubject(f *testing.F) {
	f.Add("pods.v1._.demo.web")
	f.Add("pods.v1._.%5F.%2E")
	f.Add("pods.v1._.%41._")
	f.Fuzz(func(t *testing.T, subject string) {
		resource, namespace, name, err := wire.ParseStateSubject(subject)
		if again := wire.StateSubject(resource, namespace, name); err == nil && again != subject {
			t.Errorf("%q is read as %q", subject, again)
		}
	})
}

func TestRecord(t *testing.T) {
	for name, test := range map[string]struct {
		record wire.Record
		want   map[string]string
	}{
		"added": {
			wire.Record{Event: wire.Added, UID: "u1", ResourceVersion: "7", Form: "full", Content: 1<<64 - 1},
			map[string]string{"Meshery-Event": "ADDED", "Meshery-Uid": "u1", "Meshery-Resource-Version": "7", "Meshery-Form": "full", "Meshery-Content": "ffffffffffffffff", "Meshery-Epoch": "7"},
		},
		"modified, content unknown": {
			wire.Record{Event: wire.Modified, UID: "u1", ResourceVersion: "8", Form: "inventory,clear"},
			map[string]string{"Meshery-Event": "MODIFIED", "Meshery-Uid": "u1", "Meshery-Resource-Version": "8", "Meshery-Form": "inventory,clear", "Meshery-Epoch": "7"},
		},
		"withdrawn": {
			wire.Record{Event: wire.Deleted, Reason: wire.NotServed, UID: "u1", ResourceVersion: "8"},
			map[string]string{"Meshery-Event": "DELETED", "Meshery-Reason": "NotServed", "Meshery-Uid": "u1", "Meshery-Resource-Version": "8", "Nats-TTL": "24h", "Meshery-Epoch": "7"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			headers := test.record.Headers("7")
			if len(headers) != len(test.want) {
				t.Errorf("got %v", headers)
			}
			for header, want := range test.want {
				if got := headers[header]; len(got) != 1 || got[0] != want {
					t.Errorf("%s is %q, want %q", header, got, want)
				}
			}
			headers["Nats-Sequence"] = []string{"12"}
			headers["Meshery-Later"] = []string{"x", "y"}
			if got, err := wire.ParseRecord(headers); err != nil || got != test.record {
				t.Errorf("got %+v, %v", got, err)
			}
		})
	}
}

func TestRecordsThatCannotBeReadAreErrors(t *testing.T) {
	for name, headers := range map[string]map[string][]string{
		"none":                 nil,
		"no event":             {"Meshery-Uid": {"u1"}},
		"no values":            {"Meshery-Event": {}, "Meshery-Uid": {"u1"}},
		"an event of others":   {"Meshery-Event": {"ERROR"}, "Meshery-Uid": {"u1"}},
		"no uid":               {"Meshery-Event": {"ADDED"}},
		"content is no number": {"Meshery-Event": {"ADDED"}, "Meshery-Uid": {"u1"}, "Meshery-Content": {"0x1"}},
	} {
		if got, err := wire.ParseRecord(headers); err == nil {
			t.Errorf("%s: got %+v", name, got)
		}
	}
}
