package main

import (
	"crypto/x509"
	"testing"
)

// The image holds nothing but the program.
func TestPublicAuthoritiesAreKnownWithoutFiles(t *testing.T) {
	t.Setenv("SSL_CERT_FILE", "/does/not/exist")
	t.Setenv("SSL_CERT_DIR", "/does/not/exist")
	known, err := x509.SystemCertPool()
	if err != nil || known.Equal(x509.NewCertPool()) {
		t.Errorf("no public authority is known: %v", err)
	}
}
