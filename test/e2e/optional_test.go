package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"meshery.io/operator/test/consumer"
)

const optional = manifests + "/optional"

// networkPolicies fit what is installed. The local cluster's network enforces none.
func (c *cluster) networkPolicies(t *testing.T) {
	for line := range strings.Lines(c.run(t, "apply", "-f", optional+"/network-policies.yaml")) {
		if !strings.HasSuffix(strings.TrimSpace(line), "created") {
			t.Errorf("network policies: %s", line)
		}
	}
	for policy, pods := range map[string]string{
		"meshery-default-deny": "app.kubernetes.io/part-of=meshery",
		"meshery-operator":     "name=meshery-operator",
		"meshery-broker":       "app=meshery-broker",
		"meshery-meshsync":     "app=meshery-meshsync",
	} {
		selector := c.run(t, "get", "networkpolicy", "-n", namespace, policy, "-o", "jsonpath={.spec.podSelector.matchLabels}")
		var labels map[string]string
		if err := json.Unmarshal([]byte(selector), &labels); err != nil {
			t.Fatalf("%s selects %q: %v", policy, selector, err)
		}
		var terms []string
		for key, value := range labels {
			terms = append(terms, key+"="+value)
		}
		selected := c.run(t, "get", "pods", "-n", namespace, "-o", "name", "-l", strings.Join(terms, ","))
		if wanted := c.run(t, "get", "pods", "-n", namespace, "-o", "name", "-l", pods); selected != wanted || selected == "" {
			t.Errorf("%s selects %q, want %q", policy, selected, wanted)
		}
	}
	c.run(t, "delete", "-f", optional+"/network-policies.yaml")
}

// withoutOperator runs the agent alone, with a broker whose URL and token it gets from a Secret, and edits its watch-list.
func (c *cluster) withoutOperator(t *testing.T) {
	const alone, objects = "meshsync", optional + "/meshsync-without-operator.yaml"
	c.run(t, "apply", "-f", objects)
	// A broker of its own: the Broker's other agent would publish the same.
	c.run(t, "run", "-n", alone, "nats", "--image=docker.io/library/"+c.natsImage(t), "--image-pull-policy=IfNotPresent", "--port=4222", "--expose", "--", "--auth=of-its-own")
	c.run(t, "create", "secret", "generic", "-n", alone, "meshsync-broker", "--from-literal=url=nats://nats."+alone+".svc:4222", "--from-literal=token=of-its-own")
	c.run(t, "rollout", "status", "-n", alone, "deployment/meshsync", "--timeout=90s")
	pod := c.run(t, "get", "pod", "-n", alone, "-l", "app=meshsync", "-o", "jsonpath={.items[*].metadata.name}")
	c.run(t, "wait", "pod", "-n", alone, "nats", "--for=condition=Ready", "--timeout=60s")
	address, stop, err := c.tryForward(t.Context(), alone, "pod/nats", 4222)
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	connection, err := nats.Connect("nats://"+address, nats.Token("of-its-own"), nats.Timeout(10*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	messages := make(chan *nats.Msg, 10_000)
	if _, err := connection.ChanSubscribe("meshery.meshsync.core", messages); err != nil {
		t.Fatal(err)
	}
	if err := connection.Flush(); err != nil {
		t.Fatal(err)
	}
	// ConfigMaps are not on the list, until they are.
	list := `[{"Resource":"configmaps.v1.","Events":["ADDED"]}]`
	patch, err := json.Marshal(map[string]any{"data": map[string]string{"whitelist": list}})
	if err != nil {
		t.Fatal(err)
	}
	c.run(t, "patch", "configmap", "-n", alone, "meshsync-watch-list", "--type=merge", "-p", string(patch))
	eventually(t, "a ConfigMap arrives", 30*time.Second, func(context.Context) error {
		for {
			select {
			case message := <-messages:
				decoded, err := consumer.Decode(message.Data)
				if err != nil {
					return err
				}
				if decoded.Object.Kind == "ConfigMap" && decoded.Object.Metadata.Name == "meshsync-watch-list" {
					return nil
				}
			default:
				return fmt.Errorf("it did not yet: %w", context.DeadlineExceeded)
			}
		}
	})
	if now := c.run(t, "get", "pod", "-n", alone, "-l", "app=meshsync", "-o", "jsonpath={.items[*].metadata.name}"); now != pod {
		t.Errorf("the agent was restarted: %s is now %s", pod, now)
	}
	c.run(t, "delete", "-f", objects, "--timeout=90s")
}

// natsImage is the broker's.
func (c *cluster) natsImage(t *testing.T) string {
	t.Helper()
	return c.run(t, "get", "statefulset", "-n", namespace, "meshery-broker", "-o", "jsonpath={.spec.template.spec.containers[?(@.name==\"nats\")].image}")
}
