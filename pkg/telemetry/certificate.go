package telemetry

import (
	"context"
	"crypto/tls"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"k8s.io/client-go/util/cert"
	"k8s.io/klog/v2"
)

// selfSignedLife outlives any process. Who wants rotation has a certificate in files.
const selfSignedLife = 10 * 365 * 24 * time.Hour

// ServerTLS is the TLS configuration of a server whose certificate stands in dir, as tls.crt and tls.key. Files that change are
// loaded anew; a pair that does not fit, such as one of which half is written, leaves the one before in use. Without dir the
// certificate is made up, for names, and only good for encryption: clients cannot verify it.
func ServerTLS(ctx context.Context, dir string, names ...string) (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if dir == "" {
		pair, err := selfSigned(names)
		config.Certificates = []tls.Certificate{pair}
		return config, err
	}
	files := &certificateFiles{
		cert: filepath.Join(dir, "tls.crt"), key: filepath.Join(dir, "tls.key"), logger: klog.FromContext(ctx),
	}
	if err := files.load(); err != nil {
		return nil, err
	}
	config.GetCertificate = files.get
	return config, nil
}

func selfSigned(names []string) (tls.Certificate, error) {
	certPEM, keyPEM, err := cert.GenerateSelfSignedCertKeyWithOptions(cert.SelfSignedCertKeyOptions{
		Host: names[0], AlternateDNS: names[1:], MaxAge: selfSignedLife,
	})
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("make a self-signed certificate: %w", err)
	}
	return tls.X509KeyPair(certPEM, keyPEM)
}

// certificateFiles are looked at in every handshake, which costs less than one of its multiplications and needs no goroutine.
type certificateFiles struct {
	cert, key string
	logger    klog.Logger

	mu     sync.Mutex
	pair   *tls.Certificate
	loaded [2]fileStamp // what the files looked like when they were last tried
}

// fileStamp tells a file from the one that stood there before.
type fileStamp struct {
	modified time.Time
	size     int64
}

func (f *certificateFiles) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.loaded == f.stamps() {
		return f.pair, nil
	}
	if err := f.load(); err != nil {
		f.logger.Error(err, "The certificate cannot be loaded, the one before stays in use")
	} else {
		f.logger.Info("Loaded a new certificate", "file", f.cert)
	}
	return f.pair, nil
}

// load tries the files once, whatever comes of it: they are tried again when they change.
func (f *certificateFiles) load() error {
	f.loaded = f.stamps() // first: a change from now on is seen next time
	pair, err := tls.LoadX509KeyPair(f.cert, f.key)
	if err != nil {
		return fmt.Errorf("load certificate %s and its key: %w", f.cert, err)
	}
	f.pair = &pair
	return nil
}

func (f *certificateFiles) stamps() (stamps [2]fileStamp) {
	for i, file := range []string{f.cert, f.key} {
		if info, err := os.Stat(file); err == nil {
			stamps[i] = fileStamp{info.ModTime(), info.Size()}
		}
	}
	return stamps
}
