package bus

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

const defaultPort = "4222"

var schemes = []string{"nats", "tls", "ws", "wss"}

// Address says where the broker is and how to log in.
type Address struct {
	URL            string // scheme://host:port, without any secret in it
	Token          string
	User, Password string
	// CAFile has the certificate of the authority that signed the broker's. With it the connection is by TLS, whatever the
	// scheme. It is read at every connection.
	CAFile string
}

// ParseAddress reads a URL such as nats://token@host:4222 or tls://user:password@host. Scheme and port may be left out. What
// stands before the last @ is the secret, whatever characters it has; %XX in it is decoded where that is possible. Errors never
// contain it.
func ParseAddress(text string) (Address, error) {
	text = strings.TrimSpace(text)
	if text == "" {
		return Address{}, errors.New("no broker URL, want one such as nats://token@host:4222")
	}
	scheme, rest, ok := strings.Cut(text, "://")
	if !ok || strings.Contains(scheme, "@") {
		scheme, rest = "nats", text
	}
	var secret string
	if at := strings.LastIndex(rest, "@"); at >= 0 {
		secret, rest = rest[:at], rest[at+1:]
	}
	host, path, _ := strings.Cut(rest, "/")
	if !slices.Contains(schemes, scheme) {
		return Address{}, fmt.Errorf("broker URL %s://%s: unknown scheme, want one of %s", scheme, host, strings.Join(schemes, ", "))
	}
	endpoint, err := withPort(host)
	if err != nil {
		return Address{}, fmt.Errorf("broker URL %s://%s: %w", scheme, host, err)
	}
	address := Address{URL: scheme + "://" + endpoint}
	if path != "" && strings.HasPrefix(scheme, "ws") {
		address.URL += "/" + path
	}
	if user, password, ok := strings.Cut(secret, ":"); ok {
		address.User, address.Password = unescape(user), unescape(password)
	} else {
		address.Token = unescape(secret)
	}
	return address, nil
}

// String is the address as it may be shown.
func (a Address) String() string { return a.URL }

func withPort(host string) (string, error) {
	name, port, err := net.SplitHostPort(host)
	if err != nil { // no port
		name, port = strings.Trim(host, "[]"), defaultPort
	}
	number, err := strconv.Atoi(port)
	if name == "" || strings.ContainsAny(name, ", \t") || err != nil || number < 1 || number > 65535 {
		return "", errors.New("want one host with an optional port from 1 to 65535, such as nats.example.com:4222")
	}
	return net.JoinHostPort(name, port), nil
}

func unescape(text string) string {
	if plain, err := url.PathUnescape(text); err == nil {
		return plain
	}
	return text
}
