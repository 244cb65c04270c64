package bus

import (
	"crypto/x509"
	"errors"
	"fmt"
	"os"

	"github.com/nats-io/nats.go"
)

var errAuthority = errors.New("authority of the broker's certificate")

// CheckAuthority returns what is wrong with the CAFile, if there is to be one.
func (a Address) CheckAuthority() error {
	if a.CAFile == "" {
		return nil
	}
	_, err := readAuthority(a.CAFile)
	return err
}

// readAuthority reads the certificates of the authorities that a broker's certificate may be signed by.
func readAuthority(file string) (*x509.CertPool, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%s holds no certificate: want PEM text that begins with -----BEGIN CERTIFICATE-----", file)
	}
	return pool, nil
}

// authority reads the file again for every connection, so that a new authority needs no restart.
func (a Address) authority() (*x509.CertPool, error) {
	pool, err := readAuthority(a.CAFile)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errAuthority, err)
	}
	return pool, nil
}

// withoutHandler tells the errors of an attempt to connect for which nats.go calls no handler.
func withoutHandler(err error) bool {
	return errors.Is(err, nats.ErrTLS) || errors.Is(err, nats.ErrSecureConnWanted) || errors.Is(err, errAuthority) || errors.Is(err, nats.ErrNkeysNotSupported)
}
