package delivery

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

// Of the whole package, set before the first test.
var (
	theCluster   *cluster // what most tests share
	agentProgram string
	race         bool // the agent is built with the race detector, which takes much more memory
	rounds       int  // of faults by chance
	short        bool // nobody asked for rounds, so they are short
	seed         uint64
)

func TestMain(m *testing.M) {
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (code int, err error) {
	flag.Parse()
	short = os.Getenv("FAULTS_ROUNDS") == ""
	if rounds, err = strconv.Atoi(fromEnvironment("FAULTS_ROUNDS", "3")); err != nil || rounds < 1 {
		return 1, fmt.Errorf("FAULTS_ROUNDS=%q: want a number of 1 or more", os.Getenv("FAULTS_ROUNDS"))
	}
	if seed, err = strconv.ParseUint(fromEnvironment("FAULTS_SEED", strconv.FormatInt(time.Now().UnixNano(), 10)), 10, 64); err != nil {
		return 1, fmt.Errorf("FAULTS_SEED=%q: want a number", os.Getenv("FAULTS_SEED"))
	}
	race = os.Getenv("FAULTS_RACE") == "true"
	fmt.Printf("FAULTS_SEED=%d FAULTS_ROUNDS=%d\n", seed, rounds)

	dir, err := os.MkdirTemp("", "delivery-")
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(dir)
	if agentProgram, err = build(dir); err != nil {
		return 1, err
	}
	if theCluster, err = startCluster(context.Background()); err != nil {
		return 1, err
	}
	defer func() {
		if stopErr := theCluster.Stop(); err == nil {
			err = stopErr
		}
	}()
	return m.Run(), nil
}

func build(dir string) (string, error) {
	program := filepath.Join(dir, "meshsync")
	args := []string{"build", "-o", program}
	if race {
		args = append(args, "-race")
	}
	if out, err := exec.Command("go", append(args, "../../cmd/meshsync")...).CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the agent: %w\n%s", err, out)
	}
	return program, nil
}

func fromEnvironment(name, otherwise string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return otherwise
}
