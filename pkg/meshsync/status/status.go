package status

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"

	"meshery.io/operator/pkg/apis/meshery/v1alpha1"
	mesheryv1alpha1 "meshery.io/operator/pkg/generated/clientset/versioned/typed/meshery/v1alpha1"
)

// FieldManager owns what the agent writes of a MeshSync's status.
const FieldManager = "meshsync"

const (
	lookInterval = time.Second
	// settle is how long the truth must stay the same, so that what begins is not written and then what has come of it.
	settle        = time.Second
	writeInterval = 10 * time.Second
	countInterval = time.Minute
	// lookAgainInterval is how long what was written is taken to be there still: the MeshSync may have been made anew, or another
	// agent have written.
	lookAgainInterval = 2 * time.Minute
	// writePatience is how long the API server may take.
	writePatience = 10 * time.Second
	// retryInterval is the most between two attempts to write; refusedInterval where there is no MeshSync, or no permission.
	retryInterval   = time.Minute
	refusedInterval = 5 * time.Minute
)

// ownConditions are those that agents write, in the order of the wanted status.
var ownConditions = []string{
	v1alpha1.ConditionWatchListValid, v1alpha1.ConditionDiscovered, v1alpha1.ConditionPublishing, v1alpha1.ConditionStateStored,
}

// Options of a Writer.
type Options struct {
	Client          mesheryv1alpha1.MeshSyncsGetter
	Namespace, Name string // of the MeshSync; empty for none, and then nothing is written
	// Truth is the wanted status: all kinds, and conditions without times.
	Truth   func() v1alpha1.MeshSyncStatus
	Metrics prometheus.Registerer
}

// Writer keeps the MeshSync's status true.
type Writer struct {
	options Options
	writes  *prometheus.CounterVec
	pace    pace
}

// New makes a writer. Nothing is written before Run.
func New(o Options) *Writer {
	w := &Writer{options: o, writes: prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: "meshery", Subsystem: "meshsync", Name: "status_writes_total",
		Help: "Attempts to write the MeshSync's status, by result: success or failure.",
	}, []string{"result"})}
	o.Metrics.MustRegister(w.writes)
	return w
}

// Run writes until ctx ends.
func (w *Writer) Run(ctx context.Context) {
	if w.options.Name == "" {
		return
	}
	ticker := time.NewTicker(lookInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			truth := w.options.Truth()
			truth.Resources = worst(truth.Resources)
			if w.pace.due(now, &truth) {
				w.bringUpToDate(ctx, now, &truth)
			}
		}
	}
}

// bringUpToDate writes what is not there yet. It may be there by this agent's predecessor, or by another of its size.
func (w *Writer) bringUpToDate(ctx context.Context, now time.Time, truth *v1alpha1.MeshSyncStatus) {
	ctx, cancel := context.WithTimeout(ctx, writePatience)
	defer cancel()
	present, err := w.read(ctx)
	if err == nil && same(present, truth) && present.Discovery.Objects == truth.Discovery.Objects {
		w.pace.wrote(now, present)
		return
	}
	if err == nil {
		for i := range truth.Conditions {
			keepTransitionTime(&truth.Conditions[i], present)
		}
		err = w.write(ctx, truth)
	}
	if err != nil {
		w.writes.WithLabelValues("failure").Inc()
		w.pace.failed(ctx, now, err)
		return
	}
	w.writes.WithLabelValues("success").Inc()
	w.pace.wrote(now, truth)
}

// read returns what is there of what agents write.
func (w *Writer) read(ctx context.Context) (*v1alpha1.MeshSyncStatus, error) {
	meshSync, err := w.options.Client.MeshSyncs(w.options.Namespace).Get(ctx, w.options.Name, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	status := &v1alpha1.MeshSyncStatus{Discovery: meshSync.Status.Discovery, Resources: meshSync.Status.Resources, Publishing: meshSync.Status.Publishing}
	if status.Discovery == nil {
		status.Discovery = &v1alpha1.MeshSyncDiscoveryStatus{}
	}
	for _, name := range ownConditions {
		if condition := meta.FindStatusCondition(meshSync.Status.Conditions, name); condition != nil {
			status.Conditions = append(status.Conditions, *condition)
		}
	}
	return status, nil
}

func (w *Writer) write(ctx context.Context, status *v1alpha1.MeshSyncStatus) error {
	body, err := json.Marshal(map[string]any{
		"apiVersion": v1alpha1.GroupVersion.String(),
		"kind":       "MeshSync",
		"metadata":   map[string]any{"name": w.options.Name, "namespace": w.options.Namespace},
		"status":     status,
	})
	if err != nil {
		return err
	}
	_, err = w.options.Client.MeshSyncs(w.options.Namespace).Patch(ctx, w.options.Name, types.ApplyPatchType, body,
		metav1.PatchOptions{FieldManager: FieldManager, Force: new(true)}, "status")
	return err
}

// keepTransitionTime dates a condition: now, or since when it has been what it is.
func keepTransitionTime(condition *metav1.Condition, before *v1alpha1.MeshSyncStatus) {
	condition.LastTransitionTime = metav1.Now()
	if known := meta.FindStatusCondition(before.Conditions, condition.Type); known != nil && known.Status == condition.Status {
		condition.LastTransitionTime = known.LastTransitionTime
	}
}

// pace says when to write.
type pace struct {
	written *v1alpha1.MeshSyncStatus // nil for nothing
	tried   time.Time                // the last attempt
	rest    time.Duration            // after it
	failure string                   // of it

	wanted *v1alpha1.MeshSyncStatus // what was wanted last, and since when
	since  time.Time
	owed   time.Time // since when what is written is not what is wanted; zero if it is
}

// due tells whether to write what is wanted.
func (p *pace) due(now time.Time, wanted *v1alpha1.MeshSyncStatus) bool {
	if p.wanted == nil || !same(p.wanted, wanted) {
		p.wanted, p.since = wanted.DeepCopy(), now
	}
	if p.written != nil && same(p.written, wanted) {
		p.owed = time.Time{}
		rest := lookAgainInterval
		if p.written.Discovery.Objects != wanted.Discovery.Objects {
			rest = countInterval
		}
		return now.Sub(p.tried) >= max(rest, p.rest)
	}
	if p.owed.IsZero() {
		p.owed = now
	}
	settled := now.Sub(p.since) >= settle && !syncing(wanted)
	return now.Sub(p.tried) >= p.rest && (settled || now.Sub(p.owed) >= writeInterval)
}

func (p *pace) wrote(now time.Time, status *v1alpha1.MeshSyncStatus) {
	p.written, p.tried, p.rest, p.failure, p.owed = status.DeepCopy(), now, writeInterval, "", time.Time{}
}

func (p *pace) failed(ctx context.Context, now time.Time, err error) {
	logger := klog.FromContext(ctx)
	if p.failure == err.Error() {
		logger = logger.V(4) // said already
	}
	longest := retryInterval
	if apierrors.IsNotFound(err) || apierrors.IsForbidden(err) {
		longest = refusedInterval
	}
	p.tried, p.rest, p.failure = now, min(max(2*p.rest, writeInterval), longest), err.Error()
	logger.Info("Status cannot be written, will retry", "after", p.rest, "reason", err.Error())
}

// syncing tells a state that is about to be another.
func syncing(status *v1alpha1.MeshSyncStatus) bool {
	discovered := meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionDiscovered)
	return discovered == nil || discovered.Reason == v1alpha1.ReasonSyncing
}

// same compares all but numbers of objects and times. It is called every second.
func same(a, b *v1alpha1.MeshSyncStatus) bool {
	discovery := *a.Discovery
	discovery.Objects, discovery.LastSyncTime = b.Discovery.Objects, b.Discovery.LastSyncTime
	return discovery == *b.Discovery && equality.Semantic.DeepEqual(a.Publishing, b.Publishing) &&
		slices.EqualFunc(a.Resources, b.Resources, func(x, y v1alpha1.ResourceStatus) bool {
			x.Objects = y.Objects
			return x == y
		}) &&
		slices.EqualFunc(a.Conditions, b.Conditions, func(x, y metav1.Condition) bool {
			x.LastTransitionTime = y.LastTransitionTime
			return x == y
		})
}
