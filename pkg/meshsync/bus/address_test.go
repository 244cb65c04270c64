package bus

import (
	"strings"
	"testing"
)

func TestParseAddress(t *testing.T) {
	tests := map[string]struct {
		text string
		want Address
	}{
		"plain":                           {"nats://broker.meshery:4222", Address{URL: "nats://broker.meshery:4222"}},
		"without scheme and port":         {"broker", Address{URL: "nats://broker:4222"}},
		"a token":                         {"nats://s3cret@broker:4222", Address{URL: "nats://broker:4222", Token: "s3cret"}},
		"a token without scheme":          {"s3cret@broker:4222", Address{URL: "nats://broker:4222", Token: "s3cret"}},
		"a token with characters of URLs": {"nats://a/b@c?d#e%zz@broker", Address{URL: "nats://broker:4222", Token: "a/b@c?d#e%zz"}},
		"an escaped token":                {"nats://a%2Fb%40c@broker", Address{URL: "nats://broker:4222", Token: "a/b@c"}},
		"user and password":               {"tls://me:p@ss/w:rd@broker:4443", Address{URL: "tls://broker:4443", User: "me", Password: "p@ss/w:rd"}},
		"a token like a user's":           {"nats://a:b%@broker:4222", Address{URL: "nats://broker:4222", User: "a", Password: "b%"}},
		"a token like a URL":              {"nats://nats://a@b:1/?c#d@broker:4222", Address{URL: "nats://broker:4222", User: "nats", Password: "//a@b:1/?c#d"}},
		"an IPv6 address":                 {"nats://[fd00::1]:4222", Address{URL: "nats://[fd00::1]:4222"}},
		"an IPv6 address without port":    {"nats://t@[fd00::1]", Address{URL: "nats://[fd00::1]:4222", Token: "t"}},
		"a path belongs to web sockets":   {"wss://t@broker:443/nats", Address{URL: "wss://broker:443/nats", Token: "t"}},
		"a trailing slash and blanks":     {" nats://t@broker:4222/ ", Address{URL: "nats://broker:4222", Token: "t"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := ParseAddress(test.text)
			if err != nil || got != test.want {
				t.Errorf("got %#v, %v, want %#v", got, err, test.want)
			}
			if strings.Contains(got.String(), "@") {
				t.Errorf("shows a secret: %s", got)
			}
		})
	}
}

func TestParseAddressErrorsNameTheValueButNoSecret(t *testing.T) {
	for text, want := range map[string]string{
		"":                            "nats://token@host:4222",
		"http://s3cret@broker":        "http://broker: unknown scheme",
		"nats://s3cret@":              "want one host",
		"nats://s3cret@broker:99999":  "broker:99999: want one host",
		"nats://s3cret@broker:port":   "broker:port",
		"nats://s3cret@a:4222,b:4222": "want one host",
	} {
		got, err := ParseAddress(text)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: got %v, %v", text, got, err)
		}
	}
}
