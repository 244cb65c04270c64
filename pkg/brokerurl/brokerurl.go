package brokerurl

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"meshery.io/operator/pkg/apis/meshery"
)

var (
	schemes  = []string{"nats", "tls", "ws", "wss"}
	hostName = regexp.MustCompile(`^[A-Za-z0-9._-]+$`)
)

// URL is a broker's URL, taken apart.
type URL struct {
	Server         string // scheme://host:port
	Endpoint       string // host:port
	Token          string
	User, Password string
}

// String is the URL as it may be shown.
func (u URL) String() string { return u.Server }

// Parse reads a URL such as nats://token@host:4222 or tls://user:password@host. Scheme and port may be left out. What stands
// before the last @ is the login, whatever characters it has; %XX in it is decoded where that is possible.
func Parse(text string) (URL, error) {
	text = strings.TrimSpace(text)
	if text == "" {
		return URL{}, errors.New("no broker URL, want one such as nats://token@host:4222")
	}
	scheme, rest, ok := strings.Cut(text, "://")
	if !ok || strings.ContainsAny(scheme, "@:") {
		scheme, rest = "nats", text
	}
	var login string
	if at := strings.LastIndex(rest, "@"); at >= 0 {
		login, rest = rest[:at], rest[at+1:]
	}
	host, path, _ := strings.Cut(rest, "/")
	// Not what follows a colon: who forgets the host writes his password there.
	shown, _, _ := strings.Cut(host, ":")
	if !slices.Contains(schemes, scheme) {
		if login == "" { // else it may be the begin of one
			shown = scheme + "://" + shown
		}
		return URL{}, fmt.Errorf("broker URL %s: unknown scheme, want one of %s", shown, strings.Join(schemes, ", "))
	}
	endpoint, err := withPort(host)
	if err != nil {
		return URL{}, fmt.Errorf("broker URL %s://%s: %w", scheme, shown, err)
	}
	parsed := URL{Server: scheme + "://" + endpoint, Endpoint: endpoint}
	if path != "" && strings.HasPrefix(scheme, "ws") {
		parsed.Server += "/" + path
	}
	if user, password, ok := strings.Cut(login, ":"); ok {
		parsed.User, parsed.Password = unescape(user), unescape(password)
	} else {
		parsed.Token = unescape(login)
	}
	return parsed, nil
}

func withPort(host string) (string, error) {
	name, port, err := net.SplitHostPort(host)
	if err != nil { // no port
		name, port = host, strconv.Itoa(meshery.PortClient)
		if strings.HasPrefix(host, "[") && strings.HasSuffix(host, "]") {
			name = host[1 : len(host)-1]
		}
	}
	_, notIP := netip.ParseAddr(name)
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil || number == 0 || notIP != nil && !hostName.MatchString(name) {
		return "", errors.New("want one host with an optional port from 1 to 65535, such as nats.example.com:4222")
	}
	return net.JoinHostPort(name, strconv.FormatUint(number, 10)), nil
}

func unescape(text string) string {
	if plain, err := url.PathUnescape(text); err == nil {
		return plain
	}
	return text
}
