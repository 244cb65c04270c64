package brokerurl

import (
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	url := func(scheme, endpoint string) URL { return URL{Server: scheme + "://" + endpoint, Endpoint: endpoint} }
	token := func(u URL, token string) URL { u.Token = token; return u }
	user := func(u URL, user, password string) URL { u.User, u.Password = user, password; return u }
	broker := url("nats", "broker:4222")
	webSocket := url("wss", "broker:443")
	webSocket.Server += "/nats"
	three := URL{Server: "tls://a:4222,tls://b:4333,tls://[fd00::1]:4222", Endpoint: "a:4222,b:4333,[fd00::1]:4222"}
	webSockets := URL{Server: "ws://a:80/nats,ws://b:80/nats", Endpoint: "a:80,b:80"}
	tests := map[string]struct {
		text string
		want URL
	}{
		"plain":                           {"nats://broker.meshery:4222", url("nats", "broker.meshery:4222")},
		"without scheme and port":         {"broker", broker},
		"a token":                         {"nats://s3cret@broker:4222", token(broker, "s3cret")},
		"a token without scheme":          {"s3cret@broker:4222", token(broker, "s3cret")},
		"a token with characters of URLs": {"nats://a/b@c?d#e%zz@broker", token(broker, "a/b@c?d#e%zz")},
		"a token with a slash":            {"nats://s3cret/tail@h:4222", token(url("nats", "h:4222"), "s3cret/tail")},
		"an escaped token":                {"nats://a%2Fb%40c@broker", token(broker, "a/b@c")},
		"user and password":               {"tls://me:p@ss/w:rd@broker:4443", user(url("tls", "broker:4443"), "me", "p@ss/w:rd")},
		"a token like a user's":           {"nats://a:b%@broker:4222", user(broker, "a", "b%")},
		"a password like a URL":           {"me:s3cret://tail@broker", user(broker, "me", "s3cret://tail")},
		"a token like a URL":              {"nats://nats://a@b:1/?c#d@broker:4222", user(broker, "nats", "//a@b:1/?c#d")},
		"an IPv6 address":                 {"nats://[fd00::1]:4333", url("nats", "[fd00::1]:4333")},
		"an IPv6 address without port":    {"nats://t@[fd00::1]", token(url("nats", "[fd00::1]:4222"), "t")},
		"an IPv6 address alone":           {"::1", url("nats", "[::1]:4222")},
		"a path belongs to web sockets":   {"wss://t@broker:443/nats", token(webSocket, "t")},
		"a trailing slash and blanks":     {" nats://t@broker:4222/ ", token(broker, "t")},

		"several servers":                   {"tls://a,tls://b:4333,tls://[fd00::1]", three},
		"several, with slashes and blanks":  {"tls://a/, tls://b:4333/ ,\ttls://[fd00::1]/", three},
		"several, with one scheme":          {"tls://a,b:4333, [fd00::1]:4222", three},
		"several without a scheme":          {"a:1,b:2", URL{Server: "nats://a:1,nats://b:2", Endpoint: "a:1,b:2"}},
		"several with paths":                {"ws://a:80/nats,ws://b:80/nats", webSockets},
		"several with one path":             {"ws://a:80,b:80/nats", webSockets},
		"a login before all":                {"tls://t@a,b:4333,[fd00::1]", token(three, "t")},
		"a login with the first":            {"tls://t@a,tls://b:4333,tls://[fd00::1]", token(three, "t")},
		"a login with the last":             {"tls://a,tls://b:4333,tls://u:p@[fd00::1]", user(three, "u", "p")},
		"the same login with each":          {"tls://u:p@a,tls://u:p@b:4333,tls://u:p@[fd00::1]", user(three, "u", "p")},
		"a comma in a token":                {"nats://a,b@broker", token(broker, "a,b")},
		"a comma in a password":             {"u:a:1,b@broker", user(broker, "u", "a:1,b")},
		"a comma in a token before several": {"tls://a,b@a,b:4333,tls://[fd00::1]", token(three, "a,b")},
		"an escaped comma and what follows": {"nats://a%2Cnats://b@broker", user(broker, "a,nats", "//b")},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := Parse(test.text)
			if err != nil || got != test.want {
				t.Errorf("got %#v, %v, want %#v", got, err, test.want)
			}
			if strings.Contains(got.String(), "@") {
				t.Errorf("shows a secret: %s", got)
			}
		})
	}
}

func TestErrorsNameTheHostButNoSecret(t *testing.T) {
	for text, want := range map[string]string{
		"":                            "nats://token@host:4222",
		"http://broker":               "http://broker: unknown scheme",
		"http://s3cret@broker":        "broker: unknown scheme",
		"s3cret://tail@broker":        "broker: unknown scheme",
		"me:s3cret://broker":          "nats://me: want",
		"nats://s3cret@":              "want a host",
		"nats://s3cret@broker:0":      "nats://broker: want a host with an optional port from 1 to 65535",
		"nats://s3cret@broker:+1":     "nats://broker: want",
		"nats://s3cret@broker:99999":  "nats://broker: want",
		"nats://s3cret@broker:":       "nats://broker: want",
		"nats://s3cret@broker:port":   "nats://broker: want",
		"nats://s3cret@[broker":       "want a host",
		"nats://s3cret@broker?tls=1":  "want a host",
		"nats://me:s3cret":            "nats://me: want",
		"nats://s3cret@a:4222,":       "nats://a: want",
		",a":                          "want a host",
		"a,http://b":                  "a,http://b: unknown scheme",
		"tls://s3cret@a,nats://b":     "tls://a:4222,nats://b:4222: want one scheme for all servers",
		"a,tls://b":                   "nats://a:4222,tls://b:4222: want one scheme for all servers",
		"s3cret@a,nats://s3cret2@b,c": "nats://a:4222,nats://b:4222,nats://c:4222: want one login for all servers",
		"nats://a,nats://s3cret@b:0":  "nats://b: want",
		"ws://a:80/nats,b:80/nats":    "ws://a: want a scheme before a server",
		"a/,b":                        "nats://a: want a scheme before a server",
	} {
		got, err := Parse(text)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: got %#v, %v", text, got, err)
		}
	}
}
