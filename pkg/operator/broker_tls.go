package operator

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"time"

	corev1 "k8s.io/api/core/v1"
	coreac "k8s.io/client-go/applyconfigurations/core/v1"

	"meshery.io/operator/pkg/apis/meshery/v1alpha1"
)

const (
	tlsVolumeName = "tls"
	caKey         = "ca.crt"

	// expiryWarning is how long before its end a certificate is warned of.
	expiryWarning = 14 * 24 * time.Hour
)

// tlsVolume shows the servers their certificate and key, and nothing else that the Secret may hold.
func tlsVolume(tls *v1alpha1.BrokerTLS) *coreac.VolumeApplyConfiguration {
	key := func(name string) *coreac.KeyToPathApplyConfiguration {
		return coreac.KeyToPath().WithKey(name).WithPath(name)
	}
	return coreac.Volume().WithName(tlsVolumeName).WithSecret(coreac.SecretVolumeSource().
		WithSecretName(tls.SecretName).
		WithItems(key(corev1.TLSCertKey), key(corev1.TLSPrivateKeyKey)))
}

// checkTLS refuses a Secret with which a server would not start.
func checkTLS(secret *corev1.Secret) error {
	for _, key := range []string{corev1.TLSCertKey, corev1.TLSPrivateKeyKey} {
		if len(secret.Data[key]) == 0 {
			return &unavailable{v1alpha1.ReasonSecretInvalid,
				fmt.Sprintf("spec.tls.secretName: Secret %s has no key %q: the servers stay as they are until it is added", secret.Name, key)}
		}
	}
	if _, err := tls.X509KeyPair(secret.Data[corev1.TLSCertKey], secret.Data[corev1.TLSPrivateKeyKey]); err != nil {
		return &unavailable{v1alpha1.ReasonSecretInvalid, fmt.Sprintf(
			"spec.tls.secretName: %s and %s of Secret %s do not fit: %v; the servers stay as they are until that is mended",
			corev1.TLSCertKey, corev1.TLSPrivateKeyKey, secret.Name, err)}
	}
	return nil
}

// tlsWarnings says what clients will not like about a certificate, and when to look again: only time ends one. endpoint is where
// clients inside the cluster connect.
func tlsWarnings(secret *corev1.Secret, endpoint string, now time.Time) ([]finding, time.Duration) {
	pair, err := tls.X509KeyPair(secret.Data[corev1.TLSCertKey], secret.Data[corev1.TLSPrivateKeyKey])
	if err != nil || pair.Leaf == nil {
		return nil, 0 // checkTLS's
	}
	var findings []finding
	if host, _, _ := net.SplitHostPort(endpoint); pair.Leaf.VerifyHostname(host) != nil {
		findings = append(findings, finding{v1alpha1.ReasonCertificateUnfit,
			fmt.Sprintf("The certificate in Secret %s does not name %s, so clients inside the cluster refuse it: add that DNS name", secret.Name, host)})
	}
	expiry, recheck := expiryWarnings(secret.Name, pair.Leaf, now)
	findings = append(findings, expiry...)
	if len(secret.Data[caKey]) > 0 {
		findings = append(findings, finding{v1alpha1.ReasonPrivateCA, fmt.Sprintf("Secret %s has a %s: MeshSync trusts that authority, "+
			"but Meshery Server knows public ones only and cannot connect. Use a certificate of a public authority, or none, if Meshery Server is to listen", secret.Name, caKey)})
	}
	return findings, recheck
}

func expiryWarnings(secret string, certificate *x509.Certificate, now time.Time) ([]finding, time.Duration) {
	end := certificate.NotAfter.UTC()
	switch left := end.Sub(now); {
	case left <= 0:
		return []finding{{v1alpha1.ReasonCertificateUnfit,
			fmt.Sprintf("The certificate in Secret %s expired on %s, so clients refuse it: renew it", secret, end.Format(time.DateTime))}}, 0
	case left < expiryWarning:
		return []finding{{v1alpha1.ReasonCertificateUnfit,
			fmt.Sprintf("The certificate in Secret %s expires on %s: renew it", secret, end.Format(time.DateTime))}}, left
	default:
		return nil, left - expiryWarning + time.Second
	}
}
