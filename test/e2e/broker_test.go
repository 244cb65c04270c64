package e2e

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

const internalName = "meshery-broker.meshery.svc.cluster.local"

// patch edits the Broker as kubectl edit does.
func (c *cluster) patch(t *testing.T, what, spec string) {
	t.Helper()
	c.run(t, "patch", "-n", namespace, what, "--type=merge", "-p", `{"spec":`+spec+`}`)
}

// waitCondition waits for a condition of the newest generation and returns its message.
func (c *cluster) waitCondition(t *testing.T, what, kind, status, reason string) (message string) {
	t.Helper()
	condition := fmt.Sprintf(`{range .status.conditions[?(@.type=="%s")]}{.observedGeneration} {.status} {.reason} {.message}{end}`, kind)
	eventually(t, fmt.Sprintf("%s %s=%s %s", what, kind, status, reason), 2*time.Minute, func(ctx context.Context) error {
		out, err := c.try(ctx, "get", "-n", namespace, what, "-o", "jsonpath={.metadata.generation} "+condition)
		if err != nil {
			return err
		}
		fields := strings.SplitN(out, " ", 5)
		if len(fields) < 5 || fields[0] != fields[1] || fields[2] != status || fields[3] != reason {
			return fmt.Errorf("it is: %s", out)
		}
		message = fields[4]
		return nil
	})
	return message
}

// nodePort is how clients outside the cluster connect where there is no load balancer.
func (c *cluster) nodePort(t *testing.T) {
	c.patch(t, "broker/meshery-broker", `{"service":{"type":"NodePort"}}`)
	c.waitCondition(t, "broker/meshery-broker", "ExternalEndpoint", "True", "NodePort")
	external := c.run(t, "get", "broker", "-n", namespace, "meshery-broker", "-o", "jsonpath={.status.endpoint.external}")
	connection, err := nats.Connect("nats://"+external, nats.Token(c.token(t)), nats.Timeout(10*time.Second))
	if err != nil {
		t.Fatalf("connect to %s: %v", external, err)
	}
	connection.Close()
	c.patch(t, "broker/meshery-broker", `{"service":{"type":null}}`)
	c.waitCondition(t, "broker/meshery-broker", "ExternalEndpoint", "False", "LoadBalancerPending")
}

// brokenImage is told in the conditions, and passes when it is mended.
func (c *cluster) brokenImage(t *testing.T) {
	c.patch(t, "broker/meshery-broker", `{"version":"no-such-version"}`)
	message := c.waitCondition(t, "broker/meshery-broker", "Degraded", "True", "PodsFailing")
	if !strings.Contains(message, "meshery-broker-0") || !strings.Contains(message, "no-such-version") && !strings.Contains(message, "ImagePull") {
		t.Errorf("message %q says neither which pod nor why", message)
	}
	c.patch(t, "broker/meshery-broker", `{"version":null}`)
	c.waitCondition(t, "broker/meshery-broker", "Degraded", "False", "AsExpected")
	c.waitReady(t)
	if described := c.run(t, "describe", "broker", "-n", namespace, "meshery-broker"); !strings.Contains(described, "PodsFailing") {
		t.Errorf("kubectl describe shows no Event of it:\n%s", described)
	}
}

// tlsBroker turns TLS on, changes the authority, and turns it off again. The agent follows each time.
func (c *cluster) tlsBroker(t *testing.T) {
	for _, authority := range []string{"first", "second"} {
		pool := c.putCertificate(t, authority)
		c.patch(t, "broker/meshery-broker", `{"tls":{"secretName":"broker-tls"}}`)
		c.waitCondition(t, "broker/meshery-broker", "Warning", "True", "PrivateCA")
		eventually(t, "the broker shows the certificate of the "+authority+" authority", 2*time.Minute, func(ctx context.Context) error {
			return c.publishes(ctx, t, nats.Secure(&tls.Config{RootCAs: pool, ServerName: internalName, MinVersion: tls.VersionTLS12}))
		})
		c.waitReady(t)
	}
	c.patch(t, "broker/meshery-broker", `{"tls":null}`)
	c.waitCondition(t, "broker/meshery-broker", "Warning", "False", "NoWarnings")
	eventually(t, "without TLS", 2*time.Minute, func(ctx context.Context) error { return c.publishes(ctx, t) })
	c.waitReady(t)
}

// publishes reports whether the agent's stream arrives over a connection with these options.
func (c *cluster) publishes(ctx context.Context, t *testing.T, options ...nats.Option) error {
	connection, closeAll, err := c.dial(ctx, t, "svc/meshery-broker", options...)
	if err != nil {
		return err
	}
	defer closeAll()
	subscription, err := connection.SubscribeSync("meshery.meshsync.core")
	if err != nil {
		return err
	}
	if err := connection.Flush(); err != nil {
		return err
	}
	name := fmt.Sprintf("touch-%d", time.Now().UnixNano())
	if _, err := c.try(ctx, "create", "configmap", "-n", "default", name); err != nil {
		return err
	}
	defer func() { _, _ = c.try(ctx, "delete", "configmap", "-n", "default", name) }()
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); {
		message, err := subscription.NextMsg(time.Second)
		switch {
		case errors.Is(err, nats.ErrTimeout):
		case err != nil:
			return err
		case strings.Contains(string(message.Data), name):
			return nil
		}
	}
	return errors.New("no message of the agent arrived")
}

// putCertificate writes the Secret broker-tls, signed by a new authority, and returns that.
func (c *cluster) putCertificate(t *testing.T, authority string) *x509.CertPool {
	t.Helper()
	caKey, ca := certificate(t, &x509.Certificate{
		Subject: pkix.Name{CommonName: authority}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}, nil, nil)
	key, leaf := certificate(t, &x509.Certificate{
		Subject: pkix.Name{CommonName: "meshery-broker"}, DNSNames: []string{internalName}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, ca, caKey)
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "certificate-") //nolint:usetesting // t.TempDir has the test's name in it, and kubectl splits at its commas
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	for name, block := range map[string]*pem.Block{
		"ca.crt": {Type: "CERTIFICATE", Bytes: ca.Raw}, "tls.crt": {Type: "CERTIFICATE", Bytes: leaf.Raw}, "tls.key": {Type: "PRIVATE KEY", Bytes: keyDER},
	} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	manifest := c.run(t, "create", "secret", "generic", "broker-tls", "-n", namespace, "--dry-run=client", "-o", "yaml", "--type=kubernetes.io/tls", "--from-file="+dir)
	file := filepath.Join(dir, "secret.yaml")
	if err := os.WriteFile(file, []byte(manifest), 0o600); err != nil {
		t.Fatal(err)
	}
	c.run(t, "apply", "-f", file)
	pool := x509.NewCertPool()
	pool.AddCert(ca)
	return pool
}

// certificate signs one with its parent's key, or with its own.
func certificate(t *testing.T, template, parent *x509.Certificate, parentKey *ecdsa.PrivateKey) (*ecdsa.PrivateKey, *x509.Certificate) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().AddDate(1, 0, 0)
	if parent == nil {
		parent, parentKey = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, parentKey)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return key, parsed
}

// rollingUpdate replaces the servers of a cluster one by one: each tells its clients to leave before it ends.
func (c *cluster) rollingUpdate(t *testing.T) {
	told := make(chan struct{}, 1)
	connection, closeAll, err := c.dial(t.Context(), t, "pod/meshery-broker-2", nats.LameDuckModeHandler(func(*nats.Conn) {
		select {
		case told <- struct{}{}:
		default:
		}
	}))
	if err != nil {
		t.Fatal(err)
	}
	defer closeAll()
	if err := connection.Flush(); err != nil {
		t.Fatal(err)
	}
	c.patch(t, "broker/meshery-broker", `{"resources":{"requests":{"cpu":"20m"}}}`)
	select {
	case <-told:
	case <-time.After(time.Minute):
		t.Error("the server ended without telling its clients")
	}
	ready := func(ctx context.Context) (string, error) {
		return c.try(ctx, "get", "statefulset", "-n", namespace, "meshery-broker", "-o", "jsonpath={.status.readyReplicas} {.status.updatedReplicas}")
	}
	eventually(t, "rolled one by one", 4*time.Minute, func(ctx context.Context) error {
		out, err := ready(ctx)
		if err != nil {
			return err
		}
		if !strings.HasPrefix(out, "3") && !strings.HasPrefix(out, "2") {
			t.Errorf("more than one server was away at once: %s", out)
		}
		if out != "3 3" {
			return errors.New(out)
		}
		return nil
	})
	c.waitReady(t)
}
