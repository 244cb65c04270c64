package main

import (
	"bytes"
	"io"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

func TestAnArchiveHoldsTheFilesAndHowToRunThem(t *testing.T) {
	dir := t.TempDir()
	binary := writeProgram(t, filepath.Join(dir, "server"), "program")
	output := filepath.Join(dir, "image.tar")
	mustRun(t, "-o", output, "-name", "docker.io/meshery/meshsync:dev", "-entrypoint", "/server", "-arch", "arm64",
		"-label", "a=b", binary+"=/server", binary+"=/etc/copy")

	image, err := tarball.ImageFromPath(output, nil)
	if err != nil {
		t.Fatal(err)
	}
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if config.OS != "linux" || config.Architecture != "arm64" || config.Config.User != "65532:65532" ||
		config.Config.Entrypoint[0] != "/server" || config.Config.Labels["a"] != "b" {
		t.Errorf("got config %+v", config)
	}
	content, err := io.ReadAll(mutate.Extract(image))
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Count(content, []byte("program")) != 2 || !bytes.Contains(content, []byte("etc/copy")) {
		t.Errorf("got files %q", content)
	}
}

func TestTheSameFilesGiveTheSameArchive(t *testing.T) {
	pack := func(date time.Time) []byte {
		dir := t.TempDir()
		binary := writeProgram(t, filepath.Join(dir, "server"), "program")
		if err := os.Chtimes(binary, date, date); err != nil {
			t.Fatal(err)
		}
		output := filepath.Join(dir, "image.tar")
		mustRun(t, "-o", output, "-name", "docker.io/meshery/meshsync:dev", "-entrypoint", "/server", binary+"=/server")
		text, err := os.ReadFile(output)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	if !bytes.Equal(pack(time.Now()), pack(time.Now().Add(-time.Hour))) {
		t.Error("two archives of equal files differ")
	}
}

func TestAPushServesEveryPlatform(t *testing.T) {
	server := httptest.NewServer(registry.New())
	defer server.Close()
	target := strings.TrimPrefix(server.URL, "http://") + "/meshery/meshsync:v1"
	dir := t.TempDir()
	for _, arch := range []string{"amd64", "arm64"} {
		writeProgram(t, filepath.Join(dir, arch, "server"), "program for "+arch)
	}
	printed := mustRun(t, "-push", target, "-entrypoint", "/server",
		"-platform", "linux/amd64="+filepath.Join(dir, "amd64"), "-platform", "linux/arm64="+filepath.Join(dir, "arm64"), "server=/server")

	for _, reference := range []string{target, strings.TrimSpace(printed)} {
		ref, err := name.ParseReference(reference)
		if err != nil {
			t.Fatal(err)
		}
		for _, arch := range []string{"amd64", "arm64"} {
			image, err := remote.Image(ref, remote.WithPlatform(v1.Platform{OS: "linux", Architecture: arch}))
			if err != nil {
				t.Fatal(err)
			}
			content, err := io.ReadAll(mutate.Extract(image))
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Contains(content, []byte("program for "+arch)) {
				t.Errorf("%s: got %q for %s", reference, content, arch)
			}
		}
	}
}

func TestWrongUseIsExplained(t *testing.T) {
	for want, args := range map[string]string{
		"either -o or -push is needed":    "-entrypoint /x a=/x",
		"-push and -platform go together": "-push r/n:t -entrypoint /x a=/x",
		"want FILE=/path/in/image":        "-o x -name a/b:c -entrypoint /x a",
		"want os/arch=folder":             "-platform linux",
		"no such file":                    "-o x -name docker.io/a/b:c -entrypoint /x missing=/x",
	} {
		if err := run(t.Context(), strings.Fields(args), io.Discard); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("image %s: got %v, want %q", args, err, want)
		}
	}
}

func mustRun(t *testing.T, args ...string) (printed string) {
	t.Helper()
	var out strings.Builder
	if err := run(t.Context(), args, &out); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func writeProgram(t *testing.T, path, content string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}
