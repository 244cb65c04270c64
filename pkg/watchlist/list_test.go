package watchlist

import (
	"strings"
	"testing"
)

func TestEventsAsText(t *testing.T) {
	t.Parallel()
	for events, want := range map[Events]string{0: "", Added: "ADDED", Modified | Deleted: "MODIFIED,DELETED", AllEvents: "ADDED,MODIFIED,DELETED"} {
		if got := events.String(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if !AllEvents.Has(Added|Deleted) || Added.Has(AllEvents) || Added.Has(Deleted) {
		t.Error("Has is wrong")
	}
}

func TestTheZeroListWatchesNothing(t *testing.T) {
	t.Parallel()
	wantTexts(t, List{}.Resolve(testCluster()), "")
}

func TestTheDefaultListSaysNothingOfItself(t *testing.T) {
	t.Parallel()
	wantTexts(t, Default().Resolve(testCluster()), defaults)
	old := with("grafana.integreatly.org/v1alpha1\n  grafanas Grafana n grafana")
	want, _, _ := strings.Cut(defaults, "\tmissing")
	wantTexts(t, Default().Resolve(old), strings.Replace(want, "\twatch persistentvolumeclaims", "\twatch grafanas.v1alpha1.grafana.integreatly.org\n\twatch persistentvolumeclaims", 1))
	if len(Default().white) != 23 {
		t.Errorf("got %d entries, want 23: the 15 documented kinds are among the 23 of the existing agent", len(Default().white))
	}
}

func TestFollowsServed(t *testing.T) {
	t.Parallel()
	for want, lists := range map[bool][][2]string{
		false: {{"", ""}, {`["pods.v1.","things.v1.example.com"]`, ""}, {`["pods.v1."]`, `["*"]`}, {`["belts.v1alpha1.factory.example.com",7]`, ""}},
		true: {
			{"", `["secrets.v1."]`}, {`["pods.v1.","*.apps"]`, ""}, {`["*"]`, ""}, {`["*.v1.apps"]`, ""}, {`["pods"]`, ""}, {`["pods.v1"]`, ""}, {`["pods."]`, ""},
			{`["deployments.apps"]`, ""}, {`["belts.stable.factory.example.com"]`, ""}, {`["Pods.v1."]`, ""},
		},
	} {
		for _, list := range lists {
			if got := mustParse(t, map[string]string{"whitelist": list[0], "blacklist": list[1]}).FollowsServed(); got != want {
				t.Errorf("%s: got %t", list, got)
			}
		}
	}
}

// data returns the three keys.
func data(white, black, discovery string) map[string]string {
	return map[string]string{"whitelist": white, "blacklist": black, "discovery": discovery}
}

func TestListsThatSayTheSame(t *testing.T) {
	t.Parallel()
	const white = `[{"Resource":"pods.v1.","Events":["ADDED","DELETED"],"namespaces":["a","b"]},"nodes.v1."]`
	defaultWhitelist := func() string {
		var texts []string
		for _, e := range Default().white {
			texts = append(texts, `"`+e.text+`"`)
		}
		return "[" + strings.Join(texts, ",") + "]"
	}()
	tests := map[string][2]map[string]string{
		"once more":             {data(white, `["secrets.v1."]`, ""), data(white, `["secrets.v1."]`, "")},
		"in other words":        {data(white, "", ""), data("[ {\"events\": [\"DELETED\",\"ADDED\",\"ADDED\"],\n \"resource\":\"pods.v1.\", \"namespaces\":[\"b\",\"a\",\"b\"]}, {\"Resource\":\"nodes.v1.\",\"Events\":[]}]", " [] ", "null")},
		"all events, named":     {data(`["pods.v1."]`, "", ""), data(`[{"Resource":"pods.v1.","Events":["ADDED","MODIFIED","DELETED"],"namespaces":[]}]`, "", "")},
		"nothing":               {nil, data("", "[]", " ")},
		"the default, written":  {nil, data(defaultWhitelist, "", "")},
		"settings, the default": {nil, data("", "", `{"depth":"full","maxTier":3,"onRemoval":"Delete","namespaces":{"include":[],"exclude":[]}}`)},
		"settings, in other words": {
			data("", "", `{"namespaces":{"include":["a","b"],"exclude":["c","d"]}}`), data("", "", `{"maxTier":3,"namespaces":{"exclude":["d","c"],"include":["b","b","a"]}}`),
		},
		"everything": {data("", `["secrets.v1."]`, ""), data(`["*"]`, `["secrets.v1."]`, "")},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			one, other := mustParse(t, test[0]), mustParse(t, test[1])
			if one.Hash() != other.Hash() {
				t.Errorf("hashes are %s and %s", one.Hash(), other.Hash())
			}
			if !one.Equal(other) {
				t.Error("they are not equal")
			}
		})
	}
}

func TestListsThatSayAnotherThing(t *testing.T) {
	t.Parallel()
	lists := map[string]map[string]string{
		"nothing":                   nil,
		"a kind":                    data(`["pods.v1."]`, "", ""),
		"another kind":              data(`["nodes.v1."]`, "", ""),
		"two":                       data(`["pods.v1.","nodes.v1."]`, "", ""),
		"the other way round":       data(`["nodes.v1.","pods.v1."]`, "", ""),
		"a kind on the blacklist":   data("", `["pods.v1."]`, ""),
		"two on the blacklist":      data("", `["pods.v1.","nodes.v1."]`, ""),
		"a kind on both":            data(`["pods.v1."]`, `["pods.v1."]`, ""),
		"events":                    data(`[{"Resource":"pods.v1.","Events":["ADDED"]}]`, "", ""),
		"other events":              data(`[{"Resource":"pods.v1.","Events":["DELETED"]}]`, "", ""),
		"namespaces":                data(`[{"Resource":"pods.v1.","namespaces":["a"]}]`, "", ""),
		"other namespaces":          data(`[{"Resource":"pods.v1.","namespaces":["b"]}]`, "", ""),
		"labels":                    data(`[{"Resource":"pods.v1.","labelSelector":"a"}]`, "", ""),
		"other labels":              data(`[{"Resource":"pods.v1.","labelSelector":"b"}]`, "", ""),
		"fields":                    data(`[{"Resource":"pods.v1.","fieldSelector":"a=b"}]`, "", ""),
		"other fields":              data(`[{"Resource":"pods.v1.","fieldSelector":"a=c"}]`, "", ""),
		"depth":                     data(`[{"Resource":"pods.v1.","depth":"inventory"}]`, "", ""),
		"another depth":             data(`[{"Resource":"pods.v1.","depth":"full"}]`, "", ""),
		"the depth of all":          data(`["pods.v1."]`, "", `{"depth":"inventory"}`),
		"the tier of all":           data(`["pods.v1."]`, "", `{"maxTier":2}`),
		"another tier of all":       data(`["pods.v1."]`, "", `{"maxTier":1}`),
		"what becomes of the rest":  data(`["pods.v1."]`, "", `{"onRemoval":"Keep"}`),
		"namespaces of all":         data(`["pods.v1."]`, "", `{"namespaces":{"include":["a"]}}`),
		"other namespaces of all":   data(`["pods.v1."]`, "", `{"namespaces":{"include":["b"]}}`),
		"all namespaces but one":    data(`["pods.v1."]`, "", `{"namespaces":{"exclude":["a"]}}`),
		"all namespaces but other":  data(`["pods.v1."]`, "", `{"namespaces":{"exclude":["b"]}}`),
		"only what cannot be used":  data(`[7]`, "", ""),
		"a wildcard":                data(`["*"]`, "", ""),
		"a wildcard of the core":    data(`["*."]`, "", ""),
		"a kind in other words":     data(`["po"]`, "", ""),
		"a kind in another version": data(`["pods.v2."]`, "", ""),
	}
	seen := map[string]string{}
	for name, data := range lists {
		list := mustParse(t, data)
		hash := list.Hash()
		if len(hash) != 12 || strings.Trim(hash, "0123456789abcdef") != "" {
			t.Errorf("%s: hash is %q", name, hash)
		}
		if other, ok := seen[hash]; ok {
			t.Errorf("%s and %s have the same hash", name, other)
		}
		seen[hash] = name
		for otherName, other := range lists {
			if got := list.Equal(mustParse(t, other)); got != (name == otherName) {
				t.Errorf("%s and %s: equal is %t", name, otherName, got)
			}
		}
	}
}

// The hash of a list is in status: it must not change when the code does.
func TestTheHashIsStable(t *testing.T) {
	t.Parallel()
	list := mustParse(t, data(`[{"Resource":"pods.v1.","Events":["ADDED"],"namespaces":["a"],"labelSelector":"a","fieldSelector":"b=c","depth":"inventory"}]`, `["secrets.v1."]`,
		`{"maxTier":2,"onRemoval":"Keep","namespaces":{"exclude":["b"]}}`))
	if got, want := list.Hash(), "d23a265cc1fa"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got, want := list.Limit([]string{"a"}, []string{"pods"}).Hash(), list.Hash(); got != want {
		t.Errorf("with limits: got %s, want %s", got, want)
	}
}

func TestProblemsAndLimitsMakeListsDiffer(t *testing.T) {
	t.Parallel()
	list := mustParse(t, data(`["pods.v1."]`, "", ""))
	for name, other := range map[string]List{
		"a bad entry":      mustParse(t, data(`["pods.v1.",7]`, "", "")),
		"an unknown key":   mustParse(t, map[string]string{"whitelist": `["pods.v1."]`, "x": ""}),
		"namespaces":       list.Limit([]string{"a"}, nil),
		"other namespaces": list.Limit([]string{"b"}, nil),
		"resources":        list.Limit(nil, []string{"pods"}),
	} {
		if list.Equal(other) || other.Equal(list) || !other.Equal(other) {
			t.Errorf("%s: Equal is wrong", name)
		}
	}
	if !list.Limit([]string{"b", "a"}, []string{"x", "y"}).Equal(list.Limit([]string{"a", "b", "b"}, []string{"y", "x"})) {
		t.Error("the order of limits counts")
	}
}
