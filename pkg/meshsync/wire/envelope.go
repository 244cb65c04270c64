package wire

import (
	"encoding/json"
	"errors"
	"fmt"
)

// Event is what happened to an object. There is no ERROR among them: Meshery Server dies of one.
type Event string

// The events that are published.
const (
	Added    Event = "ADDED"
	Modified Event = "MODIFIED"
	Deleted  Event = "DELETED"
)

// Reason says why an object is published as DELETED although it may be there. It is in the header HeaderReason then.
type Reason string

// The reasons.
const (
	// WatchListChanged: it is not watched any more, because of an edit of the watch-list or of discovery.
	WatchListChanged Reason = "WatchListChanged"
	// NotServed: the API server does not serve its kind any more.
	NotServed Reason = "NotServed"
)

// objectTypeData marks a message that carries an object.
const objectTypeData = "meshsync-data"

// envelope is around every message. All four members are always written; their names are part of the contract.
type envelope struct {
	ObjectType string
	EventType  Event
	Request    *Request
	Object     any
}

// What can be asked for.
const (
	EntityStore  = "informer-store"
	EntityResync = "resync-discovery"
	EntityMeta   = "meshsync-meta"
)

// Request asks the agent for something.
type Request struct {
	Entity  string
	Payload json.RawMessage
}

// DecodeRequest reads a message from SubjectRequest.
func DecodeRequest(message []byte) (Request, error) {
	var decoded struct{ Request *Request }
	if err := json.Unmarshal(message, &decoded); err != nil {
		return Request{}, fmt.Errorf("decode request: %w", err)
	}
	if decoded.Request == nil || decoded.Request.Entity == "" {
		return Request{}, errors.New("decode request: no Request with an Entity in it")
	}
	return *decoded.Request, nil
}

// EncodeRequest writes a request without a payload for SubjectRequest.
func EncodeRequest(entity string) ([]byte, error) {
	return json.Marshal(envelope{Request: &Request{Entity: entity, Payload: json.RawMessage("null")}})
}

const (
	storeStart = `{"ObjectType":"","EventType":"","Request":null,"Object":[`
	storeEnd   = `]}`
)

// EncodeStore writes a part of the store: objects in their wire form, byte for byte. Marshalling them would escape what needs no
// escaping, and make a message larger than those who count bytes were told.
func EncodeStore(objects [][]byte) []byte {
	size := StoreOverhead(len(objects))
	for _, object := range objects {
		size += len(object)
	}
	body := append(make([]byte, 0, size), storeStart...)
	for i, object := range objects {
		if i > 0 {
			body = append(body, ',')
		}
		body = append(body, object...)
	}
	return append(body, storeEnd...)
}

// StoreOverhead is how many bytes EncodeStore adds at most around n objects.
func StoreOverhead(n int) int { return len(storeStart) + n + len(storeEnd) }

// EncodeMeta writes the message for SubjectMeta.
func EncodeMeta(version string) ([]byte, error) {
	return json.Marshal(struct{ Object string }{version})
}
