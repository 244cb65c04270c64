package meshsync

import (
	"context"
	"encoding/json"
	"fmt"
	"os"

	"sigs.k8s.io/yaml"

	"meshery.io/operator/pkg/apis/meshery"
	"meshery.io/operator/pkg/meshsync/watch"
	"meshery.io/operator/pkg/watchlist"
)

// watchList says where the watch-list comes from: a file, the ConfigMap of a MeshSync, or the default list; less what the options
// leave out.
func (o *Options) watchList(c *cluster) (watch.Source, error) {
	source := watch.Fixed(watchlist.Default())
	switch {
	case o.WatchListFile != "":
		list, err := readWatchList(o.WatchListFile)
		if err != nil {
			return nil, err
		}
		source = watch.Fixed(list)
	case o.Name != "":
		source = watch.FromConfigMap(c.raw, o.Namespace, meshery.WatchListConfigMap(o.Name))
	}
	return func(ctx context.Context, deliver func(watch.Given)) {
		source(ctx, func(given watch.Given) {
			if given.List != nil {
				given.List = new(given.List.Limit(o.OutputNamespaces, o.OutputResources))
			}
			deliver(given)
		})
	}, nil
}

// readWatchList reads a file with the keys of the ConfigMap's data. A value may be a JSON text, as it is there, or the list itself.
func readWatchList(file string) (watchlist.List, error) {
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
	list, err := watchlist.Parse(data)
	if err != nil {
		return list, fmt.Errorf("watch-list %s: %w", file, err)
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
