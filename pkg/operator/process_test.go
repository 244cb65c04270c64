package operator

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"k8s.io/client-go/tools/clientcmd"
)

// Environment that makes this test binary an operator: a kubeconfig, and the account to act as.
const (
	envProcessKubeconfig = "MESHERY_TEST_OPERATOR_KUBECONFIG"
	envProcessAccount    = "MESHERY_TEST_OPERATOR_ACCOUNT"
)

// runAsOperator runs an operator, with the flags of this process, if its environment asks for one.
func runAsOperator() bool {
	kubeconfig := os.Getenv(envProcessKubeconfig)
	if kubeconfig == "" {
		return false
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	options := DefaultOptions()
	options.AddFlags(flag.CommandLine)
	flag.Parse()
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err == nil {
		config.Impersonate.UserName = os.Getenv(envProcessAccount)
		err = Run(ctx, config, options)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	return true
}

// operatorProcess is an operator in a process of its own, whose memory and start can be measured.
type operatorProcess struct {
	command *exec.Cmd
	metrics string // URL
	log     bytes.Buffer
}

func startOperatorProcess(t *testing.T, namespace string, flags ...string) *operatorProcess {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	addr := freeAddr(t)
	p := &operatorProcess{metrics: "http://" + addr + "/metrics"}
	p.command = exec.Command(self, append([]string{
		"--namespace=" + namespace, "--metrics-addr=" + addr, "--health-probe-bind-address=0", "--enable-leader-election",
	}, flags...)...)
	p.command.Env = append(os.Environ(), envProcessKubeconfig+"="+server.kubeconfig, envProcessAccount+"="+operatorUser(namespace))
	p.command.Stderr = &p.log
	if err := p.command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.stop(t) })
	return p
}

// stop ends the operator as a kubelet does and waits.
func (p *operatorProcess) stop(t *testing.T) {
	t.Helper()
	if p.command.ProcessState != nil {
		return
	}
	_ = p.command.Process.Signal(syscall.SIGTERM)
	kill := time.AfterFunc(20*time.Second, func() { _ = p.command.Process.Kill() })
	defer kill.Stop()
	if err := p.command.Wait(); err != nil {
		t.Errorf("operator: %v", err)
	}
	if t.Failed() {
		t.Logf("log of the operator:\n%s", p.log.String())
	}
}

// metric sums up the series whose name and labels begin as given.
func (p *operatorProcess) metric(ctx context.Context, prefix string) (float64, error) {
	_, body, err := fetch(ctx, p.metrics)
	return sumOf(body, prefix), err
}

func sumOf(metrics, prefix string) (sum float64) {
	for line := range strings.Lines(metrics) {
		if strings.HasPrefix(line, prefix) {
			value, _ := strconv.ParseFloat(line[strings.LastIndexByte(line, ' ')+1:len(line)-1], 64)
			sum += value
		}
	}
	return sum
}

// settled says why not everything that there is has been synced yet. An operator starts to sync when all its watches have filled
// the queues; from then on what was added is what was synced, or is still to be.
func (p *operatorProcess) settled(ctx context.Context, pairs int) error {
	_, body, err := fetch(ctx, p.metrics)
	if err != nil {
		return err
	}
	for _, controller := range []string{controllerBroker, controllerMeshSync} {
		added := sumOf(body, `meshery_operator_workqueue_adds_total{name="`+controller+`"}`)
		synced := sumOf(body, `meshery_operator_reconcile_total{controller="`+controller+`"`)
		if synced < float64(pairs) || synced < added {
			return fmt.Errorf("%s: %v of %v are synced, want at least %d", controller, synced, added, pairs)
		}
	}
	return nil
}
