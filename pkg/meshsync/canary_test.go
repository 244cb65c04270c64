package meshsync_test

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats.go"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/klog/v2"

	"meshery.io/operator/pkg/meshsync"
	"meshery.io/operator/pkg/telemetry"
	"meshery.io/operator/test/consumer"
)

// TestSecretsNeverLeave plants values wherever a Secret has some, and looks for them in everything that leaves an agent: messages on any
// subject, the log in its highest verbosity, metrics, status. With redaction off they must be in the messages: so they are looked for in
// the right way, and even then only there. It is not parallel: the log is everybody's.
func TestSecretsNeverLeave(t *testing.T) {
	const warning = "The values of Secrets leave the cluster in clear"
	clearSecrets := func(o *meshsync.Options) { o.ClearSecrets = true }
	t.Run("redacted", func(t *testing.T) {
		said := tellSecrets(t, "full")
		said.lacks(t, "messages", said.everything())
		said.lacksElsewhere(t)
		if strings.Contains(said.log, warning) {
			t.Error("the log says that values leave the cluster")
		}
	})
	t.Run("metadata only", func(t *testing.T) {
		said := tellSecrets(t, "inventory")
		// What a note says can only be told from the values beside it.
		said.canaries = slices.DeleteFunc(said.canaries, func(c canary) bool { return c.place == "note" })
		said.lacks(t, "messages", said.everything())
		said.lacksElsewhere(t)
	})
	t.Run("in clear, as asked", func(t *testing.T) {
		said := tellSecrets(t, "full", clearSecrets)
		said.lacksElsewhere(t)
		for where, text := range map[string]string{
			"ADDED": said.told("ADDED"), "MODIFIED": said.told("MODIFIED"), "DELETED": said.told("DELETED"), "the store": said.replied(),
		} {
			for _, canary := range said.canaries {
				if inData := canary.place == "data"; (inData || where == "ADDED") && !strings.Contains(text, canary.planted) {
					t.Errorf("%s: %s is not found", where, canary.place)
				}
			}
		}
		if !strings.Contains(said.log, warning) {
			t.Error("the log does not say that values leave the cluster")
		}
	})
}

// canary is a value that must not be found.
type canary struct{ place, value, planted string }

// nest plants canaries.
type nest struct{ canaries []canary }

func (n *nest) plant(place string, as func(string) string) string {
	value := "canary-in-" + place
	planted := as(value)
	n.canaries = append(n.canaries, canary{place, value, planted})
	return planted
}

func plain(value string) string { return value }

func inBase64(value string) string { return base64.StdEncoding.EncodeToString([]byte(value)) }

func packed(value string) string {
	var archive bytes.Buffer
	writer := gzip.NewWriter(&archive)
	_, _ = writer.Write([]byte(value))
	_ = writer.Close()
	return inBase64(archive.String())
}

// stringData plants what the API server writes into data.
func (n *nest) stringData(place string) string {
	n.plant(place, inBase64)
	return n.canaries[len(n.canaries)-1].value
}

// planting is objects with canaries in them.
func (n *nest) planting() map[schema.GroupVersionResource][]string {
	asJSON := func(format string, args ...any) string { return "'" + fmt.Sprintf(format, args...) + "'" }
	data := n.plant("data", inBase64)
	login := fmt.Sprintf("{apiVersion: v1, kind: Secret, metadata: {name: login, annotations: {%s}}, data: {password: %s}, stringData: {user: %s}}",
		strings.Join([]string{
			"kubectl.kubernetes.io/last-applied-configuration: " + asJSON(`{"apiVersion":"v1","kind":"Secret","data":{"a":"%s"},"stringData":{"b":"%s"}}`,
				n.plant("last-applied-data", inBase64), n.plant("last-applied-stringData", plain)),
			"example.com/last-applied-configuration: " + asJSON(`{"stringData":{"b":"%s"}}`, n.plant("another-last-applied", plain)),
			"kapp.k14s.io/original: " + asJSON(`{"kind":"Secret","stringData":{"b":"%s"}}`, n.plant("original", plain)),
			"objectset.rio.cattle.io/applied: " + n.plant("packed", packed),
		}, ", "), data, n.stringData("stringData"))
	note := fmt.Sprintf("{apiVersion: v1, kind: Secret, metadata: {name: note, annotations: {example.com/note: the password is %[1]s}}, stringData: {password: %[1]s}}",
		n.plant("note", plain))
	const release = `{"name":"app","config":{"password":"%s"}}`
	helm := func(place string) string {
		return n.plant(place, func(value string) string { return inBase64(packed(fmt.Sprintf(release, value))) })
	}
	return map[schema.GroupVersionResource][]string{
		secrets: {login, note,
			"{apiVersion: v1, kind: Secret, type: helm.sh/release.v1, metadata: {name: sh.helm.release.v1.app.v1}, data: {release: " + helm("release") + "}}"},
		configMaps: {
			"{apiVersion: v1, kind: ConfigMap, metadata: {name: sh.helm.release.v1.app.v2}, data: {release: " + helm("release-in-a-ConfigMap") + "}}",
			"{apiVersion: v1, kind: ConfigMap, metadata: {name: list, annotations: {kubectl.kubernetes.io/last-applied-configuration: " +
				asJSON(`{"kind":"List","items":[{"kind":"Secret","metadata":{"name":"x"},"stringData":{"b":"%s"}}]}`, n.plant("applied-list", plain)) + "}}}",
		},
	}
}

// overheard is everything that left an agent.
type overheard struct {
	nest
	messages             []*nats.Msg
	log, metrics, status string
}

// tellSecrets lets an agent tell the life of objects with canaries.
func tellSecrets(t *testing.T, depth string, change ...func(*meshsync.Options)) *overheard {
	log := captureLog(t)
	said := &overheard{}
	c, server, got := scene(t)
	heard := listen(t, "nats://s3cret%2Ft%40ken@"+server.Addr)
	c.createMeshSync()
	c.writeConfigMap(map[string]string{"whitelist": inJSON("[secrets.v1., configmaps.v1.]"), "discovery": inJSON("{depth: " + depth + "}")}, nil)
	agent := startAgent(c, server.URL(), change...)
	agent.waitReady("")
	names := []string{"login", "note", "sh.helm.release.v1.app.v1"}
	every := func(what, event string) {
		t.Helper()
		got.WaitFor(t, what, func() bool {
			for _, name := range names {
				if about := events(got.About("Secret", c.namespace, name)); len(about) == 0 || about[len(about)-1] != event {
					return false
				}
			}
			return true
		})
	}
	planting, n := said.planting(), 0
	for resource, texts := range planting {
		for _, text := range texts {
			c.create(resource, text)
			n++
		}
	}
	every("new ones", "ADDED")
	for _, name := range names {
		c.change(secrets, name, "{metadata: {labels: {changed: once}}}")
	}
	c.change(secrets, "login", "{stringData: {later: "+said.stringData("later")+"}}")
	every("changed ones", "MODIFIED")
	got.Request(t, "informer-store", map[string]string{"Reply": consumer.StoreSubject})
	got.WaitFor(t, "the store", func() bool { return len(got.Store()) >= n })
	got.Request(t, "resync-discovery", nil)
	every("all once more", "ADDED")
	c.eventually("a status", func() error {
		if d := c.status().Discovery; d == nil || d.Objects < int64(n) {
			return fmt.Errorf("it is %+v", d)
		}
		return nil
	})
	for resource, texts := range planting {
		for _, text := range texts {
			c.delete(resource, object(text).GetName())
		}
	}
	every("what was deleted", "DELETED")
	_, said.metrics = agent.get("/metrics")
	status, err := json.Marshal(c.meshSync().Object["status"])
	if err != nil {
		t.Fatal(err)
	}
	agent.stop()
	said.status, said.log, said.messages = string(status), log.String(), heard.messages()
	return said
}

// lacks fails the test if one of the canaries is in a text.
func (o *overheard) lacks(t *testing.T, what, text string) {
	t.Helper()
	if text == "" {
		t.Errorf("%s: there are none", what)
	}
	for _, canary := range o.canaries {
		for _, form := range []string{canary.planted, canary.value, inBase64(canary.value)} {
			if i := strings.Index(text, form); i >= 0 {
				t.Errorf("%s: %s is in %s", what, canary.place, text[max(0, i-200):min(len(text), i+200)])
				break
			}
		}
	}
}

func (o *overheard) lacksElsewhere(t *testing.T) {
	t.Helper()
	o.lacks(t, "log", o.log)
	o.lacks(t, "metrics", o.metrics)
	o.lacks(t, "status", o.status)
	if !strings.Contains(o.log, "Published object") {
		t.Error("the log was not in its highest verbosity")
	}
}

func (o *overheard) everything() string {
	return o.texts(func(*nats.Msg) bool { return true })
}

// told is what was told by messages of an event.
func (o *overheard) told(event string) string {
	return o.texts(func(message *nats.Msg) bool {
		return message.Subject == coreSubject && bytes.Contains(message.Data, []byte(`"EventType":"`+event+`"`))
	})
}

func (o *overheard) replied() string {
	return o.texts(func(message *nats.Msg) bool { return message.Subject == consumer.StoreSubject })
}

func (o *overheard) texts(of func(*nats.Msg) bool) string {
	var all strings.Builder
	for _, message := range o.messages {
		if of(message) {
			fmt.Fprintln(&all, message.Subject, message.Header, string(message.Data))
		}
	}
	return all.String()
}

// logged is what was logged.
type logged struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *logged) Write(text []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(text)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// captureLog keeps what the whole process logs, in the highest verbosity that an agent can be told, until the end of the test.
func captureLog(t *testing.T) *logged {
	t.Helper()
	before := klog.CaptureState()
	t.Cleanup(before.Restore)
	log := &logged{}
	klog.LogToStderr(false)
	klog.SetOutput(log)
	if err := new(klog.Level).Set(strconv.Itoa(telemetry.MaxVerbosity)); err != nil {
		t.Fatal(err)
	}
	return log
}
