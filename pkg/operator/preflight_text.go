package operator

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"regexp"
	"slices"
	"strings"
)

// answer is what the account may not do with a resource in one place, of what permission asks for.
type answer struct {
	permission
	namespace string // "" is the whole cluster
	account   string // that the operator impersonates, or empty for its own
	denied    []string
}

// place is such as: in namespace meshery.
func (a *answer) place() string {
	place := "in namespace " + a.namespace
	switch {
	case a.namespace == "" && a.where == inServed:
		place = "in all namespaces"
	case a.namespace == "":
		place = "cluster-wide"
	}
	if a.account != "" {
		place = "as ServiceAccount " + a.account + ", " + place
	}
	return place
}

// grantedBy is what gives what is denied.
func (a *answer) grantedBy(own string) string {
	const namespaced = "ClusterRole meshery-operator-namespaced, bound "
	switch {
	case a.account != "", slices.Contains(a.denied, "impersonate"):
		return "manifests/22-grantor-rbac.yaml"
	case a.where == inServed && a.namespace == "":
		return namespaced + "by a ClusterRoleBinding,"
	case a.where == inServed && a.namespace != own:
		return namespaced + "there by a RoleBinding,"
	default:
		return "manifests/20-operator-rbac.yaml"
	}
}

// String is such as: get, list deployments.apps.
func (a *answer) String() string {
	text := strings.Join(a.denied, ", ") + " " + a.resource
	if a.group != "" {
		text += "." + a.group
	}
	if a.name != "" {
		text += " " + a.name
	}
	return text
}

// describeDenied says what is denied, and what grants it, in a text per place: first what the operator needs, then what it can do
// without. Of a namespace to serve where nothing at all is allowed it says only that.
func describeDenied(answers []answer, own string) (needed, optional []string) {
	shut := shutNamespaces(answers, own)
	describe := func(wanted bool) (texts []string) {
		type origin struct{ place, grantedBy string }
		found := map[origin][]string{}
		for _, a := range answers {
			if a.optional != wanted || len(a.denied) == 0 || a.where == inServed && slices.Contains(shut, a.namespace) {
				continue
			}
			from := origin{a.place(), a.grantedBy(own)}
			found[from] = append(found[from], a.String())
		}
		for from, what := range found {
			texts = append(texts, fmt.Sprintf("%s: %s (%s grants this)", from.place, strings.Join(what, "; "), from.grantedBy))
		}
		slices.Sort(texts)
		return texts
	}
	needed, optional = describe(false), describe(true)
	switch {
	case len(shut) == 0:
	case shut[0] == "":
		needed = append(needed, "nothing is allowed cluster-wide that --watch-namespaces=* needs: bind ClusterRole meshery-operator-namespaced by a ClusterRoleBinding")
	default:
		needed = append(needed, fmt.Sprintf("nothing is allowed in namespace %s: it may not exist; bind ClusterRole meshery-operator-namespaced there by a RoleBinding, "+
			"or take it out of --watch-namespaces", strings.Join(shut, ", nor in ")))
	}
	return needed, optional
}

// shutNamespaces are the namespaces to serve, but the operator's own, in which it may do nothing at all.
func shutNamespaces(answers []answer, own string) []string {
	open := map[string]bool{}
	for _, a := range answers {
		if a.where == inServed && a.namespace != own {
			open[a.namespace] = open[a.namespace] || len(a.denied) < len(a.verbs)
		}
	}
	maps.DeleteFunc(open, func(_ string, open bool) bool { return open })
	return slices.Sorted(maps.Keys(open))
}

// causeOf is the innermost cause of an error of a request, without what is another at each try.
func causeOf(err error) string {
	var lookup *net.DNSError
	var timeout net.Error
	switch {
	case errors.As(err, &lookup) && lookup.IsTimeout:
		return "lookup " + lookup.Name + ": no answer in time"
	case errors.As(err, &lookup):
		return steady("lookup " + lookup.Name + ": " + lookup.Err)
	case errors.As(err, &timeout) && timeout.Timeout():
		return "no answer in time"
	}
	for errors.Unwrap(err) != nil {
		err = errors.Unwrap(err)
	}
	return steady(err.Error())
}

var (
	ourPort   = regexp.MustCompile(`\S+:\d+->`)           // read tcp 10.0.0.5:41234->10.0.0.1:443
	timeOfDay = regexp.MustCompile(`current time \S+ is`) // of a certificate that has expired
)

// steady leaves out of an error's text what is another at each try.
func steady(text string) string {
	return timeOfDay.ReplaceAllString(ourPort.ReplaceAllString(text, ""), "the time is")
}
