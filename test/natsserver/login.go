package natsserver

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/nats-io/nkeys"
)

// User is one that logs in by an NKey.
type User struct {
	Seed []byte // what is in the user's file

	public string
	deny   []string // subjects
}

// NewUser makes a user that may not subscribe to some subjects.
func NewUser(t testing.TB, deny ...string) *User {
	t.Helper()
	key, public := newKey(t, nkeys.PrefixByteUser)
	seed, err := key.Seed()
	if err != nil {
		t.Fatal(err)
	}
	return &User{Seed: seed, public: public, deny: deny}
}

// NKeys is Options.Logins of a server that lets in these users, and nobody else.
func NKeys(users ...*User) string {
	var list []string
	for _, user := range users {
		list = append(list, fmt.Sprintf("{ nkey: %s, permissions: { subscribe: { deny: [%s] } } }", user.public, strings.Join(user.deny, ", ")))
	}
	return "authorization { users: [" + strings.Join(list, ", ") + "] }"
}

// Account signs the JWTs of its users.
type Account struct {
	// Logins is Options.Logins of a server that lets in the users of the account, and nobody else.
	Logins string

	key    nkeys.KeyPair
	public string
}

// NewAccount makes an account, and the operator that signs its JWT.
func NewAccount(t testing.TB) *Account {
	t.Helper()
	operator, operatorName := newKey(t, nkeys.PrefixByteOperator)
	a := &Account{}
	a.key, a.public = newKey(t, nkeys.PrefixByteAccount)
	operatorJWT := signJWT(t, operator, operatorName, operatorName, claims{"type": "operator", "version": 2})
	accountJWT := signJWT(t, operator, operatorName, a.public, claims{"type": "account", "version": 2, "limits": claims{
		"subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true, "conn": -1, "leaf": -1,
	}})
	a.Logins = fmt.Sprintf("operator: %s\nresolver: MEMORY\nresolver_preload: { %s: %s }", operatorJWT, a.public, accountJWT)
	return a
}

// Creds makes what is in the credentials file of a user of the account.
func (a *Account) Creds(t testing.TB, user *User) []byte {
	t.Helper()
	jwt := signJWT(t, a.key, a.public, user.public, claims{
		"type": "user", "version": 2, "subs": -1, "data": -1, "payload": -1, "pub": claims{}, "sub": claims{"deny": user.deny},
	})
	return fmt.Appendf(nil, "-----BEGIN NATS USER JWT-----\n%s\n------END NATS USER JWT------\n\n"+
		"-----BEGIN USER NKEY SEED-----\n%s\n------END USER NKEY SEED------\n", jwt, user.Seed)
}

type claims map[string]any

// signJWT writes a JWT as NATS wants it.
func signJWT(t testing.TB, by nkeys.KeyPair, issuer, subject string, of claims) string {
	t.Helper()
	body, err := json.Marshal(claims{"jti": subject, "iat": 1, "iss": issuer, "sub": subject, "name": "test", "nats": of})
	if err != nil {
		t.Fatal(err)
	}
	encode := base64.RawURLEncoding.EncodeToString
	text := encode([]byte(`{"typ":"JWT","alg":"ed25519-nkey"}`)) + "." + encode(body)
	signature, err := by.Sign([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return text + "." + encode(signature)
}

func newKey(t testing.TB, of nkeys.PrefixByte) (key nkeys.KeyPair, public string) {
	t.Helper()
	key, err := nkeys.CreatePair(of)
	if err != nil {
		t.Fatal(err)
	}
	if public, err = key.PublicKey(); err != nil {
		t.Fatal(err)
	}
	return key, public
}
