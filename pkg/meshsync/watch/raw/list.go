package raw

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// readList hands out the items of a list while it is read, and returns its metadata.
func readList(source io.Reader, pool *pool, item func(object []byte) error) (metav1.ListMeta, error) {
	var found metav1.ListMeta
	isList := false
	b := newBuffer(source, pool)
	defer b.close()
	err := b.members(func(name string) error {
		switch name {
		case "items":
			isList = true
			return b.elements(item)
		case "metadata":
			value, err := b.value()
			if err != nil {
				return err
			}
			return json.Unmarshal(value, &found)
		}
		_, err := b.value()
		return err
	})
	if err == nil && !isList { // else everything would seem to be gone
		err = errNoItems
	}
	if err != nil {
		return found, fmt.Errorf("read list: %w", err)
	}
	return found, nil
}

var errNoItems = errors.New("there are no items in it")

// members calls member for every member of the object that comes next. member must use the value.
func (b *buffer) members(member func(name string) error) error {
	return b.each('{', '}', func() error {
		text, err := b.value()
		if err != nil {
			return err
		}
		var name string
		if err := json.Unmarshal(text, &name); err != nil {
			return err
		}
		if err := b.expect(':'); err != nil {
			return err
		}
		return member(name)
	})
}

// elements calls element with every element of the array that comes next; null has none.
func (b *buffer) elements(element func(value []byte) error) error {
	if c, err := b.next(); err != nil || c == 'n' {
		if err == nil {
			_, err = b.value()
		}
		return err
	}
	return b.each('[', ']', func() error {
		value, err := b.value()
		if err != nil {
			return err
		}
		return element(value)
	})
}

// each calls use at every place of what is between opening and closing, with commas.
func (b *buffer) each(opening, closing byte, use func() error) error {
	if err := b.expect(opening); err != nil {
		return err
	}
	for first := true; ; first = false {
		switch c, err := b.next(); {
		case err != nil:
			return err
		case c == closing:
			b.use(1)
			return nil
		case !first:
			if err := b.expect(','); err != nil {
				return err
			}
		}
		if err := use(); err != nil {
			return err
		}
	}
}

func (b *buffer) expect(want byte) error {
	c, err := b.next()
	if err != nil {
		return err
	}
	if c != want {
		return fmt.Errorf("%q where %q should be", c, want)
	}
	b.use(1)
	return nil
}
