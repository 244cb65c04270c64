package canary

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/apimachinery/pkg/watch"
	coreac "k8s.io/client-go/applyconfigurations/core/v1"
	metaac "k8s.io/client-go/applyconfigurations/meta/v1"
	"k8s.io/client-go/dynamic"

	"meshery.io/operator/pkg/apis/meshery"
	"meshery.io/operator/pkg/meshsync/bus"
)

const (
	// fieldManager owns the object.
	fieldManager = "meshsync"
	// tokenKey is where the object has what tells one try from another.
	tokenKey = "token"
)

// Stage is how far a change has come.
type Stage string

// The stages, in order.
const (
	Written      Stage = "written"      // by the API server
	Seen         Stage = "seen"         // by a watch
	Acknowledged Stage = "acknowledged" // by the broker
	Echoed       Stage = "echoed"       // to a subscriber
)

// Step is a stage that a change has reached, and how long after the request to write it.
type Step struct {
	Stage Stage
	After time.Duration
}

// Failure says which stage was not reached, and why.
type Failure struct {
	Stage Stage
	Err   error
}

// Error implements error.
func (f *Failure) Error() string { return fmt.Sprintf("not %s: %v", f.Stage, f.Err) }

// Unwrap returns why.
func (f *Failure) Unwrap() error { return f.Err }

// flight is one change on its way.
type flight struct {
	*Canary

	object dynamic.ResourceInterface
	name   string
	token  string
	owner  *metaac.OwnerReferenceApplyConfiguration // nil if it is not known
	watch  watch.Interface
	echo   chan struct{}
}

func (c *Canary) newFlight() *flight {
	return &flight{
		Canary: c, name: meshery.CanaryConfigMap(c.options.MeshSync), token: string(uuid.NewUUID()), echo: make(chan struct{}, 1),
		object: c.options.Client.Resource(schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}).Namespace(c.options.Namespace),
	}
}

// fly listens at both ends and then goes from stage to stage.
func (f *flight) fly(ctx context.Context) ([]Step, *Failure) {
	stop, err := f.options.Bus.Subscribe(f.options.Subject, "", f.hear)
	if err != nil {
		return nil, &Failure{Echoed, err}
	}
	defer stop()
	f.watch, err = f.object.Watch(ctx, metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector("metadata.name", f.name).String()})
	if err != nil {
		return nil, &Failure{Seen, err}
	}
	defer f.watch.Stop()
	f.owner = f.options.Owner(ctx)
	var steps []Step
	began := time.Now()
	for _, stage := range []struct {
		Stage
		reach func(context.Context) error
	}{{Written, f.write}, {Seen, f.see}, {Acknowledged, f.send}, {Echoed, f.awaitEcho}} {
		if err := stage.reach(ctx); err != nil {
			return steps, &Failure{stage.Stage, err}
		}
		steps = append(steps, Step{stage.Stage, time.Since(began)})
	}
	return steps, nil
}

func (f *flight) write(ctx context.Context) error {
	wanted := coreac.ConfigMap(f.name, f.options.Namespace).
		WithLabels(map[string]string{
			meshery.LabelApp:       meshery.AppMeshSync,
			meshery.LabelComponent: meshery.ComponentMeshSync,
			meshery.LabelInstance:  f.options.MeshSync,
			meshery.LabelManagedBy: meshery.AppMeshSync,
			meshery.LabelPartOf:    meshery.PartOfMeshery,
		}).
		WithData(map[string]string{tokenKey: f.token})
	if f.owner != nil {
		wanted.WithOwnerReferences(f.owner)
	}
	body, err := json.Marshal(wanted)
	if err != nil {
		return err
	}
	_, err = f.object.Patch(ctx, f.name, types.ApplyPatchType, body, metav1.PatchOptions{FieldManager: fieldManager, Force: new(true)})
	return err
}

func (f *flight) see(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case event, open := <-f.watch.ResultChan():
			if !open {
				return errWatchEnded
			}
			if event.Type == watch.Error {
				return apierrors.FromObject(event.Object)
			}
			if object, ok := event.Object.(*unstructured.Unstructured); ok && f.isIn(object) {
				return nil
			}
		}
	}
}

// isIn tells whether an object is as this flight has written it.
func (f *flight) isIn(object *unstructured.Unstructured) bool {
	token, _, err := unstructured.NestedString(object.Object, "data", tokenKey)
	return err == nil && token == f.token
}

func (f *flight) send(ctx context.Context) error {
	return f.options.Bus.Deliver(ctx, bus.Message{Subject: f.options.Subject, Body: []byte(f.token)})
}

func (f *flight) hear(body []byte) {
	if string(body) != f.token {
		return
	}
	select {
	case f.echo <- struct{}{}:
	default:
	}
}

func (f *flight) awaitEcho(ctx context.Context) error {
	select {
	case <-f.echo:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

var errWatchEnded = errors.New("the watch has ended")
