package bus_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"meshery.io/operator/pkg/meshsync/bus"
	"meshery.io/operator/test/natsserver"
)

// fileLogin is a way to log in with what is in a file.
type fileLogin struct {
	server                  natsserver.Options
	before, after, stranger []byte // of a user who may not subscribe to "x.granted", of one who may, and of one who is not let in
	address                 func(url, file string) bus.Address
	option                  func(t *testing.T, file string) nats.Option
}

func fileLogins(t *testing.T) map[string]fileLogin {
	t.Helper()
	before, after, stranger := natsserver.NewUser(t, "x.granted"), natsserver.NewUser(t), natsserver.NewUser(t)
	account := natsserver.NewAccount(t)
	return map[string]fileLogin{
		"NKey": {
			natsserver.Options{Logins: natsserver.NKeys(before, after)}, before.Seed, after.Seed, stranger.Seed,
			func(url, file string) bus.Address { return bus.Address{URL: url, NKeyFile: file} },
			func(t *testing.T, file string) nats.Option {
				option, err := nats.NkeyOptionFromSeed(file)
				if err != nil {
					t.Fatal(err)
				}
				return option
			},
		},
		"creds": {
			natsserver.Options{Logins: account.Logins}, account.Creds(t, before), account.Creds(t, after), natsserver.NewAccount(t).Creds(t, stranger),
			func(url, file string) bus.Address { return bus.Address{URL: url, CredsFile: file} },
			func(_ *testing.T, file string) nats.Option { return nats.UserCredentials(file) },
		},
	}
}

// hears returns when conn gets what others send on a subject.
func hears(t *testing.T, conn *bus.Conn, subject string, server *natsserver.Server, options ...nats.Option) {
	t.Helper()
	client, err := nats.Connect("nats://"+server.Addr, options...)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	heard := make(chan struct{}, 1000)
	stop, err := conn.Subscribe(subject, "", func([]byte) { heard <- struct{}{} })
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	eventually(t, "hears "+subject, func() bool {
		if err := client.Publish(subject, nil); err != nil {
			t.Fatal(err)
		}
		return len(heard) > 0
	})
}

func TestAChangedLoginIsUsedBeforeTheOldOneIsRevoked(t *testing.T) {
	t.Parallel()
	for name, login := range fileLogins(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := natsserver.Start(t, login.server) // it lets both in
			dir := t.TempDir()
			file, granted := filepath.Join(dir, "login"), filepath.Join(dir, "granted")
			trust(t, file, login.before)
			trust(t, granted, login.after)
			conn, log := connectByTLS(t, login.address("nats://"+server.Addr, file))
			waitConnected(t, conn)
			hears(t, conn, "x.open", server, login.option(t, granted))

			trust(t, file, []byte("nonsense"))
			eventually(t, "what is of no use is reported", func() bool { return log.errors.Load() == 1 })
			if err := conn.Ready(); err != nil {
				t.Error(err)
			}
			trust(t, file, login.after)
			hears(t, conn, "x.granted", server, login.option(t, granted))
			if log.unreachable.Load() != 0 || log.again.Load() != 1 {
				t.Errorf("%d times unreachable, %d times connected again", log.unreachable.Load(), log.again.Load())
			}
		})
	}
}

func TestAChangedAuthorityIsUsedAtOnce(t *testing.T) {
	t.Parallel()
	authority := natsserver.NewAuthority(t)
	server := natsserver.Start(t, natsserver.Options{Authority: authority})
	file := filepath.Join(t.TempDir(), "ca.crt")
	trust(t, file, authority.PEM)
	conn, log := connectByTLS(t, bus.Address{URL: "nats://" + server.Addr, CAFile: file})
	waitConnected(t, conn)
	trust(t, file, append(natsserver.NewAuthority(t).PEM, authority.PEM...))
	eventually(t, "connected again", func() bool { return log.again.Load() == 1 })
	trust(t, file, natsserver.NewAuthority(t).PEM)
	eventually(t, "the server is not trusted any more", func() bool {
		err := conn.Ready()
		return err != nil && strings.Contains(err.Error(), "unknown authority")
	})
}

func TestALoginFileIsReadAtEveryConnection(t *testing.T) {
	t.Parallel()
	for name, login := range fileLogins(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := natsserver.Start(t, login.server)
			file := filepath.Join(t.TempDir(), "login")
			conn, log := connectByTLS(t, login.address("nats://"+server.Addr, file))
			fails := func(want string) {
				t.Helper()
				eventually(t, "the reason is said: "+want, func() bool {
					err := conn.Ready()
					return err != nil && strings.Contains(err.Error(), want)
				})
			}
			fails("login: no such file")
			trust(t, file, []byte("SUAnonsense"))
			fails(file + " holds no ")
			trust(t, file, login.stranger)
			fails("Authorization Violation")
			trust(t, file, login.after)
			waitConnected(t, conn)

			if err := os.Remove(file); err != nil {
				t.Fatal(err)
			}
			before := log.unreachable.Load()
			server.Kill()
			server.Restart(t)
			fails("login: no such file")
			eventually(t, "it is logged", func() bool { return log.unreachable.Load() > before })
			trust(t, file, login.before)
			waitConnected(t, conn)
		})
	}
}

func TestALoginFileThatCannotBeUsedIsRefusedAndNotShown(t *testing.T) {
	account, err := nkeys.CreateAccount()
	if err != nil {
		t.Fatal(err)
	}
	another, err := account.Seed()
	if err != nil {
		t.Fatal(err)
	}
	for name, login := range fileLogins(t) {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			check := func(file string) error {
				address := login.address("nats://any", file)
				return errors.Join(address.CheckCreds(), address.CheckNKey())
			}
			broken := login.after[:len(login.after)-8]
			if name == "creds" {
				broken = login.after[:strings.Index(string(login.after), "-----BEGIN USER NKEY SEED")+40]
			}
			for file, text := range map[string][]byte{
				"good": login.after, "nonsense": []byte("s3cret"), "empty": nil, "broken": broken,
				"another kind": another,
			} {
				file = filepath.Join(dir, file)
				trust(t, file, text)
				err := check(file)
				if filepath.Base(file) == "good" {
					if err != nil {
						t.Error(err)
					}
					continue
				}
				if err == nil || !strings.Contains(err.Error(), file) || strings.Contains(err.Error(), "s3cret") || len(err.Error()) > len(file)+150 {
					t.Errorf("%s: got %v", file, err)
				}
			}
			if err := check(filepath.Join(dir, "missing")); err == nil || !strings.Contains(err.Error(), "missing: no such file") {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestAServerThatTakesNoNKeysIsSaid(t *testing.T) {
	t.Parallel()
	user := natsserver.NewUser(t)
	server := natsserver.Start(t, natsserver.Options{Logins: natsserver.NKeys(user)})
	file := filepath.Join(t.TempDir(), "nkey")
	trust(t, file, user.Seed)
	conn, _ := connectByTLS(t, bus.Address{URL: "nats://" + server.Addr, NKeyFile: file})
	waitConnected(t, conn)
	server.Kill()
	server.Configure(t, natsserver.Options{})
	server.Restart(t)
	eventually(t, "it is said", func() bool {
		err := conn.Ready()
		return err != nil && strings.Contains(err.Error(), "nkeys not supported")
	})
}

func TestOfSeveralServersOneIsEnough(t *testing.T) {
	t.Parallel()
	left, right := natsserver.Start(t, natsserver.Options{Token: oddToken}), natsserver.Start(t, natsserver.Options{Token: oddToken})
	conn, _ := connectByTLS(t, bus.Address{URL: "nats://" + left.Addr + ",nats://" + right.Addr, Token: oddToken})
	waitConnected(t, conn)
	for _, of := range [][2]*natsserver.Server{{left, right}, {right, left}} {
		of[0].Kill()
		hears(t, conn, "x.1", of[1], nats.Token(oddToken))
		of[0].Restart(t)
	}
}
