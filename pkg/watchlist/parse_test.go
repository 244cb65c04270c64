package watchlist

import (
	"fmt"
	"strings"
	"testing"
)

func TestEntriesAndTheirOptions(t *testing.T) {
	t.Parallel()
	const want = `want {"Resource":"pods.v1.","Events":["ADDED"]} or "pods.v1."; `
	names := func(n int) string {
		var list []string
		for i := range n {
			list = append(list, fmt.Sprintf("%q", fmt.Sprintf("n%02d", i)))
		}
		return strings.Join(list, ",")
	}
	tests := map[string]struct{ white, want string }{
		"as a text":                 {`"pods.v1."`, "watch pods.v1."},
		"as an object":              {`{"Resource":"pods.v1."}`, "watch pods.v1."},
		"keys in another case":      {`{"resource":"pods.v1.","events":["ADDED"],"Namespaces":["a"],"Depth":"inventory"}`, "watch pods.v1. ADDED in a depth inventory"},
		"all events":                {`{"Resource":"pods.v1.","Events":["ADDED","MODIFIED","DELETED"]}`, "watch pods.v1."},
		"no events are all":         {`{"Resource":"pods.v1.","Events":[]}`, "watch pods.v1."},
		"null events are all":       {`{"Resource":"pods.v1.","Events":null}`, "watch pods.v1."},
		"some events, in any order": {`{"Resource":"pods.v1.","Events":["DELETED","ADDED","ADDED"]}`, "watch pods.v1. ADDED,DELETED"},
		"an unknown event leaves the known": {`{"Resource":"pods.v1.","Events":["ADD","DELETED"]}`, `
			watch pods.v1. DELETED
			skip whitelist entry 1 (pods.v1.): known events are ADDED, MODIFIED and DELETED, but not "ADD"`},
		"unknown events alone select nothing": {`{"Resource":"pods.v1.","Events":["added","*"]}`, `
			skip whitelist entry 1 (pods.v1.): known events are ADDED, MODIFIED and DELETED, but not "added", "*"`},

		"namespaces": {`{"Resource":"pods.v1.","namespaces":["b","a","b"]}`, "watch pods.v1. in a,b"},
		"namespaces, as many as there may be": {`{"Resource":"pods.v1.","namespaces":[` + names(32) + `]}`,
			"watch pods.v1. in " + strings.ReplaceAll(names(32), `"`, "")},
		"namespaces, too many": {`{"Resource":"pods.v1.","namespaces":[` + names(33) + `]}`,
			`skip whitelist entry 1 (pods.v1.): namespaces: 33 are named, want 32 at most`},
		"namespaces that cannot be": {`{"Resource":"pods.v1.","namespaces":["a","Kube-System"]}`,
			`skip whitelist entry 1 (pods.v1.): namespaces: "Kube-System" cannot be the name of a namespace`},
		"namespaces, an empty one": {`{"Resource":"pods.v1.","namespaces":[""]}`,
			`skip whitelist entry 1 (pods.v1.): namespaces: "" cannot be the name of a namespace`},
		"namespaces of a kind that has none": {`{"Resource":"nodes.v1.","namespaces":["a"]}`, `
			watch nodes.v1.
			skip whitelist entry 1 (nodes.v1.): its objects have no namespace: namespaces are not used`},

		"labels": {`{"Resource":"pods.v1.","labelSelector":"app in (a,b),!legacy"}`, "watch pods.v1. labels app in (a,b),!legacy"},
		"labels that are none": {`{"Resource":"pods.v1.","labelSelector":"app in a"}`,
			`skip whitelist entry 1 (pods.v1.): labelSelector "app in a": unable to parse requirement: found 'a' expected: '('`},
		"fields": {`{"Resource":"pods.v1.","fieldSelector":"status.phase!=Succeeded"}`, "watch pods.v1. fields status.phase!=Succeeded"},
		"fields that are none": {`{"Resource":"pods.v1.","fieldSelector":"status.phase"}`,
			`skip whitelist entry 1 (pods.v1.): fieldSelector "status.phase": invalid selector: 'status.phase'; can't understand 'status.phase'`},
		"depth inventory": {`{"Resource":"pods.v1.","depth":"inventory"}`, "watch pods.v1. depth inventory"},
		"depth full":      {`{"Resource":"pods.v1.","depth":"full"}`, "watch pods.v1."},
		"depth unknown": {`{"Resource":"pods.v1.","depth":"Full"}`,
			`skip whitelist entry 1 (pods.v1.): depth "Full": want inventory or full`},

		"an unknown option":   {`{"Resource":"pods.v1.","Event":["ADDED"]}`, `skip whitelist entry 1 ({"Resource":"pods.v1.","Event":["ADDED"]}): ` + want + `unknown field "Event"`},
		"no resource":         {`{"Events":["ADDED"]}`, `skip whitelist entry 1 ({"Events":["ADDED"]}): Resource is missing; a resource is <plural>.<version>.<group>, such as pods.v1. or deployments.v1.apps`},
		"null":                {`null`, `skip whitelist entry 1 (null): Resource is missing; a resource is <plural>.<version>.<group>, such as pods.v1. or deployments.v1.apps`},
		"a number":            {`7`, `skip whitelist entry 1 (7): ` + want + `unexpected number`},
		"an array":            {`["pods.v1."]`, `skip whitelist entry 1 (["pods.v1."]): ` + want + `unexpected array`},
		"a number as name":    {`{"Resource":7}`, `skip whitelist entry 1 ({"Resource":7}): ` + want + `Resource: unexpected number`},
		"a text as events":    {`{"Resource":"pods.v1.","Events":"ADDED"}`, `skip whitelist entry 1 ({"Resource":"pods.v1.","Events":"ADDED"}): ` + want + `Events: unexpected string`},
		"numbers as events":   {`{"Resource":"pods.v1.","Events":[1]}`, `skip whitelist entry 1 ({"Resource":"pods.v1.","Events":[1]}): ` + want + `Events: unexpected number`},
		"an object as labels": {`{"Resource":"pods.v1.","labelSelector":{"app":"a"}}`, `skip whitelist entry 1 ({"Resource":"pods.v1.","labelSelector":{"app":"a"}}): ` + want + `labelSelector: unexpected object`},
		"bad entries, each named, and a good one": {`7, "pods.v1.", {"Resource":"nodes.v1.","depth":1}, "x/y"`, `
			watch pods.v1.
			skip whitelist entry 1 (7): ` + want + `unexpected number
			skip whitelist entry 3 ({"Resource":"nodes.v1.","depth":1}): ` + want + `depth: unexpected number
			skip whitelist entry 4 ("x/y"): a resource is <plural>.<version>.<group>, such as pods.v1. or deployments.v1.apps`},
		"a long entry is quoted in part": {`"` + strings.Repeat("é", 500) + `"`, `
			skip whitelist entry 1 ("` + strings.Repeat("é", 49) + `…): a resource is <plural>.<version>.<group>, such as pods.v1. or deployments.v1.apps`},
		"a long option is quoted in part": {`{"Resource":"pods.v1.","depth":"` + strings.Repeat("x", 500) + `"}`, `
			skip whitelist entry 1 (pods.v1.): depth "` + strings.Repeat("x", 293) + `…`},
		"an entry over several lines is quoted on one": {"{\n  \"Resource\":\n  7}", `skip whitelist entry 1 ({ "Resource": 7}): ` + want + `Resource: unexpected number`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			wantTexts(t, mustParse(t, map[string]string{"whitelist": "[" + test.white + "]"}).Resolve(testCluster()), test.want)
		})
	}
}

func TestEntriesOfABlacklist(t *testing.T) {
	t.Parallel()
	const hint = "a blacklist removes the whole kind; to leave out some of its events or objects, say so in the whitelist"
	tests := map[string]struct{ black, want string }{
		"as a text":                  {`"secrets.v1."`, "watch pods.v1."},
		"as an object":               {`{"Resource":"secrets.v1."}`, "watch pods.v1."},
		"with every event":           {`{"Resource":"secrets.v1.","Events":["DELETED","MODIFIED","ADDED"]}`, "watch pods.v1."},
		"with some events":           {`{"Resource":"secrets.v1.","Events":["MODIFIED"]}`, "watch pods.v1.\nskip blacklist entry 1 (secrets.v1.): " + hint},
		"with an unknown event":      {`{"Resource":"secrets.v1.","Events":["x"]}`, "watch pods.v1.\nskip blacklist entry 1 (secrets.v1.): " + hint},
		"with namespaces":            {`{"Resource":"secrets.v1.","namespaces":["a"]}`, "watch pods.v1.\nskip blacklist entry 1 (secrets.v1.): " + hint},
		"with labels":                {`{"Resource":"secrets.v1.","labelSelector":"a=b"}`, "watch pods.v1.\nskip blacklist entry 1 (secrets.v1.): " + hint},
		"with fields":                {`{"Resource":"secrets.v1.","fieldSelector":"a=b"}`, "watch pods.v1.\nskip blacklist entry 1 (secrets.v1.): " + hint},
		"with a depth":               {`{"Resource":"secrets.v1.","depth":"inventory"}`, "watch pods.v1.\nskip blacklist entry 1 (secrets.v1.): " + hint},
		"by kind":                    {`"Secret"`, "watch pods.v1.\nnote blacklist entry 1 (Secret): taken as secrets.v1., which is how it should be written"},
		"in a dead version":          {`"secrets.v1beta1."`, "watch pods.v1.\nnote blacklist entry 1 (secrets.v1beta1.): not served in version v1beta1; taken as secrets.v1."},
		"by wildcard":                {`"*."`, ""},
		"by wildcard, in upper case": {`"*.V1."`, "note blacklist entry 1 (*.V1.): taken as *.v1., which is how it should be written"},
		"not served": {`"secretes.v1."`, `
			watch pods.v1.
			watch secrets.v1.
			note blacklist entry 1 (secretes.v1.): nothing is left out: not served (yet)`},
		"a wildcard of nothing": {`"*.nowhere.example.com"`, `
			watch pods.v1.
			watch secrets.v1.
			note blacklist entry 1 (*.nowhere.example.com): nothing is left out: not served (yet)`},
		"ill-formed": {`"secrets.v1.","a..b"`, `
			watch pods.v1.
			skip blacklist entry 2 ("a..b"): nothing is left out: a resource is <plural>.<version>.<group>, such as pods.v1. or deployments.v1.apps`},
		"not served, in other words": {`"Secretes"`, `
			watch pods.v1.
			watch secrets.v1.
			skip blacklist entry 1 (Secretes): nothing is left out: not served (yet)`},
		"not served, without a version": {`"secretes."`, `
			watch pods.v1.
			watch secrets.v1.
			skip blacklist entry 1 (secretes.): nothing is left out: not served (yet)`},
		"of the group core":          {`"secrets.v1.core"`, "watch pods.v1.\nnote blacklist entry 1 (secrets.v1.core): taken as secrets.v1., which is how it should be written"},
		"of the group core, swapped": {`"secrets.core.v1"`, "watch pods.v1.\n" + `skip blacklist entry 1 ("secrets.core.v1"): taken all the same, but group and version are swapped; write "secrets.v1."`},
		"with an unknown option": {`{"Resource":"secrets.v1.","Event":["ADDED"]}`, `
			watch pods.v1.
			skip blacklist entry 1 ({"Resource":"secrets.v1.","Event":["ADDED"]}): taken all the same, but want {"Resource":"pods.v1.","Events":["ADDED"]} or "pods.v1."; unknown field "Event"`},
		"swapped": {`"deployments.apps.v1"`, `
			watch pods.v1.
			watch secrets.v1.
			skip blacklist entry 1 ("deployments.apps.v1"): taken all the same, but group and version are swapped; write "deployments.v1.apps"`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			list := mustParse(t, map[string]string{"whitelist": `["pods.v1.","secrets.v1."]`, "blacklist": "[" + test.black + "]"})
			wantTexts(t, list.Resolve(testCluster()), test.want)
		})
	}
}

func TestDiscoverySettings(t *testing.T) {
	t.Parallel()
	const pods = `{"Resource":"pods.v1.","namespaces":["a","b"]}`
	tests := map[string]struct{ white, discovery, want string }{
		"none":                 {`"pods.v1."`, "", "watch pods.v1."},
		"blanks":               {`"pods.v1."`, " \n", "watch pods.v1."},
		"null":                 {`"pods.v1."`, "null", "watch pods.v1."},
		"empty":                {`"pods.v1."`, "{}", "watch pods.v1."},
		"include":              {`"pods.v1.","nodes.v1."`, `{"namespaces":{"include":["b","a","b"]}}`, "watch nodes.v1.\nwatch pods.v1. in a,b"},
		"exclude":              {`"pods.v1.","nodes.v1."`, `{"namespaces":{"exclude":["b","a","b"]}}`, "watch nodes.v1.\nwatch pods.v1. not in a,b"},
		"exclude from include": {`"pods.v1."`, `{"namespaces":{"include":["a","b"],"exclude":["b","c"]}}`, "watch pods.v1. in a"},
		"the entry's and include: what both have": {pods, `{"namespaces":{"include":["b","c"]}}`, "watch pods.v1. in b"},
		"exclude from the entry's":                {pods, `{"namespaces":{"exclude":["b","c"]}}`, "watch pods.v1. in a"},
		"nothing is left of the entry's": {pods, `{"namespaces":{"include":["c"]}}`,
			`skip whitelist entry 1 (pods.v1.): no namespace is left to watch it in`},
		"exclude leaves nothing of the entry's": {pods, `{"namespaces":{"exclude":["a","b"]}}`,
			`skip whitelist entry 1 (pods.v1.): no namespace is left to watch it in`},
		"nothing is left of the second entry's": {pods + `,{"Resource":"pods.v1.","namespaces":["b"]}`, `{"namespaces":{"include":["a"]}}`,
			"watch pods.v1. in a\nskip whitelist entry 2 (pods.v1.): no namespace is left to watch it in"},
		"nothing is left of the first entry's": {pods + `,{"Resource":"pods.v1.","namespaces":["c"]}`, `{"namespaces":{"include":["c"]}}`,
			"watch pods.v1. in c\nskip whitelist entry 1 (pods.v1.): no namespace is left to watch it in"},
		"a wildcard watches what has a namespace left": {`"*."`, `{"namespaces":{"include":["a"],"exclude":["a"]}}`,
			"watch namespaces.v1.\nwatch nodes.v1.\nwatch persistentvolumes.v1."},
		"depth":                    {`"pods.v1."`, `{"depth":"inventory"}`, "watch pods.v1. depth inventory"},
		"the entry's depth wins":   {`{"Resource":"pods.v1.","depth":"full"},"nodes.v1."`, `{"depth":"inventory"}`, "watch nodes.v1. depth inventory\nwatch pods.v1."},
		"tier 1":                   {`"pods.v1.","nodes.v1.","secrets.v1."`, `{"maxTier":1}`, "watch nodes.v1."},
		"tier 2":                   {`"pods.v1.","nodes.v1.","secrets.v1."`, `{"maxTier":2}`, "watch nodes.v1.\nwatch pods.v1."},
		"tier 3":                   {`"pods.v1.","nodes.v1.","secrets.v1."`, `{"maxTier":3}`, "watch nodes.v1.\nwatch pods.v1.\nwatch secrets.v1."},
		"tiers of a wildcard":      {`"*.apps","*.cert-manager.io"`, `{"maxTier":2}`, "watch daemonsets.v1.apps\nwatch deployments.v1.apps\nwatch replicasets.v1.apps\nwatch statefulsets.v1.apps"},
		"keys in another case":     {`"pods.v1."`, `{"MaxTier":2,"Depth":"inventory"}`, "watch pods.v1. depth inventory"},
		"keep what was published":  {`"pods.v1."`, `{"onRemoval":"Keep"}`, "watch pods.v1."},
		"delete what is not there": {`"pods.v1."`, `{"onRemoval":"Delete"}`, "watch pods.v1."},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			list := mustParse(t, map[string]string{"whitelist": "[" + test.white + "]", "discovery": test.discovery})
			wantTexts(t, list.Resolve(testCluster()), test.want)
			wantRemoval := "Delete"
			if strings.Contains(test.discovery, "Keep") {
				wantRemoval = "Keep"
			}
			if got := list.OnRemoval(); string(got) != wantRemoval {
				t.Errorf("on removal: got %s, want %s", got, wantRemoval)
			}
		})
	}
}

func TestDataThatCannotBeRead(t *testing.T) {
	t.Parallel()
	const (
		array  = ` is not a JSON array such as [{"Resource":"pods.v1.","Events":["ADDED","DELETED"]}]: `
		object = `discovery is not a JSON object such as {"depth":"inventory","namespaces":{"exclude":["kube-system"]}}: `
	)
	for _, key := range []string{"whitelist", "blacklist"} {
		for text, want := range map[string]string{
			"pods.v1.":                  "line 1: invalid character 'p' looking for beginning of value",
			`"pods.v1."`:                "unexpected string",
			`{"Resource":"pods.v1."}`:   "unexpected object",
			"7":                         "unexpected number",
			"true":                      "unexpected bool",
			`["pods.v1."`:               "line 1: unexpected end of JSON input",
			"[\"pods.v1.\",\n":          "line 1: unexpected end of JSON input",
			"[\n\"pods.v1.\",\n]":       "line 3: invalid character ']' looking for beginning of value",
			"[\n\"pods.v1.\"\n'x'\n]\n": `line 3: invalid character '\'' after array element`,
			"[\"pods.v1.\n\"]":          `line 1: invalid character '\n' in string literal`,
			`["pods.v1."] x`:            "line 1: invalid character 'x' after top-level value",
		} {
			wantError(t, map[string]string{key: text}, key+array+want)
		}
	}
	const unread = `blacklist has no entry that can be read, and without any everything would be watched: blacklist entry 2 ("a..b"): nothing is left out: ` +
		"a resource is <plural>.<version>.<group>, such as pods.v1. or deployments.v1.apps"
	wantError(t, map[string]string{"blacklist": `[7,"a..b"]`}, unread)
	mustParse(t, map[string]string{"blacklist": `[7,"a..b"]`, "whitelist": "[7]"})
	long := strings.Repeat(`"pods.v1.",`, 1999) + `"pods.v1."`
	mustParse(t, map[string]string{"whitelist": "[" + long + "]", "blacklist": "[" + long + "]"})
	wantError(t, map[string]string{"blacklist": "[" + long + `,"nodes.v1."]`}, "blacklist has 2001 entries, want 2000 at most: a wildcard such as *.apps stands for many")
	for text, want := range map[string]string{
		"x":                                 "line 1: invalid character 'x' looking for beginning of value",
		"[]":                                "unexpected array",
		`{"depth":`:                         "unexpected EOF",
		"{\n\"depth\": full}":               "line 2: invalid character 'u' in literal false (expecting 'a')",
		`{} {}`:                             "something follows it",
		`{}}`:                               "something follows it",
		`{} x`:                              "something follows it",
		`{"dept":"full"}`:                   `unknown field "dept"`,
		`{"namespaces":["a"]}`:              "namespaces: unexpected array",
		`{"namespaces":{"include":"a"}}`:    "namespaces.include: unexpected string",
		`{"depth":"deep"}`:                  `depth "deep": want inventory or full`,
		`{"namespaces":{"include":["A"]}}`:  `namespaces: "A" cannot be the name of a namespace`,
		`{"namespaces":{"exclude":["a."]}}`: `namespaces: "a." cannot be the name of a namespace`,
		`{"namespaces":{"exclude":["` + strings.Repeat(`a","`, 32) + `a"]}}`: "namespaces: 33 are named, want 32 at most",
		`{"namespaces":{"include":["` + strings.Repeat("a", 500) + `"]}}`:    `namespaces: "` + strings.Repeat("a", 287) + "…",
		`{"maxTier":-1}`:         "maxTier -1: want 1 to 3",
		`{"maxTier":4}`:          "maxTier 4: want 1 to 3",
		`{"maxTier":1.5}`:        "maxTier: unexpected number 1.5",
		`{"maxTier":"1"}`:        "maxTier: unexpected string",
		`{"onRemoval":"keep"}`:   `onRemoval "keep": want Delete or Keep`,
		`{"onRemoval":["Keep"]}`: "onRemoval: unexpected array",
	} {
		wantError(t, map[string]string{"whitelist": `["pods.v1."]`, "discovery": text}, object+want)
	}
	wantError(t, map[string]string{"whitelist": "x", "blacklist": "y", "discovery": "z"},
		"whitelist"+array+"line 1: invalid character 'x' looking for beginning of value\n"+
			"blacklist"+array+"line 1: invalid character 'y' looking for beginning of value\n"+
			object+"line 1: invalid character 'z' looking for beginning of value")
}

func wantError(t *testing.T, data map[string]string, want string) {
	t.Helper()
	list, err := Parse(data)
	if err == nil || err.Error() != want {
		t.Errorf("%v:\ngot  %v\nwant %s", data, err, want)
	}
	if got := texts(list.Resolve(testCluster())); len(got) != 0 {
		t.Errorf("%v: a list comes with the error: %v", data, got)
	}
}

func TestUnknownKeysAreNamed(t *testing.T) {
	t.Parallel()
	list := mustParse(t, map[string]string{"whitelst": "[]", "delivery": `{"messagesPerSecond":1}`, "Blacklist": `["x"]`, "whitelist": `["po"]`, "blacklist": `["a..b"]`})
	wantTexts(t, list.Resolve(testCluster()), `
		watch pods.v1.
		skip Blacklist: unknown key; known are whitelist and blacklist
		skip whitelst: unknown key; known are whitelist and blacklist
		note whitelist entry 1 (po): taken as pods.v1., which is how it should be written
		skip blacklist entry 1 ("a..b"): nothing is left out: a resource is <plural>.<version>.<group>, such as pods.v1. or deployments.v1.apps`)
}

func TestEmpty(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		data map[string]string
		want bool
	}{
		"nothing":                   {nil, true},
		"empty texts":               {map[string]string{"whitelist": "", "blacklist": " \n"}, true},
		"empty arrays":              {map[string]string{"whitelist": "[]", "blacklist": "[ ]"}, true},
		"null":                      {map[string]string{"whitelist": "null"}, true},
		"settings and unknown keys": {map[string]string{"discovery": `{"depth":"inventory"}`, "x": "y"}, true},
		"a whitelist":               {map[string]string{"whitelist": `["pods.v1."]`}, false},
		"a blacklist":               {map[string]string{"blacklist": `["pods.v1."]`}, false},
		"an entry that is bad":      {map[string]string{"whitelist": `[7]`}, false},
		"what cannot be read":       {map[string]string{"whitelist": "", "blacklist": "x"}, false},
	} {
		if got := Empty(test.data); got != test.want {
			t.Errorf("%s: got %t", name, got)
		}
	}
}
