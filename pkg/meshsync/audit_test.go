package meshsync_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

// audited is what an agent has asked of the API server, as the audit log has it.
type audited struct {
	AuditID                  string
	Stage, Verb, RequestURI  string
	RequestReceivedTimestamp time.Time
	ObjectRef                struct{ Resource, Subresource, APIGroup, APIVersion, Namespace, Name string }
	ImpersonatedUser         struct{ Username string }
	ResponseStatus           struct{ Code int }
}

// begun is true of the first line about a request: of a watch there is one when it begins and one when it ends.
func (r audited) begun() bool { return (r.Stage == "ResponseStarted") == (r.Verb == "watch") }

// requests returns what the test's agent has asked so far.
func (c *cluster) requests() []audited {
	c.t.Helper()
	file, err := os.Open(c.plane.AuditLog)
	if err != nil {
		c.t.Fatal(err)
	}
	defer file.Close()
	var all []audited
	known := map[string]bool{} // an API server with alpha features says some things twice
	scanner := bufio.NewScanner(file)
	scanner.Buffer(nil, 16<<20)
	for scanner.Scan() {
		if !bytes.Contains(scanner.Bytes(), []byte(`"`+c.user()+`"`)) {
			continue
		}
		var one audited
		if json.Unmarshal(scanner.Bytes(), &one) == nil && one.ImpersonatedUser.Username == c.user() && one.begun() && !known[one.AuditID] {
			known[one.AuditID] = true
			all = append(all, one)
		}
	}
	return all
}

// count returns how many of the requests fit.
func (c *cluster) count(fits func(audited) bool) int {
	c.t.Helper()
	n := 0
	for _, one := range c.requests() {
		if fits(one) {
			n++
		}
	}
	return n
}

// await returns a count once it is what it should be at least: a request may come a moment after what it is told by, and its line in the
// audit log another moment later.
func (c *cluster) await(what string, count func() int, least int) int {
	c.t.Helper()
	n := 0
	c.eventually(what, func() error {
		if n = count(); n < least {
			return fmt.Errorf("%d, want %d", n, least)
		}
		return nil
	})
	return n
}

// watchRequests counts requests to list or watch a kind. One suffices to do both.
func (c *cluster) watchRequests(resource schema.GroupVersionResource) int {
	c.t.Helper()
	return c.count(func(r audited) bool {
		return (r.Verb == "watch" || r.Verb == "list") && r.ObjectRef.Name == "" &&
			r.ObjectRef.Resource == resource.Resource && r.ObjectRef.APIGroup == resource.Group
	})
}

// allWatchRequests counts requests to list or watch any kind. Those for the watch-list itself and for the definitions of kinds, which
// there are whatever it says, are only made at the start.
func (c *cluster) allWatchRequests() int {
	c.t.Helper()
	return c.count(func(r audited) bool { return r.Verb == "watch" || r.Verb == "list" })
}

// discoveryRequests counts how often it was asked what is served.
func (c *cluster) discoveryRequests() int {
	c.t.Helper()
	return c.count(func(r audited) bool { return r.RequestURI == "/apis" })
}

// reviews counts the questions what the agent may do: about rules, and about one kind.
func (c *cluster) reviews() (rules, kinds int) {
	c.t.Helper()
	of := func(resource string) int {
		return c.count(func(r audited) bool { return r.Verb == "create" && r.ObjectRef.Resource == resource })
	}
	return of("selfsubjectrulesreviews"), of("selfsubjectaccessreviews")
}
