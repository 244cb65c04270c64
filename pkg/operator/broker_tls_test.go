package operator

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"meshery.io/operator/pkg/apis/meshery"
	"meshery.io/operator/pkg/apis/meshery/v1alpha1"
)

// newCertificate signs itself, so that it is its own authority.
func newCertificate(t *testing.T, end time.Time, names ...string) map[string][]byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, DNSNames: names, NotBefore: end.AddDate(-1, 0, 0), NotAfter: end,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return map[string][]byte{
		"tls.crt": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate}),
		"tls.key": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}),
	}
}

func with(data map[string][]byte, key string, value []byte) map[string][]byte {
	changed := map[string][]byte{key: value}
	for k, v := range data {
		if k != key {
			changed[k] = v
		}
	}
	return changed
}

func TestTLSSecretsThatServersCannotUse(t *testing.T) {
	good := newCertificate(t, time.Now().AddDate(1, 0, 0), "a")
	other := newCertificate(t, time.Now().AddDate(1, 0, 0), "a")
	for name, test := range map[string]struct {
		data map[string][]byte
		want string // none: usable
	}{
		"a good one":                  {good, ""},
		"one with an authority":       {with(good, "ca.crt", good["tls.crt"]), ""},
		"no certificate":              {with(good, "tls.crt", nil), `Secret x has no key "tls.crt"`},
		"no key":                      {with(good, "tls.key", nil), `Secret x has no key "tls.key"`},
		"nothing":                     {nil, `"tls.crt"`},
		"the key of another":          {with(good, "tls.key", other["tls.key"]), "tls.crt and tls.key of Secret x do not fit: tls: private key does not match public key"},
		"text that is no certificate": {with(good, "tls.crt", []byte("hello")), "do not fit"},
		"a key that is no key":        {with(good, "tls.key", []byte("hunter2")), "do not fit"},
	} {
		t.Run(name, func(t *testing.T) {
			err := checkTLS(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "x"}, Data: test.data})
			if (err == nil) != (test.want == "") || err != nil && (!strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "hunter2")) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

func TestCertificatesAreWarnedOf(t *testing.T) {
	const host = "b.ns.svc.cluster.local"
	now := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	day := 24 * time.Hour
	for name, test := range map[string]struct {
		data    map[string][]byte
		reasons string
		says    string
		recheck time.Duration
	}{
		"a good one":            {newCertificate(t, now.Add(30*day), "x", host), "", "", 16*day + time.Second},
		"a wildcard":            {newCertificate(t, now.Add(30*day), "*.ns.svc.cluster.local"), "", "", 16*day + time.Second},
		"of another name":       {newCertificate(t, now.Add(30*day), "b.ns.svc"), "CertificateUnfit", host, 16*day + time.Second},
		"about to expire":       {newCertificate(t, now.Add(13*day), host), "CertificateUnfit", "expires on 2026-12-03 12:00:00", 13 * day},
		"expired":               {newCertificate(t, now.Add(-day), host), "CertificateUnfit", "expired on 2026-11-19 12:00:00", 0},
		"of a private CA":       {with(newCertificate(t, now.Add(30*day), host), "ca.crt", []byte("x")), "PrivateCA", "Meshery Server knows public ones only", 16*day + time.Second},
		"of an empty CA":        {with(newCertificate(t, now.Add(30*day), host), "ca.crt", nil), "", "", 16*day + time.Second},
		"everything is unfit":   {with(newCertificate(t, now.Add(-day)), "ca.crt", []byte("x")), "CertificateUnfit CertificateUnfit PrivateCA", "", 0},
		"no certificate at all": {nil, "", "", 0},
	} {
		t.Run(name, func(t *testing.T) {
			findings, recheck := tlsWarnings(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "x"}, Data: test.data}, host+":4222", now)
			var reasons, messages []string
			for _, finding := range findings {
				reasons, messages = append(reasons, finding.reason), append(messages, finding.message)
			}
			if strings.Join(reasons, " ") != test.reasons || !strings.Contains(strings.Join(messages, "\n"), test.says) || recheck != test.recheck {
				t.Errorf("got %+v and %v, want %q saying %q and %v", findings, recheck, test.reasons, test.says, test.recheck)
			}
		})
	}
}

// From a Secret that is not there to one that is renewed; the servers are never touched by a bad one.
func TestTLSFollowsItsSecret(t *testing.T) {
	t.Parallel()
	namespace := newNamespace(t)
	if err := create(t, "v1alpha1", "brokers", namespace, broker(meshery.BrokerName, "{tls: {secretName: nats-tls}}")); err != nil {
		t.Fatal(err)
	}
	startOperator(t, namespace, func(o *Options) { o.ClusterDomain = "corp.example" })
	wantBrokerCondition(t, namespace, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonSecretInvalid,
		"Secret nats-tls does not exist", "kubectl create secret tls -n "+namespace+" nats-tls")

	secrets := server.admin.kube.CoreV1().Secrets(namespace)
	host := meshery.BrokerName + "." + namespace + ".svc.corp.example"
	nextYear := time.Now().AddDate(1, 0, 0)
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "nats-tls"}, Data: newCertificate(t, nextYear, host)}
	key := secret.Data["tls.key"]
	secret.Data["tls.key"] = nil
	if _, err := secrets.Create(t.Context(), secret, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	wantBrokerCondition(t, namespace, v1alpha1.ConditionDegraded, metav1.ConditionTrue, v1alpha1.ReasonSecretInvalid, `Secret nats-tls has no key "tls.key"`)
	if _, err := liveStatefulSet(t.Context(), namespace); err == nil {
		t.Error("servers were made without a key")
	}
	update := func(data map[string][]byte) {
		t.Helper()
		secret.Data = data
		if _, err := secrets.Update(t.Context(), secret, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	update(with(secret.Data, "tls.key", key))
	playKubelet(t, namespace)
	wantReady(t, brokerConditions(namespace), metav1.ConditionTrue, v1alpha1.ReasonBrokerDeployed)
	wantBrokerCondition(t, namespace, v1alpha1.ConditionWarning, metav1.ConditionFalse, v1alpha1.ReasonNoWarnings)
	made := eventuallyServers(t, namespace, "certificate and key are mounted, and nothing else", func(s *appsv1.StatefulSet) bool {
		for i := range s.Spec.Template.Spec.Volumes {
			if source := s.Spec.Template.Spec.Volumes[i].Secret; source != nil {
				return source.SecretName == "nats-tls" && len(source.Items) == 2
			}
		}
		return false
	})

	update(with(newCertificate(t, nextYear, host), "ca.crt", secret.Data["tls.crt"]))
	rolled := eventuallyServers(t, namespace, "the renewed certificate rolls the servers", func(s *appsv1.StatefulSet) bool {
		return s.Spec.Template.Annotations[annotationSecretHash] != made.Spec.Template.Annotations[annotationSecretHash]
	})
	wantBrokerCondition(t, namespace, v1alpha1.ConditionWarning, metav1.ConditionTrue, v1alpha1.ReasonPrivateCA, "Meshery Server")
	update(newCertificate(t, nextYear, "elsewhere"))
	wantBrokerCondition(t, namespace, v1alpha1.ConditionWarning, metav1.ConditionTrue, v1alpha1.ReasonCertificateUnfit, host)
	rolled = eventuallyServers(t, namespace, "it is used all the same", func(s *appsv1.StatefulSet) bool { return s.Generation > rolled.Generation })

	update(with(secret.Data, "tls.key", key))
	wantBrokerCondition(t, namespace, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonSecretInvalid, "do not fit")
	if err := secrets.Delete(t.Context(), "nats-tls", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	wantBrokerCondition(t, namespace, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonSecretInvalid, "does not exist")
	config, configErr := server.admin.kube.CoreV1().ConfigMaps(namespace).Get(t.Context(), meshery.BrokerConfig(meshery.BrokerName), metav1.GetOptions{})
	if err := errors.Join(configErr, untouched(t.Context(), namespace, rolled)); err != nil || !strings.Contains(config.Data[natsConfigKey], "tls {") {
		t.Errorf("the servers or their configuration were touched: %v", err)
	}

	patchBroker(t, namespace, `{"tls":null}`)
	eventuallyServers(t, namespace, "without TLS", func(s *appsv1.StatefulSet) bool {
		return len(s.Spec.Template.Spec.Volumes) == 2 && len(s.Spec.Template.Spec.Containers[0].VolumeMounts) == 2
	})
	wantBrokerCondition(t, namespace, v1alpha1.ConditionDegraded, metav1.ConditionFalse, v1alpha1.ReasonAsExpected)
}

func untouched(ctx context.Context, namespace string, before *appsv1.StatefulSet) error {
	after, err := liveStatefulSet(ctx, namespace)
	if err == nil && (after.UID != before.UID || after.Generation != before.Generation) {
		err = fmt.Errorf("generation %d became %d", before.Generation, after.Generation)
	}
	return err
}
