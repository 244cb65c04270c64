package bus

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
	"k8s.io/klog/v2"
)

// CheckCreds returns what is wrong with the CredsFile, if there is to be one.
func (a Address) CheckCreds() error {
	if a.CredsFile == "" {
		return nil
	}
	_, _, err := readCreds(a.CredsFile)
	return err
}

// CheckNKey returns what is wrong with the NKeyFile, if there is to be one.
func (a Address) CheckNKey() error {
	if a.NKeyFile == "" {
		return nil
	}
	_, _, err := readNKey(a.NKeyFile)
	return err
}

func readCreds(file string) (jwt string, key nkeys.KeyPair, err error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return "", nil, err
	}
	jwt, err = nkeys.ParseDecoratedJWT(text)
	if err != nil || strings.Count(jwt, ".") != 2 {
		return "", nil, fmt.Errorf("%s holds no user's JWT: want text that begins with -----BEGIN NATS USER JWT-----", file)
	}
	if key, err = nkeys.ParseDecoratedUserNKey(text); err != nil {
		return "", nil, fmt.Errorf("%s holds a user's JWT, but not the seed of its NKey: %w", file, err)
	}
	return jwt, key, nil
}

func readNKey(file string) (key nkeys.KeyPair, public string, err error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, "", err
	}
	if key, err = nkeys.ParseDecoratedUserNKey(text); err != nil {
		return nil, "", fmt.Errorf("%s holds no seed of a user's NKey, which begins with SU: %w", file, err)
	}
	public, err = key.PublicKey()
	return key, public, err
}

// login is how a connection that c makes is to log in.
func (a Address) login(c *Conn) []nats.Option {
	switch l := (&fileLogin{address: a, conn: c}); {
	case a.CredsFile != "":
		return []nats.Option{nats.SetCustomDialer(l), nats.UserJWT(l.token, l.sign)}
	case a.NKeyFile != "":
		_, l.public, _ = readNKey(a.NKeyFile) // if it cannot be read, Dial says so
		return []nats.Option{nats.SetCustomDialer(l), nats.Nkey(l.public, l.sign)}
	case a.User != "":
		return []nats.Option{nats.UserInfo(a.User, a.Password)}
	case a.Token != "":
		return []nats.Option{nats.Token(a.Token)}
	default:
		return nil
	}
}

// fileLogin logs in with what is in a file at that moment. For every connection nats.go calls Dial, which reads the file, so that what is
// wrong with it is a reason why there is no connection like any other; then the rest. All the while it holds its lock.
type fileLogin struct {
	dialer  dialer
	address Address
	conn    *Conn
	public  string // the NKey that nats.go says it is

	// What was in the file, for the connection that is being made.
	jwt string
	key nkeys.KeyPair
}

// Dial implements nats.CustomDialer.
func (l *fileLogin) Dial(network, address string) (net.Conn, error) {
	if err := l.read(); err != nil {
		return nil, err
	}
	return l.dialer.Dial(network, address)
}

func (l *fileLogin) read() (err error) {
	if l.address.CredsFile != "" {
		l.jwt, l.key, err = readCreds(l.address.CredsFile)
		return err
	}
	var public string
	if l.key, public, err = readNKey(l.address.NKeyFile); err != nil || public == l.public {
		return err
	}
	// There is no option to ask for the NKey; but nats.go looks at this one after Dial, under the lock that it has now.
	select {
	case <-l.conn.set:
		l.conn.nats.Opts.Nkey, l.public = public, public
		return nil
	default:
		return errors.New("the NKey has changed meanwhile") // at the next attempt it is set
	}
}

func (l *fileLogin) token() (string, error) { return l.jwt, nil }

func (l *fileLogin) sign(nonce []byte) ([]byte, error) {
	defer l.key.Wipe()
	return l.key.Sign(nonce)
}

// hasFiles tells whether a connection is made with something that is in files.
func (a Address) hasFiles() bool { return a.CAFile != "" || a.CredsFile != "" || a.NKeyFile != "" }

// digest is another one when there is something else in the files. It is not known while one of them is not there.
func (a Address) digest() (sum [sha256.Size]byte, known bool) {
	var sums []byte
	for _, file := range []string{a.CAFile, a.CredsFile, a.NKeyFile} {
		if file == "" {
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			return sum, false
		}
		one := sha256.Sum256(text)
		sums = append(sums, one[:]...)
	}
	return sha256.Sum256(sums), true
}

// watchFiles makes the connection anew when what it is made with has changed since it was seen: a login is in use before the one that it
// replaces is revoked. It returns when the connection is closed.
func (c *Conn) watchFiles(logger klog.Logger, every time.Duration, seen [sha256.Size]byte) {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case <-c.closed:
			return
		case <-ticker.C:
		}
		now, known := c.address.digest()
		if !known || now == seen {
			continue
		}
		seen = now
		if err := errors.Join(c.address.CheckAuthority(), c.address.CheckCreds(), c.address.CheckNKey()); err != nil {
			logger.Error(err, "The changed login or authority for the broker is of no use")
			continue
		}
		logger.Info("The login or authority for the broker has changed, will reconnect")
		_ = c.nats.ForceReconnect() // an error means that it is closed
	}
}
