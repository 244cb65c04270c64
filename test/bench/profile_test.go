package bench

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sync/errgroup"

	"meshery.io/operator/test/bench/replay"
)

// envProfiles is a folder for CPU profiles of the agent, which say where the time goes. They are taken of agents that are not measured.
const envProfiles = "MESHERY_BENCH_PROFILES"

// profileReal takes sync.pprof and updates.pprof.
func (l *lab) profileReal(t *testing.T, cluster *cluster) {
	if os.Getenv(envProfiles) == "" {
		return
	}
	all := l.consumer.await(l.pods)
	a := l.startReal(t, l.ours, cluster)
	defer a.stop()
	a.profile("sync", func() { l.consumer.wait(t, all, patience) })
	a.profile("updates", func() { cluster.changePods(l.updates, l.updatesRate) })
}

// profileReplayed takes bulk.pprof, and allocs.pprof, which is of all that the agent has done.
func (l *lab) profileReplayed(t *testing.T, server *replay.Server) {
	if os.Getenv(envProfiles) == "" {
		return
	}
	a, _ := l.sync(t, l.ours, server)
	defer a.stop()
	a.profile("bulk", func() {
		for range l.passes {
			l.change(t, server, 0)
		}
	})
	if err := a.save("allocs", "/debug/pprof/allocs"); err != nil {
		t.Fatal(err)
	}
}

// profile takes a CPU profile, which takes some seconds, while something goes on.
func (a *agent) profile(name string, while func()) {
	a.t.Helper()
	var taking errgroup.Group
	taking.Go(func() error {
		return eventually(a.t.Context(), func() error { return a.save(name, "/debug/pprof/profile?seconds=5") }) // it may just have started
	})
	while()
	if err := taking.Wait(); err != nil {
		a.t.Fatal(err)
	}
}

func (a *agent) save(name, path string) error {
	profile, err := get(a.profiles, path)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(os.Getenv(envProfiles), name+".pprof"), []byte(profile), 0o600)
}
