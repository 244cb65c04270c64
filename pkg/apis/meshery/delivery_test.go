package meshery

import (
	"strings"
	"testing"
)

func TestDeliveryIsReadAsItWasWritten(t *testing.T) {
	all := Delivery{MessagesPerSecond: 0.5, BytesPerSecond: 1 << 40, StreamReplicas: 3, StreamMaxBytes: 805306368, Monitor: "b-headless.meshery.svc.cluster.local:8222"}
	for _, test := range []struct {
		delivery Delivery
		text     string
	}{
		{Delivery{}, ""},
		{Delivery{MessagesPerSecond: 100}, `{"messagesPerSecond":100}`},
		{Delivery{StreamReplicas: 1, Monitor: "[fd00::1]:8222"}, `{"streamReplicas":1,"monitor":"[fd00::1]:8222"}`},
		{all, `{"messagesPerSecond":0.5,"bytesPerSecond":1099511627776,"streamReplicas":3,"streamMaxBytes":805306368,"monitor":"b-headless.meshery.svc.cluster.local:8222"}`},
	} {
		if got := test.delivery.String(); got != test.text {
			t.Errorf("%#v is written as %s, want %s", test.delivery, got, test.text)
		}
		if got, err := ParseDelivery(test.text); err != nil || got != test.delivery {
			t.Errorf("%s: got %#v, %v", test.text, got, err)
		}
	}
}

func TestParseDelivery(t *testing.T) {
	for text, want := range map[string]Delivery{
		" \n":                                  {},
		"{}":                                   {},
		"null":                                 {},
		`{"messagesPerSecond":0,"monitor":""}`: {},
		`{"streamReplicas":1,"newer":{"a":[1]},"b":"c"}`:    {StreamReplicas: 1},
		` { "bytesPerSecond" : 5, "messagesPerSecond":1e3}`: {BytesPerSecond: 5, MessagesPerSecond: 1000},
	} {
		if got, err := ParseDelivery(text); err != nil || got != want {
			t.Errorf("%s: got %#v, %v", text, got, err)
		}
	}
	for text, want := range map[string]string{
		"{":                            "delivery {: unexpected end of JSON input",
		"[]":                           "delivery []: json: cannot unmarshal array",
		`{"messagesPerSecond":"fast"}`: `{"messagesPerSecond":"fast"}`,
		`{"messagesPerSecond":-1}`:     "messagesPerSecond is -1: want 0 or more",
		`{"messagesPerSecond":1e999}`:  "1e999",
		`{"bytesPerSecond":-5}`:        "bytesPerSecond is -5: want 0 or more",
		`{"bytesPerSecond":1.5}`:       "number 1.5",
		`{"bytesPerSecond":9e99}`:      "number 9e99",
		`{"streamReplicas":-3}`:        "streamReplicas is -3: want 0 or more",
		`{"streamReplicas":0.5}`:       "number 0.5",
		`{"streamMaxBytes":-9}`:        "streamMaxBytes is -9: want 0 or more",
		`{"monitor":"host"}`:           `monitor is "host": want host:port`,
		`{"monitor":8222}`:             "8222",
	} {
		if got, err := ParseDelivery(text); err == nil || !strings.Contains(err.Error(), want) || got != (Delivery{}) {
			t.Errorf("%s: got %#v, %v; want %s", text, got, err, want)
		}
	}
}
