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
	nextURL  = regexp.MustCompile(`,\s*(?:` + strings.Join(schemes, "|") + `)://`)
)

// URL is a broker's URL, taken apart: of one server, or of several of one cluster.
type URL struct {
	Server   string // scheme://host:port, separated by commas
	Endpoint string // host:port, separated by commas
	Login
}

// Login is what a URL says of how to log in.
type Login struct {
	Token          string
	User, Password string
}

// String is the URL as it may be shown.
func (u URL) String() string { return u.Server }

// Parse reads a URL such as nats://token@host:4222 or tls://user:password@host. Scheme and port may be left out. What stands
// before the last @ is the login, whatever characters it has; %XX in it is decoded where that is possible.
//
// Several servers are separated by commas, as nats://a,nats://b or nats://a,b. They have one scheme and one login, which may stand
// with any of them.
func Parse(text string) (URL, error) {
	text = strings.TrimSpace(text)
	if text == "" {
		return URL{}, errors.New("no broker URL, want one such as nats://token@host:4222")
	}
	var all URL
	for i, part := range split(text) {
		parsed, err := parseOne(part)
		if err == nil && i > 0 {
			parsed, err = all.and(parsed)
		}
		if err != nil {
			return URL{}, err
		}
		all = parsed
	}
	return all, nil
}

// split takes a list apart before every scheme. Any other comma may belong to a login.
func split(text string) []string {
	var parts []string
	for {
		next := nextURL.FindStringIndex(text)
		if next == nil {
			return append(parts, text)
		}
		parts, text = append(parts, text[:next[0]]), strings.TrimSpace(text[next[0]+1:])
	}
}

// and adds the servers of another URL.
func (u URL) and(more URL) (URL, error) {
	scheme, _, _ := strings.Cut(u.Server, "://")
	another, _, _ := strings.Cut(more.Server, "://")
	switch {
	case scheme != another:
		return URL{}, fmt.Errorf("broker URL %s,%s: want one scheme for all servers", u, more)
	case u.Login == Login{}:
		u.Login = more.Login
	case more.Login != Login{} && more.Login != u.Login:
		return URL{}, fmt.Errorf("broker URL %s,%s: want one login for all servers", u, more)
	}
	u.Server += "," + more.Server
	u.Endpoint += "," + more.Endpoint
	return u, nil
}

// parseOne reads a URL with one scheme and one login.
func parseOne(text string) (URL, error) {
	scheme, rest, ok := strings.Cut(text, "://")
	if !ok || strings.ContainsAny(scheme, "@:") {
		scheme, rest = "nats", text
	}
	var login string
	if at := strings.LastIndex(rest, "@"); at >= 0 {
		login, rest = rest[:at], rest[at+1:]
	}
	hosts, path, _ := strings.Cut(rest, "/")
	// Not what follows a colon: who forgets the host writes his password there.
	shown, _, _ := strings.Cut(hosts, ":")
	if !slices.Contains(schemes, scheme) {
		if login == "" { // else it may be the begin of one
			shown = scheme + "://" + shown
		}
		return URL{}, fmt.Errorf("broker URL %s: unknown scheme, want one of %s", shown, strings.Join(schemes, ", "))
	}
	switch {
	case strings.Contains(path, ","):
		return URL{}, fmt.Errorf("broker URL %s://%s: want a scheme before a server that follows a path", scheme, shown)
	case path != "" && strings.HasPrefix(scheme, "ws"):
		path = "/" + path
	default:
		path = ""
	}
	var servers, endpoints []string
	for host := range strings.SplitSeq(hosts, ",") {
		endpoint, err := withPort(strings.TrimSpace(host))
		if err != nil {
			return URL{}, fmt.Errorf("broker URL %s://%s: %w", scheme, shown, err)
		}
		servers, endpoints = append(servers, scheme+"://"+endpoint+path), append(endpoints, endpoint)
	}
	return URL{strings.Join(servers, ","), strings.Join(endpoints, ","), parseLogin(login)}, nil
}

func parseLogin(text string) Login {
	if user, password, ok := strings.Cut(text, ":"); ok {
		return Login{User: unescape(user), Password: unescape(password)}
	}
	return Login{Token: unescape(text)}
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
		return "", errors.New("want a host with an optional port from 1 to 65535, such as nats.example.com:4222, or several separated by commas")
	}
	return net.JoinHostPort(name, strconv.FormatUint(number, 10)), nil
}

func unescape(text string) string {
	if plain, err := url.PathUnescape(text); err == nil {
		return plain
	}
	return text
}
