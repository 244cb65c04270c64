package raw

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync"

	"meshery.io/operator/pkg/meshsync/wire/walk"
)

const (
	// small is how large a buffer is while there is little to read, which is so for most watches at most times.
	small = 8 << 10
	// large is how much is read at a time where more waits than is small. Every read lets the API server send as much again, with a
	// packet of its own: so it is not to be less.
	large = 256 << 10
	// largest object; client-go has the same limit. What is stored is smaller than 2 MiB.
	largest = 16 << 20
)

// pool holds large buffers that nobody uses.
type pool struct{ sync.Pool }

func (p *pool) get() []byte {
	if data, ok := p.Get().(*[large]byte); ok {
		return data[:0]
	}
	return new([large]byte)[:0]
}

func (p *pool) put(data []byte) {
	if cap(data) == large {
		p.Put((*[large]byte)(data[:large]))
	}
}

// buffer holds what was read and not used yet. Close it.
type buffer struct {
	source io.Reader
	pool   *pool
	least  []byte // what is read into while nothing waits
	data   []byte // its capacity is what may be read into
	used   int
}

func newBuffer(source io.Reader, pool *pool) *buffer {
	return &buffer{source: source, pool: pool, least: make([]byte, 0, small)}
}

func (b *buffer) close() { b.pool.put(b.data) }

func (b *buffer) rest() []byte { return b.data[b.used:] }

func (b *buffer) use(n int) { b.used += n }

// fill reads more. It returns an error only if there is no more.
func (b *buffer) fill() error {
	b.makeRoom()
	for {
		n, err := b.source.Read(b.data[len(b.data):cap(b.data)])
		b.data = b.data[:len(b.data)+n]
		switch {
		case n > 0:
			return nil
		case err != nil:
			return err
		}
	}
}

// makeRoom leaves at least half of the buffer to read into.
func (b *buffer) makeRoom() {
	rest, before := b.rest(), b.data
	switch size := cap(before); {
	case len(rest) == 0:
		b.data = b.least
	case len(rest) <= size/2:
		b.data = append(before[:0], rest...)
	case size < large:
		b.data = append(b.pool.get(), rest...)
	default:
		b.data = append(make([]byte, 0, 2*size), rest...)
	}
	b.used = 0
	if cap(b.data) != cap(before) {
		b.pool.put(before)
	}
}

// line returns the next line, without its end, and with what came before as much as the caller has not used. It is there until the
// next call.
func (b *buffer) line(after int) ([]byte, error) {
	for from := after; ; {
		rest := b.rest()
		if i := bytes.IndexByte(rest[from:], '\n'); i >= 0 {
			return rest[:from+i], nil
		}
		from = len(rest)
		if from > largest {
			return nil, errTooLarge
		}
		if err := b.fill(); err != nil {
			return nil, err
		}
	}
}

// next skips white space and returns the byte after it.
func (b *buffer) next() (byte, error) {
	for {
		for i, c := range b.rest() {
			if c != ' ' && c != '\t' && c != '\n' && c != '\r' {
				b.use(i)
				return c, nil
			}
		}
		b.use(len(b.rest()))
		if err := b.fill(); err != nil {
			return 0, unexpected(err)
		}
	}
}

// value uses the next JSON value and returns it. It is there until the next call.
func (b *buffer) value() ([]byte, error) {
	for {
		value, length, err := walk.Value(b.rest())
		switch {
		case err == nil:
			b.use(length)
			return value, nil
		case !errors.Is(err, walk.ErrShort):
			return nil, err
		case len(b.rest()) > largest:
			return nil, errTooLarge
		}
		if err := b.double(); err != nil {
			return nil, unexpected(err)
		}
	}
}

// double reads until there is twice as much, or no more: what is read again from its beginning is not read again for every packet.
func (b *buffer) double() error {
	before := len(b.rest())
	for len(b.rest()) <= 2*before {
		if err := b.fill(); err != nil {
			if len(b.rest()) == before {
				return err
			}
			return nil
		}
	}
	return nil
}

var errTooLarge = fmt.Errorf("an object of more than %d MiB", largest>>20)

// unexpected is for an end where there must be more.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
