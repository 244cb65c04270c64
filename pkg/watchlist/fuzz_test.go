package watchlist

import (
	"cmp"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

// FuzzParse: whatever the data, there is an error or a list, and what the list selects keeps the promises of this package.
func FuzzParse(f *testing.F) {
	for _, seed := range [][3]string{
		{"", "", ""},
		{"[]", `["secrets.v1.","*.example.com","Event"]`, `{"namespaces":{"include":["a"],"exclude":["a","b"]},"depth":"inventory","maxTier":2,"onRemoval":"Keep"}`},
		{`[{"Resource":"pods.v1.","Events":["ADDED","x"],"namespaces":["a"],"labelSelector":"a in (b,c),!d","fieldSelector":"a=b,c!=d","depth":"inventory"},"pods"]`, `["po"]`, "null"},
		{`["*","*.","*.v1","*.V1.apps","*.stable.factory.example.com","hpa.v9.autoscaling","deployments.v1"]`, `["*.v1.autoscaling",null,7,[],{}]`, "{}"},
		{`["deployments.apps.v1","pods..v1","a..b","x/y","certificates.cert-manager.io","onepassworditems.1password.com","bindings.","Thing"]`, "", "{"},
		{`[{"Resource":"pods.v1."},{"Resource":"pods.v1.","depth":"full"},{"Resource":"pods.v1.","Events":[]},{"resource":"LEASES","events":null}]`, "[", `{"maxTier":4}`},
		{"\xff", "[\"\xff\"]", "\u212a"},
	} {
		f.Add(seed[0], seed[1], seed[2])
	}
	served := testCluster()
	served.Silent = map[schema.GroupVersion]error{{Group: "metrics.example.com", Version: "v1"}: errors.New("503")}
	f.Fuzz(func(t *testing.T, white, black, discovery string) {
		data := map[string]string{"whitelist": white, "blacklist": black, "discovery": discovery}
		list, err := Parse(data)
		if err != nil {
			if len(list.Resolve(served).Targets) > 0 || !utf8.ValidString(err.Error()) || len(err.Error()) > 2000 {
				t.Errorf("a list comes with the error, or it is not fit to be shown: %q", err)
			}
			return
		}
		if again, _ := Parse(data); !again.Equal(list) || again.Hash() != list.Hash() {
			t.Error("parsed again, the list is another")
		}
		checkResolution(t, list, data, served)
	})
}

// FuzzResolve: the same where each byte stands for something that means something, in the cluster and in the lists.
func FuzzResolve(f *testing.F) {
	f.Add([]byte("0123456789abcdefghijklmnopqrstuvwxyz"), []byte("0a1b2c3d4e5f6g7h8i9j"), []byte("z0y1x2"))
	f.Add([]byte{0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5}, []byte{0, 0, 0, 1, 1, 1, 2, 2, 2}, []byte{})
	f.Add([]byte{2, 0, 3, 3, 4, 4, 5, 5, 5, 6, 6, 7, 6, 8}, []byte{7, 12, 0, 7, 0, 1}, []byte{5, 8, 0})
	names := []string{"pods", "events", "endpoints", "endpointslices", "leases", "bolts", "things"}
	groupVersions := []string{"v1", "v2", "apps/v1", "discovery.k8s.io/v1", "coordination.k8s.io/v1", "factory.example.com/stable", "stable.factory.example.com/v1", "example.com/v1", "example.com/v1beta1"}
	wordings := append(slices.Clone(names), wildcard, "Pod", "bolt", "po", "THINGS", "x/y")
	ends := []string{
		"", ".", ".v1", ".v1.", ".v2.", ".v1.apps", ".apps", ".apps.v1", ".v9.apps", ".v1.discovery.k8s.io", ".coordination.k8s.io", ".factory.example.com", ".stable.factory.example.com",
		".v1.stable.factory.example.com", ".example.com", ".v1.example.com", ".v1beta1.example.com", ".v2.example.com", "..",
	}
	options := []string{
		"", `,"Events":["ADDED"]`, `,"Events":["DELETED","x"]`, `,"Events":["x"]`, `,"namespaces":["a","b"]`, `,"namespaces":["B"]`, `,"depth":"inventory"`, `,"depth":"full"`, `,"labelSelector":"a"`,
		`,"labelSelector":"a in"`, `,"fieldSelector":"a=b"`, `,"fieldSelector":"a"`, `,"Event":[]`,
	}
	settings := []string{"", `{"maxTier":2}`, `{"depth":"inventory"}`, `{"namespaces":{"include":["a"]}}`, `{"namespaces":{"exclude":["a"]}}`, `{"namespaces":{"include":["a"],"exclude":["a"]}}`}
	write := func(bytes []byte) string {
		var entries []string
		for chosen := range slices.Chunk(bytes, 3) {
			if len(chosen) == 3 {
				entries = append(entries, `{"Resource":"`+of(wordings, chosen[0])+of(ends, chosen[1])+`"`+of(options, chosen[2])+"}")
			}
		}
		return "[" + strings.Join(entries, ",") + "]"
	}
	f.Fuzz(func(t *testing.T, cluster, white, black []byte) {
		if len(cluster)+len(white)+len(black) > 300 {
			t.Skip("long ones only take long")
		}
		kinds := map[string]map[string]string{} // lines of a text for discovered, by group version and name
		for chosen := range slices.Chunk(cluster, 2) {
			gv, name := of(groupVersions, chosen[0]), of(names, chosen[len(chosen)-1])
			mark, scope, singular := of([]string{"", "", "!"}, chosen[0]/9), of([]string{"n", "n", "c"}, chosen[0]/27), strings.TrimSuffix(name, "s")
			if kinds[gv] == nil {
				kinds[gv] = map[string]string{}
			}
			kinds[gv][name] = "  " + mark + strings.Join([]string{name, strings.ToUpper(singular[:1]) + singular[1:], scope, singular, name[:2]}, " ") + "\n"
		}
		var text strings.Builder
		for _, gv := range groupVersions {
			text.WriteString(gv + "\n")
			for _, name := range slices.Sorted(maps.Keys(kinds[gv])) {
				text.WriteString(kinds[gv][name])
			}
		}
		groups, lists := discovered(text.String())
		served := NewServed(groups, lists, nil)
		data := map[string]string{"whitelist": write(white), "blacklist": write(black)}
		if len(cluster) > 0 {
			data["discovery"] = of(settings, cluster[0])
		}
		list, err := Parse(data)
		if err != nil {
			if write(white) != "[]" {
				t.Errorf("a list with a whitelist is refused: %v", err)
			}
			return
		}
		checkResolution(t, list, data, served)
		for _, target := range list.Resolve(served).Targets {
			name := Format(target.Resource)
			wantTexts(t, mustParse(t, map[string]string{"whitelist": `["` + name + `"]`}).Resolve(served), "watch "+name)
		}
	})
}

func of(words []string, b byte) string { return words[int(b)%len(words)] }

func checkResolution(t *testing.T, list List, data map[string]string, served Served) {
	t.Helper()
	resolution := list.Resolve(served)
	if !slices.Equal(texts(resolution), texts(list.Resolve(served))) {
		t.Error("resolved again, the resolution is another")
	}
	checkTargets(t, list, resolution.Targets, served)
	white, black := data["whitelist"], data["blacklist"]
	for _, target := range resolution.Targets {
		if !Empty(map[string]string{"whitelist": white}) && !slices.ContainsFunc(namesIn(white, false), func(name string) bool { return couldMean(name, target, served) }) {
			t.Errorf("%s is watched, which no entry of the whitelist means", Format(target.Resource))
		}
		if slices.ContainsFunc(namesIn(black, true), func(name string) bool { return strings.EqualFold(name, Format(target.Resource)) }) {
			t.Errorf("%s is watched, though it is on the blacklist", Format(target.Resource))
		}
	}
	checkProblems(t, resolution)
}

// checkTargets: sorted, each kind once, each watchable, of a permitted tier and namespace, and not removed.
func checkTargets(t *testing.T, list List, targets []Target, served Served) {
	t.Helper()
	if !slices.IsSortedFunc(targets, func(a, b Target) int {
		return cmp.Or(cmp.Compare(a.Tier, b.Tier), strings.Compare(Format(a.Resource), Format(b.Resource)))
	}) {
		t.Error("targets are not sorted")
	}
	removed := map[schema.GroupResource]bool{}
	for _, e := range list.black {
		for _, target := range (List{white: []entry{e}, discovery: Default().discovery}).Resolve(served).Targets {
			removed[target.Resource.GroupResource()] = true
		}
	}
	seen := map[schema.GroupResource]bool{}
	for _, target := range targets {
		kind := kindOf(t, served, Format(target.Resource))
		name := target.Resource.GroupResource()
		limits := list.discovery.Namespaces
		switch {
		case seen[name]:
			t.Errorf("%s is watched twice", name)
		case removed[name]:
			t.Errorf("%s is watched, though the blacklist removes it", name)
		case !kind.Watchable || target.Kind != kind.Kind || target.Tier != kind.tier() || target.Tier > int(list.discovery.MaxTier):
			t.Errorf("%+v is not as %+v", target, kind)
		case target.Events == 0 || target.Events > AllEvents || target.Depth != "full" && target.Depth != "inventory":
			t.Errorf("%+v: events or depth", target)
		case !kind.Namespaced && len(target.Namespaces)+len(target.Excluded) > 0, len(target.Namespaces) > 0 && len(target.Excluded) > 0:
			t.Errorf("%+v: namespaces", target)
		case kind.Namespaced && len(limits.Include) > 0 && len(target.Namespaces) == 0:
			t.Errorf("%+v is watched in all namespaces", target)
		}
		for _, namespace := range target.Namespaces {
			if slices.Contains(limits.Exclude, namespace) || len(limits.Include) > 0 && !slices.Contains(limits.Include, namespace) {
				t.Errorf("%+v is watched in %s", target, namespace)
			}
		}
		seen[name] = true
	}
}

func checkProblems(t *testing.T, resolution Resolution) {
	t.Helper()
	for _, problem := range resolution.Problems {
		if text := problem.String(); problem.Hint == "" || len(text) > 600 || strings.Contains(text, "\n") || !utf8.ValidString(text) {
			t.Errorf("not fit to be shown: %q", text)
		}
	}
	for i, missing := range resolution.Missing {
		if missing.Name == "" || missing.Reason == "" || slices.Contains(resolution.Missing[:i], missing) {
			t.Errorf("%+v", missing)
		}
	}
}

// namesIn returns how the entries of a list name kinds, read without the code under test; of plain ones only, or of all.
func namesIn(text string, plain bool) []string {
	var entries []any
	if json.Unmarshal([]byte(text), &entries) != nil {
		return nil
	}
	var names []string
	for _, e := range entries {
		switch e := e.(type) {
		case string:
			names = append(names, e)
		case map[string]any:
			for key, value := range e {
				if plain && len(e) > 1 {
					continue
				}
				if name, ok := value.(string); ok && strings.EqualFold(key, "Resource") {
					names = append(names, name)
				}
			}
		}
	}
	return names
}

// couldMean reports whether a person could mean a kind by a name.
func couldMean(name string, target Target, served Served) bool {
	kind, rest, dotted := strings.Cut(strings.ToLower(name), ".")
	group := target.Resource.Group
	inGroup := !dotted || rest == group || strings.HasSuffix(rest, "."+group) || !strings.Contains(rest, ".") && kind != wildcard && versionLike.MatchString(rest) ||
		group == "" && versionLike.MatchString(rest)
	return inGroup && (kind == wildcard || slices.ContainsFunc(served.Kinds, func(k Kind) bool { return k.Resource == target.Resource && k.answers(kind) }))
}
