package natsserver

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Cluster is the servers that are one broker, also if it is one server alone. Each can be killed and restarted alone.
type Cluster []*Server

// member is what makes a server one of a cluster.
type member struct {
	name    string
	route   string   // where the others reach it
	routes  []string // of all
	monitor string
}

// Clients are told of no other server than the one that they have reached, as behind a Service.
func (m *member) config() string {
	return fmt.Sprintf("server_name: %s\nhttp: %q\ncluster { name: test, listen: %q, no_advertise: true, routes: [%s] }\n",
		m.name, m.monitor, m.route, strings.Join(m.routes, ", "))
}

// StartCluster starts servers with the same options and returns when they are one.
func StartCluster(t testing.TB, size int, o Options) Cluster {
	t.Helper()
	if size == 1 {
		return Cluster{Start(t, o)}
	}
	var routes []string
	for range size {
		routes = append(routes, freeAddr(t))
	}
	program := binary(t)
	var c Cluster
	for n, route := range routes {
		m := &member{name: "n" + strconv.Itoa(n), route: route, monitor: freeAddr(t)}
		for _, other := range routes {
			m.routes = append(m.routes, "nats://"+other)
		}
		c = append(c, newServer(t, program, o, m))
	}
	c.Restart(t)
	return c
}

// Kill ends all servers without warning.
func (c Cluster) Kill() {
	for _, s := range c {
		s.Kill()
	}
}

// Restart starts the servers that do not run, and returns when all are one.
func (c Cluster) Restart(t testing.TB) {
	t.Helper()
	for _, s := range c {
		if s.process == nil {
			s.start(t)
		}
	}
	for _, s := range c {
		if err := waitForInfo(t.Context(), s.Addr); err != nil {
			t.Fatal(err)
		}
	}
	c.WaitReady(t)
}

// URLs are those of all servers.
func (c Cluster) URLs() []string {
	var urls []string
	for _, s := range c {
		urls = append(urls, s.URL())
	}
	return urls
}

// Addrs are the addresses of all servers, such as 127.0.0.1:4222.
func (c Cluster) Addrs() []string {
	var addrs []string
	for _, s := range c {
		addrs = append(addrs, s.Addr)
	}
	return addrs
}

// WaitReady returns when every server knows all others and has caught up with them.
func (c Cluster) WaitReady(t testing.TB) {
	t.Helper()
	const patience, pause = 30 * time.Second, 50 * time.Millisecond
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for _, s := range c {
		if s.member == nil { // it is alone
			continue
		}
		for err := s.member.ready(ctx, len(c)-1); err != nil; err = s.member.ready(ctx, len(c)-1) {
			select {
			case <-ctx.Done():
				t.Fatalf("nats-server %s: %v", s.member.name, err)
			case <-time.After(pause):
			}
		}
	}
}

func (m *member) ready(ctx context.Context, others int) error {
	var state struct {
		Routes []struct {
			Remote string `json:"remote_name"`
		} `json:"routes"`
	}
	if err := m.ask(ctx, "/routez", &state); err != nil {
		return err
	}
	names := map[string]bool{}
	for _, route := range state.Routes {
		names[route.Remote] = true
	}
	if len(names) != others {
		return fmt.Errorf("knows %d others, not %d", len(names), others)
	}
	return m.ask(ctx, "/healthz", &struct{}{})
}

func (m *member) ask(ctx context.Context, path string, into any) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+m.monitor+path, http.NoBody)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", path, response.Status)
	}
	return json.NewDecoder(response.Body).Decode(into)
}
