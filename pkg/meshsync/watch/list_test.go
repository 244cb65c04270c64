package watch

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apiwatch "k8s.io/apimachinery/pkg/watch"

	"meshery.io/operator/pkg/watchlist"
)

func TestAListIsFollowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const key = "configmaps/demo/list"
		server := newAPIServer(t)
		write := func(list string) { server.putBody(key, "a", fmt.Sprintf(`,"data":{"whitelist":%q}`, list)) }
		ctx, cancel := context.WithCancel(t.Context())
		var mu sync.Mutex
		var last Given
		var done sync.WaitGroup
		done.Go(func() {
			FromConfigMap(server.client(t), "demo", "list")(ctx, func(given Given) {
				mu.Lock()
				defer mu.Unlock()
				last = given
			})
		})
		is := func(when, list, err string) {
			t.Helper()
			pass(5 * time.Minute)
			mu.Lock()
			defer mu.Unlock()
			if (last.Err != nil) != (err != "") || last.Err != nil && !strings.Contains(last.Err.Error(), err) {
				t.Errorf("%s: %v, want %q", when, last.Err, err)
			}
			switch {
			case list == "" && last.List != nil:
				t.Errorf("%s: there is a list", when)
			case list != "":
				want, _ := watchlist.Parse(map[string]string{"whitelist": list})
				if list == "default" {
					want = watchlist.Default()
				}
				if last.List == nil || !last.List.Equal(want) {
					t.Errorf("%s: another list", when)
				}
			}
			last = Given{}
		}
		is("there is none", "default", "")
		write(`["pods.v1."]`)
		is("there is one", `["pods.v1."]`, "")
		write(`["nodes.v1."]`)
		is("it changes", `["nodes.v1."]`, "")
		write(`[`)
		is("it is no list", "", "read watch-list")
		server.delete(key)
		is("it is deleted", "", "was deleted")
		write(`["pods.v1."]`)
		is("it is back", `["pods.v1."]`, "")
		server.leave(apierrors.NewServiceUnavailable("away"))
		server.delete(key)
		server.compact()
		server.comeBack()
		is("it was deleted while nobody looked", "", "was deleted")
		cancel()
		done.Wait()
	})
}

// TestAListThatCannotBeReadIsNotTheDefaultOne: that may be far more.
func TestAListThatCannotBeReadIsNotTheDefaultOne(t *testing.T) {
	tests := map[string]func(server *apiServer){
		"it may not be":       func(server *apiServer) { server.leave(apierrors.NewForbidden(configMaps.GroupResource(), "", nil)) },
		"it is no ConfigMap":  func(server *apiServer) { server.putBody("configmaps/demo/list", "a", `,"data":7`) },
		"it is no watch-list": func(server *apiServer) { server.putBody("configmaps/demo/list", "a", `,"data":{"whitelist":"7"}`) },
		"its list breaks off": func(server *apiServer) {
			server.putBody("configmaps/demo/list", "a", `,"data":{"whitelist":"7"}`)
			server.answer(func(w http.ResponseWriter, r *http.Request) bool {
				if streamsList(r) {
					tell(w, apiwatch.Added)
				} else {
					_, _ = fmt.Fprint(w, `{"items":[`)
				}
				return true
			})
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				server := newAPIServer(t)
				test(server)
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
				defer cancel()
				said := 0
				FromConfigMap(server.client(t), "demo", "list")(ctx, func(given Given) {
					if given.Err == nil || given.List != nil {
						t.Errorf("got %v", given)
					}
					said++
				})
				if said == 0 {
					t.Error("nothing was said")
				}
			})
		})
	}
}
