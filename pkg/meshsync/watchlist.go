package meshsync

import (
	"context"
	"encoding/json"
	"fmt"
	"os"

	"k8s.io/klog/v2"
	"sigs.k8s.io/yaml"

	"meshery.io/operator/pkg/apis/meshery"
	"meshery.io/operator/pkg/meshsync/watch"
	"meshery.io/operator/pkg/watchlist"
)

// watchList says where the watch-list comes from: a file, the ConfigMap of a MeshSync, or the default list.
func (o *Options) watchList(ctx context.Context, c *cluster) (watch.Source, error) {
	switch {
	case o.WatchListFile != "":
		list, err := readWatchList(ctx, o.WatchListFile)
		return watch.Fixed(list), err
	case o.Name != "":
		return watch.FromConfigMap(c.dynamic, o.Namespace, meshery.WatchListConfigMap(o.Name)), nil
	default:
		return watch.Fixed(watchlist.Default()), nil
	}
}

// readWatchList reads a file with the keys of the ConfigMap's data. A value may be a JSON text, as it is there, or the list itself.
func readWatchList(ctx context.Context, file string) (watchlist.List, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return watchlist.List{}, fmt.Errorf("read watch-list: %w", err)
	}
	var values map[string]any
	if err := yaml.UnmarshalStrict(text, &values); err != nil {
		return watchlist.List{}, fmt.Errorf("watch-list %s: want the keys whitelist and blacklist: %w", file, err)
	}
	data := map[string]string{}
	for key, value := range values {
		if data[key], err = asText(value); err != nil {
			return watchlist.List{}, fmt.Errorf("watch-list %s: %s: %w", file, key, err)
		}
	}
	list, problems, err := watchlist.Parse(data)
	if err != nil {
		return list, fmt.Errorf("watch-list %s: %w", file, err)
	}
	for _, problem := range problems {
		klog.FromContext(ctx).Info("Part of the watch-list is left out", "file", file, "problem", problem.String())
	}
	return list, nil
}

func asText(value any) (string, error) {
	if text, ok := value.(string); ok || value == nil {
		return text, nil
	}
	text, err := json.Marshal(value)
	return string(text), err
}
