package wire

import (
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

const (
	subjectState   = "meshery.meshsync.state."
	subjectPublish = "meshery.meshsync.publish."
)

// StateStream is the name of the stream that keeps the last message of every object that a MeshSync watches.
func StateStream(cluster, meshSync string) string {
	return "meshsync-" + escape(cluster) + "-" + meshSync
}

// StatePrefix begins the subjects under which that stream keeps them. StateSubject is the rest.
func StatePrefix(cluster, meshSync string) string {
	return subjectState + escape(cluster) + "." + meshSync + "."
}

// PublishPrefix begins the subjects on which that stream takes them from the leader of an epoch.
func PublishPrefix(epoch uint64, cluster, meshSync string) string {
	return subjectPublish + strconv.FormatUint(epoch, 10) + "." + escape(cluster) + "." + meshSync + "."
}

// ParseEpoch reads the epoch in a subject that begins with a PublishPrefix.
func ParseEpoch(subject string) (uint64, error) {
	rest, ok := strings.CutPrefix(subject, subjectPublish)
	text, _, dot := strings.Cut(rest, ".")
	epoch, err := strconv.ParseUint(text, 10, 64)
	if !ok || !dot || err != nil {
		return 0, fmt.Errorf("subject %q: no epoch after %s", subject, subjectPublish)
	}
	return epoch, nil
}

// CanarySubject is where the agents of a MeshSync tell themselves how long a change takes to arrive.
func CanarySubject(cluster, meshSync string) string {
	return "meshery.meshsync.canary." + escape(cluster) + "." + meshSync
}

// MeshSyncToken names a MeshSync in subjects and in the name of its stream. An agent without one has its own.
func MeshSyncToken(namespace, name string) string {
	if namespace == "" && name == "" {
		return noText
	}
	return escape(namespace) + "_" + escape(name) // neither has a "_"
}

// Recordable tells whether an object can be in a state stream: a server closes a connection on which a subject is longer than 4 kB. There
// may be RBAC objects with such names.
func Recordable(resource schema.GroupVersionResource, namespace, name string) bool {
	const most = 1000 // each character may become three
	return len(resource.Resource)+len(resource.Version)+len(resource.Group)+len(namespace)+len(name) <= most
}

// StateSubject is the subject of an object below a prefix: <resource>.<version>.<group>.<namespace>.<name>. No two objects share one.
func StateSubject(resource schema.GroupVersionResource, namespace, name string) string {
	var room [256]byte
	subject := appendEscaped(room[:0], resource.Resource)
	for _, token := range [...]string{resource.Version, resource.Group, namespace, name} {
		subject = appendEscaped(append(subject, '.'), token)
	}
	return string(subject)
}

// ParseStateSubject says which object a StateSubject is of.
func ParseStateSubject(subject string) (resource schema.GroupVersionResource, namespace, name string, err error) {
	tokens := strings.Split(subject, ".")
	if len(tokens) != 5 {
		return resource, "", "", fmt.Errorf("subject %q: want <resource>.<version>.<group>.<namespace>.<name>", subject)
	}
	for i, token := range tokens {
		if tokens[i], err = unescape(token); err != nil {
			return resource, "", "", fmt.Errorf("subject %q: %w", subject, err)
		}
	}
	return schema.GroupVersionResource{Resource: tokens[0], Version: tokens[1], Group: tokens[2]}, tokens[3], tokens[4], nil
}

// noText stands for the empty text: a token cannot be empty.
const noText = "_"

// escape makes any text a token of a subject, and of the name of a stream. What NATS gives a meaning in either, and what is not
// printable ASCII, becomes %XX.
func escape(text string) string { return string(appendEscaped(nil, text)) }

func appendEscaped(dst []byte, text string) []byte {
	const hex = "0123456789ABCDEF"
	switch text {
	case "":
		return append(dst, noText...)
	case noText:
		return append(dst, "%5F"...)
	}
	for _, c := range []byte(text) {
		if c <= ' ' || c > '~' || c == '.' || c == '*' || c == '>' || c == '%' || c == '/' || c == '\\' {
			dst = append(dst, '%', hex[c>>4], hex[c&0xf])
		} else {
			dst = append(dst, c)
		}
	}
	return dst
}

// unescape reads what escape writes, and nothing else: no two tokens mean the same.
func unescape(token string) (string, error) {
	if token == noText {
		return "", nil
	}
	text, err := url.PathUnescape(token)
	if err != nil || escape(text) != token {
		return "", fmt.Errorf("token %q is not escaped as it should be", token)
	}
	return text, nil
}

// Headers of a Record, besides HeaderReason.
const (
	HeaderEvent           = "Meshery-Event"
	HeaderKind            = "Meshery-Kind"
	HeaderUID             = "Meshery-Uid"
	HeaderResourceVersion = "Meshery-Resource-Version"
	HeaderForm            = "Meshery-Form"
	HeaderContent         = "Meshery-Content"
	HeaderEpoch           = "Meshery-Epoch"

	headerTTL = "Nats-TTL"
)

// tombstoneTTL is how long a stream keeps the news that an object is gone. A consumer that was away for longer has to read everything
// again.
const tombstoneTTL = "24h"

// Record is what a state stream keeps of an object besides its message: enough to tell whether it is the object as it is now.
type Record struct {
	Event  Event
	Reason Reason // why it is DELETED although it may be there; empty otherwise

	Kind                 string // of the object
	UID, ResourceVersion string

	// Form says how much of the object the message has.
	Form string
	// Content is a hash of the message without its resource version; 0 is an unknown one.
	Content uint64
}

// Headers writes a record as NATS headers, with the epoch of who publishes it. There is no Nats-Msg-Id: a stream would take what it has
// lost, or what was withdrawn and is back, for what it has had. What it gets twice does no harm, since it keeps the last.
func (r Record) Headers(epoch string) map[string][]string {
	headers := make(map[string][]string, 9)
	set := func(name, value string) {
		if value != "" {
			headers[name] = []string{value}
		}
	}
	set(HeaderEvent, string(r.Event))
	set(HeaderReason, string(r.Reason))
	set(HeaderKind, r.Kind)
	set(HeaderUID, r.UID)
	set(HeaderResourceVersion, r.ResourceVersion)
	set(HeaderForm, r.Form)
	if r.Content != 0 {
		set(HeaderContent, strconv.FormatUint(r.Content, 16))
	}
	if r.Event == Deleted {
		set(headerTTL, tombstoneTTL)
	}
	set(HeaderEpoch, epoch)
	return headers
}

// ParseRecord reads a record from the headers of a message in a state stream. Others may be among them.
func ParseRecord(headers map[string][]string) (Record, error) {
	get := func(name string) string {
		if values := headers[name]; len(values) > 0 {
			return values[0]
		}
		return ""
	}
	r := Record{
		Event: Event(get(HeaderEvent)), Reason: Reason(get(HeaderReason)),
		Kind: get(HeaderKind), UID: get(HeaderUID), ResourceVersion: get(HeaderResourceVersion), Form: get(HeaderForm),
	}
	switch r.Event {
	case Added, Modified, Deleted:
	default:
		return Record{}, fmt.Errorf("header %s is %q", HeaderEvent, r.Event)
	}
	if r.UID == "" {
		return Record{}, errors.New("header " + HeaderUID + " is missing")
	}
	if text := get(HeaderContent); text != "" {
		var err error
		if r.Content, err = strconv.ParseUint(text, 16, 64); err != nil {
			return Record{}, fmt.Errorf("header %s: %w", HeaderContent, err)
		}
	}
	return r, nil
}
