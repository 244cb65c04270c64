package deliver

import (
	"meshery.io/operator/pkg/meshsync/bus"
	"meshery.io/operator/pkg/meshsync/publish"
	"meshery.io/operator/pkg/meshsync/wire"
)

// Record is what the state stream keeps of an object; nil for one that it cannot keep.
func (d *Delivery) Record(key publish.Key, change wire.Change) *bus.Record {
	if !wire.Recordable(key.Resource, key.Namespace, key.Name) {
		return nil
	}
	about := wire.Record{
		Event: change.Event, Reason: change.Reason, Kind: change.Kind, UID: change.UID, ResourceVersion: change.ResourceVersion,
		Form: change.Form, Content: change.Content,
	}
	return &bus.Record{Subject: wire.StateSubject(key.Resource, key.Namespace, key.Name), Header: about.Headers(*d.epoch.Load())}
}
