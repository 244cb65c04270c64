package main

import (
	"archive/tar"
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// epoch dates everything in an image: a real date would give equal contents different digests.
var epoch = time.Unix(0, 0).UTC()

// spec is an image, whatever platform it is for.
type spec struct {
	entrypoint string
	user       string
	labels     map[string]string
	files      []file
}

// file goes from the machine into the image. A relative source is looked up in the folder of the platform.
type file struct{ source, target string }

// build packs an image of one layer.
func (s spec) build(p platform) (v1.Image, error) {
	text, err := s.layer(p.dir)
	if err != nil {
		return nil, err
	}
	opener := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(text)), nil }
	layer, err := tarball.LayerFromOpener(opener, tarball.WithMediaType(types.OCILayer))
	if err != nil {
		return nil, err
	}
	base := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	image, err := mutate.Append(base, mutate.Addendum{
		Layer:   layer,
		History: v1.History{Created: v1.Time{Time: epoch}, CreatedBy: "hack/image"},
	})
	if err != nil {
		return nil, err
	}
	config, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.Created = v1.Time{Time: epoch}
	config.OS, config.Architecture, config.Variant = p.OS, p.Architecture, p.Variant
	config.Config = v1.Config{Entrypoint: []string{s.entrypoint}, User: s.user, Labels: s.labels, WorkingDir: "/"}
	return mutate.ConfigFile(image, config)
}

// layer writes the files into a tar that depends on nothing but their contents and whether they are executable.
func (s spec) layer(dir string) ([]byte, error) {
	var buffer bytes.Buffer
	out := tar.NewWriter(&buffer)
	for _, f := range s.files {
		source := f.source
		if !filepath.IsAbs(source) {
			source = filepath.Join(dir, source)
		}
		text, err := os.ReadFile(source)
		if err != nil {
			return nil, err
		}
		info, err := os.Stat(source)
		if err != nil {
			return nil, err
		}
		mode := int64(0o644)
		if info.Mode()&0o111 != 0 {
			mode = 0o755
		}
		header := &tar.Header{Name: strings.TrimPrefix(f.target, "/"), Mode: mode, Size: int64(len(text)), ModTime: epoch, Format: tar.FormatUSTAR}
		if err := out.WriteHeader(header); err != nil {
			return nil, err
		}
		if _, err := out.Write(text); err != nil {
			return nil, err
		}
	}
	return buffer.Bytes(), out.Close()
}
