package meshsync

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/klog/v2"
	"sigs.k8s.io/yaml"

	"meshery.io/operator/pkg/meshsync/watch"
	"meshery.io/operator/pkg/meshsync/wire"
)

// readyPoll is how often it is checked whether everything has been seen.
const readyPoll = 100 * time.Millisecond

// writeFile watches without a broker until everything has been seen, and for StopAfter at least, and writes all objects to a file.
func writeFile(ctx context.Context, o Options, c *cluster) error {
	list, err := o.watchList(c)
	if err != nil {
		return err
	}
	watcher := watch.New(watch.Options{
		Client: c.raw, Dynamic: c.dynamic, Discovery: c.discovery, List: list, Sink: noSink{}, Metrics: prometheus.NewRegistry(),
	})
	watching, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	wg.Go(func() { watcher.Run(watching) })

	enough := time.Now().Add(o.StopAfter)
	complete := func(context.Context) (bool, error) { return watcher.Ready() == nil && !time.Now().Before(enough), nil }
	if err := wait.PollUntilContextCancel(ctx, readyPoll, true, complete); err != nil {
		return fmt.Errorf("stopped before everything was seen, nothing written: %w", errors.Join(watcher.Ready(), err))
	}
	objects, err := watcher.Decoded(ctx)
	if err != nil {
		return fmt.Errorf("stopped before everything was read, nothing written: %w", err)
	}
	text, err := renderYAML(objects, o.ClearSecrets)
	if err != nil {
		return err
	}
	if err := replaceFile(o.OutputFile, text); err != nil {
		return fmt.Errorf("write objects: %w", err)
	}
	klog.FromContext(ctx).Info("Written", "file", o.OutputFile, "objects", len(objects), "bytes", len(text))
	return nil
}

// renderYAML writes objects as documents, in an order that does not depend on chance.
func renderYAML(objects []watch.Object, clearSecrets bool) ([]byte, error) {
	slices.SortFunc(objects, func(a, b watch.Object) int {
		return cmp.Or(
			cmp.Compare(a.Resource.String(), b.Resource.String()),
			cmp.Compare(a.GetNamespace(), b.GetNamespace()),
			cmp.Compare(a.GetName(), b.GetName()),
		)
	})
	var text bytes.Buffer
	for _, object := range objects {
		obj := object.Unstructured
		if !clearSecrets {
			obj = wire.Redact(obj)
		}
		document, err := yaml.Marshal(obj.Object)
		if err != nil {
			return nil, fmt.Errorf("write %s %s/%s: %w", obj.GetKind(), obj.GetNamespace(), obj.GetName(), err)
		}
		text.WriteString("---\n")
		text.Write(document)
	}
	return text.Bytes(), nil
}

// replaceFile writes a file as a whole or not at all. Only its owner may read it.
func replaceFile(name string, text []byte) error {
	file, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+"-")
	if err != nil {
		return err
	}
	defer os.Remove(file.Name()) // gone already after the rename
	_, err = file.Write(text)
	if err := errors.Join(err, file.Close()); err != nil {
		return err
	}
	return os.Rename(file.Name(), name)
}

// noSink takes nothing: the objects are listed at the end.
type noSink struct{}

func (noSink) Offer(schema.GroupVersionResource, wire.Change) {}
func (noSink) MakeWay() bool                                  { return true }
