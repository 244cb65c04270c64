// Command image packs static binaries into container images, without a container engine.
//
// One image into a docker-archive tar, which every engine can load:
//
//	image -o meshsync.tar -name docker.io/meshery/meshsync:dev -entrypoint /meshsync bin/meshsync=/meshsync
//
// One image per platform, pushed under one name with the credentials of `docker login`; relative files are looked up in the
// folder of their platform:
//
//	image -push docker.io/meshery/meshsync:v1 -platform linux/amd64=bin/amd64 -platform linux/arm64=bin/arm64 \
//	  -entrypoint /meshsync meshsync=/meshsync
//
// The same files yield the same digest, whenever and wherever they are packed.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	err := run(ctx, os.Args[1:], os.Stdout)
	switch {
	case errors.Is(err, flag.ErrHelp):
		os.Exit(2)
	case err != nil:
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}

// options are the flags.
type options struct {
	output    string
	name      string
	push      string
	arch      string
	platforms []platform
	spec      spec
}

// platform is what one image of a pushed list runs on, and where its files are.
type platform struct {
	v1.Platform
	dir string
}

func run(ctx context.Context, args []string, stdout io.Writer) error {
	o, err := parse(args)
	if err != nil {
		return err
	}
	if o.push != "" {
		return push(ctx, o, stdout)
	}
	return write(o)
}

func parse(args []string) (options, error) {
	o := options{spec: spec{labels: make(map[string]string)}}
	flags := flag.NewFlagSet("image", flag.ContinueOnError)
	flags.StringVar(&o.output, "o", "", "docker-archive `file` to write")
	flags.StringVar(&o.name, "name", "", "full `name` of the image in the archive, such as docker.io/meshery/meshsync:dev")
	flags.StringVar(&o.push, "push", "", "`name` to push to, instead of writing an archive")
	flags.StringVar(&o.arch, "arch", runtime.GOARCH, "`architecture` of the binaries in the archive")
	flags.StringVar(&o.spec.entrypoint, "entrypoint", "", "`path` in the image of the program to run")
	flags.StringVar(&o.spec.user, "user", "65532:65532", "`uid:gid` to run as")
	flags.Func("platform", "`os/arch=folder` to push an image of; may be repeated", func(value string) error {
		text, dir, found := strings.Cut(value, "=")
		parsed, err := v1.ParsePlatform(text)
		if err != nil || !found || parsed.Architecture == "" {
			return errors.New("want os/arch=folder")
		}
		o.platforms = append(o.platforms, platform{*parsed, dir})
		return nil
	})
	flags.Func("label", "`key=value`; may be repeated", func(value string) error {
		key, text, found := strings.Cut(value, "=")
		if !found {
			return errors.New("want key=value")
		}
		o.spec.labels[key] = text
		return nil
	})
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	for _, arg := range flags.Args() {
		source, target, found := strings.Cut(arg, "=")
		if !found || !strings.HasPrefix(target, "/") {
			return o, fmt.Errorf("%q: want FILE=/path/in/image", arg)
		}
		o.spec.files = append(o.spec.files, file{source, target})
	}
	return o, o.validate()
}

func (o options) validate() error {
	var errs []error
	if (o.push == "") == (o.output == "") {
		errs = append(errs, errors.New("either -o or -push is needed"))
	}
	if o.output != "" && o.name == "" {
		errs = append(errs, errors.New("-o needs -name"))
	}
	if (o.push != "") != (len(o.platforms) > 0) {
		errs = append(errs, errors.New("-push and -platform go together"))
	}
	if o.spec.entrypoint == "" {
		errs = append(errs, errors.New("-entrypoint is needed"))
	}
	if len(o.spec.files) == 0 {
		errs = append(errs, errors.New("no FILE=/path/in/image given"))
	}
	return errors.Join(errs...)
}

// write packs one image into a docker-archive.
func write(o options) error {
	tag, err := name.NewTag(o.name)
	if err != nil {
		return err
	}
	image, err := o.spec.build(platform{v1.Platform{OS: "linux", Architecture: o.arch}, "."})
	if err != nil {
		return err
	}
	return tarball.WriteToFile(o.output, tag, image)
}

// push packs one image per platform, pushes them as a list and prints the name by digest.
func push(ctx context.Context, o options, stdout io.Writer) error {
	ref, err := name.ParseReference(o.push)
	if err != nil {
		return err
	}
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, p := range o.platforms {
		image, err := o.spec.build(p)
		if err != nil {
			return err
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: image, Descriptor: v1.Descriptor{Platform: &p.Platform}})
	}
	if err := remote.WriteIndex(ref, index, remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain)); err != nil {
		return fmt.Errorf("push %s: %w", ref, err)
	}
	digest, err := index.Digest()
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(stdout, "%s@%s\n", ref.Context(), digest)
	return err
}
