package meshery

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strings"
)

// Delivery is what the operator tells the agent of how it is to publish, under DeliveryKey. The agent follows it while it runs. A
// zero stands for what is not limited or not known.
type Delivery struct {
	// MessagesPerSecond and BytesPerSecond are the most to publish, on average.
	MessagesPerSecond float64 `json:"messagesPerSecond,omitempty"`
	BytesPerSecond    int64   `json:"bytesPerSecond,omitempty"`

	// StreamReplicas is how many servers are to keep the state stream: 3 if there are as many, or 1. 0 is of a broker that no
	// Broker describes, and of one without JetStream.
	StreamReplicas int `json:"streamReplicas,omitempty"`
	// StreamMaxBytes is how large the stream may grow. JetStream sets as much aside: of a Broker, all agents that publish to it get
	// equal parts.
	StreamMaxBytes int64 `json:"streamMaxBytes,omitempty"`
	// Monitor is host:port of the servers' monitoring. The host stands for the addresses of all of them.
	Monitor string `json:"monitor,omitempty"`
}

// ParseDelivery reads what String wrote. No text is the zero Delivery. Fields that are not known are a newer operator's, and of no
// concern.
func ParseDelivery(text string) (Delivery, error) {
	var d Delivery
	if strings.TrimSpace(text) == "" {
		return d, nil
	}
	err := json.Unmarshal([]byte(text), &d)
	if err == nil {
		err = d.check()
	}
	if err != nil {
		return Delivery{}, fmt.Errorf("%s %s: %w", DeliveryKey, text, err)
	}
	return d, nil
}

func (d Delivery) check() error {
	var errs []error
	for _, number := range []struct {
		name  string
		value float64
	}{
		{"messagesPerSecond", d.MessagesPerSecond},
		{"bytesPerSecond", float64(d.BytesPerSecond)},
		{"streamReplicas", float64(d.StreamReplicas)},
		{"streamMaxBytes", float64(d.StreamMaxBytes)},
	} {
		if number.value < 0 {
			errs = append(errs, fmt.Errorf("%s is %v: want 0 or more", number.name, number.value))
		}
	}
	if d.Monitor != "" {
		if _, _, err := net.SplitHostPort(d.Monitor); err != nil {
			errs = append(errs, fmt.Errorf("monitor is %q: want host:port", d.Monitor))
		}
	}
	return errors.Join(errs...)
}

// String is the form in which the ConfigMap has it. Of the zero Delivery it is empty.
func (d Delivery) String() string {
	if d == (Delivery{}) {
		return ""
	}
	text, err := json.Marshal(d)
	if err != nil {
		panic(err) // only a number that is none can do that
	}
	return string(text)
}
