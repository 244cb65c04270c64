package telemetry

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/util/cert"
)

// writePair writes a certificate for a name, and its key, each under the path that is not empty.
func writePair(t *testing.T, name, certPath, keyPath string) {
	t.Helper()
	certPEM, keyPEM, err := cert.GenerateSelfSignedCertKey(name, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	for path, content := range map[string][]byte{certPath: certPEM, keyPath: keyPEM} {
		if path == "" {
			continue
		}
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		// A file system may not tell two writes within a moment apart; rotations are further apart than that.
		if err := os.Chtimes(path, time.Time{}, time.Now().Add(time.Duration(len(name))*time.Second)); err != nil {
			t.Fatal(err)
		}
	}
}

func servedName(t *testing.T, config *tls.Config) string {
	t.Helper()
	pair, err := config.GetCertificate(nil)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	return leaf.DNSNames[0]
}

func TestACertificateIsLoadedAnewWhenItsFilesChange(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	crt, key := filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	if _, err := ServerTLS(t.Context(), dir); err == nil || !strings.Contains(err.Error(), crt) {
		t.Errorf("no files: got %v, want an error that names them", err)
	}
	writePair(t, "a.example", crt, key)
	config, err := ServerTLS(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	if got := servedName(t, config); got != "a.example" {
		t.Errorf("got %s", got)
	}
	before, err := config.GetCertificate(nil)
	if err != nil {
		t.Fatal(err)
	}
	if again, _ := config.GetCertificate(nil); again != before {
		t.Error("unchanged files were loaded again")
	}

	writePair(t, "half.example", crt, "")
	if got := servedName(t, config); got != "a.example" {
		t.Errorf("half a new pair: got %s, want the one before", got)
	}
	writePair(t, "another.example", crt, key)
	if got := servedName(t, config); got != "another.example" {
		t.Errorf("a new pair: got %s", got)
	}
	if err := os.Remove(key); err != nil {
		t.Fatal(err)
	}
	if got := servedName(t, config); got != "another.example" {
		t.Errorf("a missing key: got %s, want the one before", got)
	}
}

func TestACertificateIsMadeUpForItsNames(t *testing.T) {
	t.Parallel()
	config, err := ServerTLS(t.Context(), "", "a.example", "b.example")
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(config.Certificates[0].Certificate[0])
	if err != nil || leaf.VerifyHostname("a.example") != nil || leaf.VerifyHostname("b.example") != nil {
		t.Errorf("certificate %v, %v", leaf, err)
	}
	if bytes.Equal(leaf.RawIssuer, leaf.RawSubject) || config.MinVersion != tls.VersionTLS12 {
		t.Errorf("issuer %s, least version %x", leaf.Issuer, config.MinVersion)
	}
}
