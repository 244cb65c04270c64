package operator

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"meshery.io/operator/pkg/apis/meshery/v1alpha1"
	"meshery.io/operator/test/controlplane"
)

// natsPods runs real nats-servers as the pods of one Broker would, on this machine: with its nats.conf and their environment, but
// other ports and folders.
type natsPods struct {
	binary, token, password, tlsDir string
	pods                            []*natsPod
}

type natsPod struct {
	dir                     string
	client, monitor, routes int
	process                 *exec.Cmd
}

func newNATSPods(t *testing.T, pods int) *natsPods {
	t.Helper()
	binary, err := controlplane.Binary(t.Context(), "nats-server")
	if err != nil {
		t.Fatal(err)
	}
	p := &natsPods{binary: binary, token: newToken(), password: newToken()}
	for range pods {
		p.pods = append(p.pods, &natsPod{client: freePort(t), monitor: freePort(t), routes: freePort(t)})
	}
	t.Cleanup(func() {
		for i := range p.pods {
			p.kill(i)
		}
	})
	return p
}

// start runs one server as the Broker wants it, on an empty disk.
func (p *natsPods) start(t *testing.T, broker *v1alpha1.Broker, ordinal int) {
	t.Helper()
	pod := p.pods[ordinal]
	pod.dir = t.TempDir()
	conf := strings.NewReplacer(
		"port: 4222", "host: 127.0.0.1\nport: "+strconv.Itoa(pod.client), "http_port: 8222", "http_port: "+strconv.Itoa(pod.monitor),
		"port: 6222", "host: 127.0.0.1\n  port: "+strconv.Itoa(pod.routes),
		natsDataDir+"/", pod.dir+"/", natsPIDDir, pod.dir, natsTLSDir, p.tlsDir,
	).Replace(natsConfig(broker))
	file := filepath.Join(pod.dir, natsConfigKey)
	if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	pod.process = exec.Command(p.binary, "--config", file, "--log", filepath.Join(pod.dir, "log"))
	pod.process.Env = p.environment(broker, ordinal)
	if err := pod.process.Start(); err != nil {
		t.Fatal(err)
	}
}

// environment of a pod, as the kubelet makes it from the container's.
func (p *natsPods) environment(broker *v1alpha1.Broker, ordinal int) []string {
	name := broker.Name + "-" + strconv.Itoa(ordinal)
	values := map[string]string{"POD_NAME": name}
	for _, variable := range brokerPod(broker, "nats").Containers[0].Env {
		switch value := *variable.Name; {
		case variable.Value != nil:
			values[value] = expand(*variable.Value, values)
		case variable.ValueFrom.SecretKeyRef != nil && *variable.ValueFrom.SecretKeyRef.Key == routesPasswordKey:
			values[value] = p.password
		case variable.ValueFrom.SecretKeyRef != nil:
			values[value] = p.token
		}
	}
	for i, pod := range p.pods {
		values["ROUTES"] = strings.ReplaceAll(values["ROUTES"], fmt.Sprintf("%s-%d.%[1]s-headless:6222", broker.Name, i), "127.0.0.1:"+strconv.Itoa(pod.routes))
	}
	var environment []string
	for name, value := range values {
		environment = append(environment, name+"="+value)
	}
	return environment
}

// expand replaces every $(NAME) once: what a value holds that looks like one stays.
func expand(text string, values map[string]string) string {
	var pairs []string
	for name, value := range values {
		pairs = append(pairs, "$("+name+")", value)
	}
	return strings.NewReplacer(pairs...).Replace(text)
}

func (p *natsPods) kill(ordinal int) {
	if process := p.pods[ordinal].process; process != nil {
		_ = process.Process.Kill()
		_ = process.Wait()
		p.pods[ordinal].process = nil
	}
}

// get reads a page of a server's monitor port.
func (p *natsPods) get(ctx context.Context, ordinal int, path string, into any) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d%s", p.pods[ordinal].monitor, path), nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return errors.New(response.Status)
	}
	return json.NewDecoder(response.Body).Decode(into)
}

// eventuallyWell waits until a server's probe of this path succeeds.
func (p *natsPods) eventuallyWell(t *testing.T, ordinal int, path string) {
	t.Helper()
	eventually(t, fmt.Sprintf("server %d is well", ordinal), func(ctx context.Context) error {
		err := p.get(ctx, ordinal, path, new(any))
		if err != nil {
			log, _ := os.ReadFile(filepath.Join(p.pods[ordinal].dir, "log"))
			err = fmt.Errorf("%w\n%s", err, log)
		}
		return err
	})
}

// eventuallyMajority waits until a server knows the leader of a JetStream cluster of this size.
func (p *natsPods) eventuallyMajority(t *testing.T, ordinal, size int) {
	t.Helper()
	eventually(t, "JetStream has a leader", func(ctx context.Context) error {
		var page struct {
			Meta struct {
				Leader string
				Size   int `json:"cluster_size"`
			} `json:"meta_cluster"`
		}
		if err := p.get(ctx, ordinal, "/jsz", &page); err != nil {
			return err
		}
		if page.Meta.Leader == "" || page.Meta.Size != size {
			return fmt.Errorf("leader %q of %d, want one of %d", page.Meta.Leader, page.Meta.Size, size)
		}
		return p.get(ctx, ordinal, "/healthz", new(any))
	})
}

func (p *natsPods) eventuallyLogs(t *testing.T, ordinal int, text string) {
	t.Helper()
	eventually(t, text, func(context.Context) error {
		log, err := os.ReadFile(filepath.Join(p.pods[ordinal].dir, "log"))
		if err == nil && !strings.Contains(string(log), text) {
			err = fmt.Errorf("log is\n%s", log)
		}
		return err
	})
}

func (p *natsPods) connect(t *testing.T, ordinal int, options ...nats.Option) *nats.Conn {
	t.Helper()
	conn, err := nats.Connect(fmt.Sprintf("localhost:%d", p.pods[ordinal].client), append(options, nats.Token(p.token))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	return conn
}

// All parts of the configuration, alone and together, are what a nats-server takes.
func TestNATSTakesEveryConfiguration(t *testing.T) {
	t.Parallel()
	p := newNATSPods(t, 3)
	p.tlsDir = writeCertificate(t)
	for _, size := range []int32{1, 3} {
		for _, jetStream := range []bool{true, false} {
			for _, secure := range []bool{true, false} {
				broker := newBroker(withSize(size), func(b *v1alpha1.Broker) {
					b.Spec.JetStream.Enabled = &jetStream
					if secure {
						b.Spec.TLS = &v1alpha1.BrokerTLS{SecretName: "x"}
					}
				})
				t.Run(fmt.Sprintf("%d servers, JetStream %t, TLS %t", size, jetStream, secure), func(t *testing.T) {
					p.start(t, broker, 0)
					defer p.kill(0)
					for _, path := range []string{"/healthz?js-enabled-only=true", "/healthz?js-server-only=true"} {
						p.eventuallyWell(t, 0, path)
					}
					if size == 1 {
						p.eventuallyWell(t, 0, "/healthz")
					}
				})
			}
		}
	}
}

// What newToken makes never reads like a number or anything else than text, quoted as the pod does it.
func TestTenThousandTokensParse(t *testing.T) {
	t.Parallel()
	p := newNATSPods(t, 0)
	var users []string
	var environment []string
	for i := range 10_000 {
		users = append(users, fmt.Sprintf("{user: u%d, password: $T%[1]d}", i))
		environment = append(environment, fmt.Sprintf("T%d=%s", i, strings.ReplaceAll(quoted("BROKER_TOKEN"), "$(BROKER_TOKEN)", newToken())))
	}
	file := filepath.Join(t.TempDir(), natsConfigKey)
	if err := os.WriteFile(file, []byte("authorization { users: [\n"+strings.Join(users, "\n")+"\n] }\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	check := exec.CommandContext(t.Context(), p.binary, "-t", "--config", file)
	check.Env = environment
	if out, err := check.CombinedOutput(); err != nil {
		t.Errorf("%v\n%.2000s", err, out)
	}
}

// A message that one server gets reaches a subscriber of another; clients need the token and trust the certificate.
func TestServersOfABrokerAreOneCluster(t *testing.T) {
	t.Parallel()
	p := newNATSPods(t, 3)
	p.tlsDir = writeCertificate(t)
	broker := newBroker(withSize(3), func(b *v1alpha1.Broker) { b.Spec.TLS = &v1alpha1.BrokerTLS{SecretName: "x"} })
	for i := range p.pods {
		p.start(t, broker, i)
	}
	for i := range p.pods {
		p.eventuallyMajority(t, i, 3)
	}
	authority := nats.RootCAs(filepath.Join(p.tlsDir, "tls.crt"))
	subscriber, publisher := p.connect(t, 0, authority), p.connect(t, 2, authority)
	subscription, err := subscriber.SubscribeSync("x")
	if err = errors.Join(err, subscriber.Flush()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a message crosses", func(context.Context) error { // once the servers have told each other of the subscription
		if err := publisher.Publish("x", []byte("hello")); err != nil {
			return err
		}
		message, err := subscription.NextMsg(100 * time.Millisecond)
		if err == nil && string(message.Data) != "hello" {
			err = fmt.Errorf("got %q", message.Data)
		}
		return err
	})
	if addresses := publisher.DiscoveredServers(); len(addresses) > 0 {
		t.Errorf("clients are told of %v, which are of no use outside the cluster", addresses)
	}
	for name, options := range map[string][]nats.Option{
		"without a token":     {authority},
		"with another token":  {authority, nats.Token(newToken())},
		"without trust in it": {nats.Token(p.token), nats.Secure(&tls.Config{RootCAs: x509.NewCertPool(), MinVersion: tls.VersionTLS12})},
	} {
		if conn, err := nats.Connect(fmt.Sprintf("localhost:%d", p.pods[0].client), options...); err == nil {
			conn.Close()
			t.Errorf("connected %s", name)
		}
	}
}

// A server that is told to go first sends its clients to the others, and is gone before Kubernetes kills it.
func TestLameDuckModeEndsInTime(t *testing.T) {
	t.Parallel()
	p := newNATSPods(t, 3)
	broker := newBroker(withSize(3))
	p.start(t, broker, 0)
	p.eventuallyWell(t, 0, "/healthz?js-server-only=true")
	told := make(chan struct{})
	for i := range 3 {
		var options []nats.Option
		if i == 0 {
			options = append(options, nats.LameDuckModeHandler(func(*nats.Conn) { close(told) }))
		}
		p.connect(t, 0, options...)
	}
	pod := brokerPod(broker, "nats")
	command := pod.Containers[0].Lifecycle.PreStop.Exec.Command
	if command[0] != "nats-server" {
		t.Fatalf("command %v", command)
	}
	process := p.pods[0].process
	start := time.Now()
	preStop := exec.CommandContext(t.Context(), p.binary, strings.ReplaceAll(command[1], natsPIDDir, p.pods[0].dir))
	if out, err := preStop.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	select {
	case <-told:
	case <-time.After(patience):
		t.Fatal("no client was told")
	}
	if err := process.Process.Signal(syscall.SIGTERM); err != nil { // what the kubelet does next
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- process.Wait() }()
	grace := time.Duration(*pod.TerminationGracePeriodSeconds) * time.Second
	select {
	case err := <-ended:
		if took := time.Since(start); err != nil || took < 9*time.Second || took > grace-15*time.Second {
			t.Errorf("it ended after %v, %v; want more than the clients' 10 s and well less than %v", took, err, grace)
		}
	case <-time.After(grace):
		t.Fatal("it did not end in the grace period")
	}
	p.pods[0].process = nil
}

// JetStream never forgets a server of its cluster: what is left of five would have no majority with one of three down. So a cluster
// of another size is another one, and whole again when the last server was replaced. (With one name for both, it depends on chance
// which of them the servers are of in the end.)
func TestASmallerClusterHasAMajority(t *testing.T) {
	t.Parallel()
	p := newNATSPods(t, 5)
	five, three := newBroker(withSize(5)), newBroker(withSize(3))
	for i := range p.pods {
		p.start(t, five, i)
	}
	for i := range p.pods {
		p.eventuallyMajority(t, i, 5)
	}
	p.kill(3)
	p.kill(4)
	p.eventuallyMajority(t, 0, 5)
	for _, ordinal := range []int{2, 1, 0} { // as a StatefulSet's controller replaces them: the next when one has been ready
		p.kill(ordinal)
		p.start(t, three, ordinal)
		p.eventuallyWell(t, ordinal, startupPath(three))
		if ordinal > 0 { // what is left of the five keeps to itself
			p.eventuallyLogs(t, ordinal, "cluster name")
		}
	}
	for ordinal := range 3 {
		p.eventuallyMajority(t, ordinal, 3)
	}
	p.kill(2)
	for ordinal := range 2 {
		p.eventuallyMajority(t, ordinal, 3)
	}
}

func startupPath(broker *v1alpha1.Broker) string {
	return *brokerPod(broker, "nats").Containers[0].StartupProbe.HTTPGet.Path
}

func writeCertificate(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for name, text := range newCertificate(t, time.Now().AddDate(1, 0, 0), "localhost") {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}
