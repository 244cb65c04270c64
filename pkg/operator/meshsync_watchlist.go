package operator

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"meshery.io/operator/pkg/apis/meshery"
	"meshery.io/operator/pkg/apis/meshery/v1alpha1"
	"meshery.io/operator/pkg/watchlist"
)

// watchListOf is the watch-list of a MeshSync, and the field where it stands: informer_config where watch-list says nothing. The
// two are never mixed: Meshery Server sends both keys of watch-list, and an empty one means that there is none.
func watchListOf(meshSync *v1alpha1.MeshSync) (field string, data map[string]string) {
	data, older := meshSync.Spec.WatchList.Data, meshSync.Spec.InformerConfig
	if older != nil && watchlist.Empty(data) && !watchlist.Empty(older.Data) {
		return "spec.informer_config", older.Data
	}
	return "spec.watch-list", data
}

// watchListKeys are the keys of the ConfigMap that say what to watch.
var watchListKeys = []string{meshery.WhitelistKey, meshery.BlacklistKey, meshery.DiscoveryKey}

// watchListData is what the spec says, in the form that the ConfigMap has it in. Of the watch-list's data it takes the two keys that
// a user is to write: the third is the operator's, and the API server would refuse some others.
func watchListData(meshSync *v1alpha1.MeshSync) map[string]string {
	_, data := watchListOf(meshSync)
	return map[string]string{
		meshery.WhitelistKey: data[meshery.WhitelistKey],
		meshery.BlacklistKey: data[meshery.BlacklistKey],
		meshery.DiscoveryKey: discoveryText(meshSync.Spec.Discovery),
	}
}

// discoveryText is empty where spec.discovery says nothing.
func discoveryText(discovery v1alpha1.MeshSyncDiscovery) string {
	if equality.Semantic.DeepEqual(discovery, v1alpha1.MeshSyncDiscovery{}) {
		return ""
	}
	text, err := json.Marshal(discovery)
	if err != nil {
		panic(err) // texts and a number
	}
	return string(text)
}

// watchListFault says why a watch-list cannot be read at all; empty when it can.
func watchListFault(meshSync *v1alpha1.MeshSync) string {
	if _, err := watchlist.Parse(watchListData(meshSync)); err != nil {
		field, _ := watchListOf(meshSync)
		return field + ": " + err.Error()
	}
	return ""
}

// checkWatchList refuses a watch-list that cannot be read at all: the agent keeps the last good one.
func checkWatchList(meshSync *v1alpha1.MeshSync) error {
	if fault := watchListFault(meshSync); fault != "" {
		return &unavailable{reason: v1alpha1.ReasonWatchListInvalid, message: fault + "; the last good list stays in force"}
	}
	return nil
}

// dataInForce is what the agent is to follow: what the spec and the broker say or, while the list cannot be read or the broker is not
// known, what the ConfigMap says already; nil where there is no list.
func (c *meshSyncController) dataInForce(ctx context.Context, meshSync *v1alpha1.MeshSync, broker target) (map[string]string, error) {
	data, delivery := watchListData(meshSync), broker.delivery
	unreadable, unknown := watchListFault(meshSync) != "", broker.url == ""
	if unreadable || unknown {
		present, err := c.handedOut(ctx, meshSync)
		switch {
		case err != nil || present == nil && unreadable:
			return nil, err
		case unreadable:
			for _, key := range watchListKeys {
				data[key] = present[key]
			}
		}
		if unknown {
			delivery, _ = meshery.ParseDelivery(present[meshery.DeliveryKey]) // what somebody has spoilt says nothing
		}
	}
	data[meshery.DeliveryKey] = limited(delivery, meshSync.Spec.Publishing).String()
	return data, nil
}

// handedOut is what the ConfigMap says, nil where there is none.
func (c *meshSyncController) handedOut(ctx context.Context, meshSync *v1alpha1.MeshSync) (map[string]string, error) {
	// Not from the cache, which may not show yet what the sync before wrote: what was good before that would come back.
	name := meshery.WatchListConfigMap(meshSync.Name)
	present, err := c.clients.kube.CoreV1().ConfigMaps(meshSync.Namespace).Get(ctx, name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err), err == nil && !controlledBy(meshSync)(present):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("read the watch-list in force: %w", err)
	}
	return present.Data, nil
}

// newlyEdited reports whether the ConfigMap is not known to be of the newest spec.
func (c *meshSyncController) newlyEdited(meshSync *v1alpha1.MeshSync) bool {
	present, err := c.caches.in(meshSync.Namespace).configMaps.ConfigMaps(meshSync.Namespace).Get(meshery.WatchListConfigMap(meshSync.Name))
	return err != nil || present.Annotations[meshery.AnnotationGeneration] != generationText(meshSync)
}

func generationText(meshSync *v1alpha1.MeshSync) string {
	return strconv.FormatInt(meshSync.Generation, 10)
}

// watchListWarnings leaves out entries that are of no use: the agent says more of them than can be known here.
func watchListWarnings(meshSync *v1alpha1.MeshSync) []finding {
	var findings []finding
	field, data := watchListOf(meshSync)
	unread := slices.DeleteFunc(slices.Sorted(maps.Keys(data)), func(key string) bool {
		return key == meshery.WhitelistKey || key == meshery.BlacklistKey
	})
	if len(unread) > 0 {
		message := fmt.Sprintf("%s.data has keys that are not read: %s; known are whitelist and blacklist", field, strings.Join(unread, ", "))
		if slices.Contains(unread, meshery.DiscoveryKey) {
			message += "; discovery is a field beside it, spec.discovery"
		}
		findings = append(findings, finding{v1alpha1.ReasonWatchListKeys, message})
	}
	if meshSync.Spec.InformerConfig != nil {
		findings = append(findings, deprecatedWarning(field))
	}
	return findings
}

func deprecatedWarning(used string) finding {
	message := "spec.informer_config is an older name of spec.watch-list: move its data there"
	if used == "spec.watch-list" {
		message = "spec.informer_config is an older name of spec.watch-list and says nothing that is used: remove it"
	}
	return finding{v1alpha1.ReasonDeprecatedField, message}
}
