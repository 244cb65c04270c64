package operator

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"

	"meshery.io/operator/pkg/apis/meshery"
)

// auditEvent is a request as the API server logged it.
type auditEvent struct {
	Stage, Verb, RequestURI string
	User, ImpersonatedUser  struct{ Username string }
	// ObjectRef is nil for what is not about resources, such as discovery.
	ObjectRef *struct{ Resource, Subresource, Namespace, Name, APIGroup string }
}

// account is whose permissions the request was made with.
func (e *auditEvent) account() string {
	if e.ImpersonatedUser.Username != "" {
		return e.ImpersonatedUser.Username
	}
	return e.User.Username
}

func (e *auditEvent) resource() string {
	if e.ObjectRef.Subresource != "" {
		return e.ObjectRef.Resource + "/" + e.ObjectRef.Subresource
	}
	return e.ObjectRef.Resource
}

// isWrite leaves out leases, and reviews, which are created but change nothing.
func (e *auditEvent) isWrite() bool {
	switch {
	case e.ObjectRef == nil, slices.Contains([]string{"get", "list", "watch"}, e.Verb):
		return false
	default:
		return e.ObjectRef.Resource != "leases" && !strings.HasSuffix(e.ObjectRef.Resource, "reviews")
	}
}

// auditSize is where the audit log ends now.
func auditSize() (int64, error) {
	info, err := os.Stat(server.auditLog)
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// readAudit returns the requests that were answered, or watches that began, after the audit log had a size.
func readAudit(after int64) ([]auditEvent, error) {
	file, err := os.Open(server.auditLog)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	if _, err := file.Seek(after, io.SeekStart); err != nil {
		return nil, err
	}
	var events []auditEvent
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var event auditEvent
		if err := json.Unmarshal(lines.Bytes(), &event); err != nil {
			continue // the line that is being written
		}
		counted := "ResponseComplete"
		if event.Verb == "watch" {
			counted = "ResponseStarted" // it goes on for minutes
		}
		if event.Stage == counted {
			events = append(events, event)
		}
	}
	return events, lines.Err()
}

// accounts are those whose requests checkRequests holds against a table, by the end of their names.
func accounts() map[string][]permission {
	return map[string][]permission{
		":" + meshery.OperatorName: everyPermission(),
		":" + meshery.GrantorName:  append(grantorPermissions(), askAboutItself),
	}
}

// servesAll holds the own namespaces of the operators that tests start with --watch-namespaces=*.
var servesAll sync.Map

// placesOf are the places in the table of permissions that a request is made in: with a namespace or without, by an account of a
// namespace.
func placesOf(namespace, own string) []string {
	_, all := servesAll.Load(own)
	switch {
	case namespace == "" && all:
		return []string{inCluster, inServed}
	case namespace == "":
		return []string{inCluster}
	case namespace == own:
		return []string{inOwn, inServed}
	default:
		return []string{inServed}
	}
}

// checkRequests says which requests operators made, in whatever tests ran, that the table of permissions does not list. A request
// in the name of another account counts for that account, and for the one that made it as "impersonate".
func checkRequests() error {
	events, err := readAudit(0)
	if err != nil {
		return err
	}
	unlisted := map[string]bool{}
	check := func(account, namespace, verb, group, resource, name string) {
		for suffix, table := range accounts() {
			own, found := strings.CutPrefix(account, serviceAccountPrefix)
			own, of := strings.CutSuffix(own, suffix)
			if places := placesOf(namespace, own); found && of && !lists(table, places, verb, group, resource, name) {
				unlisted[fmt.Sprintf("%s: %s %s in group %q, such as %q, %s", suffix[1:], verb, resource, group, name, places[0])] = true
			}
		}
	}
	for _, event := range events {
		if event.ImpersonatedUser.Username != "" {
			namespace, name, _ := strings.Cut(strings.TrimPrefix(event.ImpersonatedUser.Username, serviceAccountPrefix), ":")
			check(event.User.Username, namespace, "impersonate", "", "serviceaccounts", name)
		}
		if event.ObjectRef != nil {
			check(event.account(), event.ObjectRef.Namespace, event.Verb, event.ObjectRef.APIGroup, event.resource(), event.ObjectRef.Name)
		}
	}
	if len(unlisted) > 0 {
		return fmt.Errorf("the operator made requests that permissions.go does not list:\n%s", strings.Join(slices.Sorted(maps.Keys(unlisted)), "\n"))
	}
	return nil
}

// everyPermission is the table for an operator with all options on, and what Kubernetes grants everybody.
func everyPermission() []permission {
	options := DefaultOptions()
	options.LeaderElect = true
	options.SecureMetricsAddr = ":8443"
	return append(permissions(&options), askAboutItself)
}

const serviceAccountPrefix = "system:serviceaccount:"

// askAboutItself is granted to everybody.
var askAboutItself = permission{where: inCluster, group: "authorization.k8s.io", resource: "selfsubjectaccessreviews", verbs: []string{"create"}}

// lists tells whether a table has what somebody does, or may do, in one of the places.
func lists(table []permission, places []string, verb, group, resource, name string) bool {
	return slices.ContainsFunc(table, func(p permission) bool {
		return slices.Contains(places, p.where) && p.group == group && p.resource == resource && slices.Contains(p.verbs, verb) &&
			(p.name == "" || p.name == name)
	})
}
