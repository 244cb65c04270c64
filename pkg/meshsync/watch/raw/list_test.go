package raw

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// cut reads a list, and returns its items, its version and where it goes on.
func cut(body io.Reader) (items []string, version string, err error) {
	found, err := readList(body, &pool{}, func(object []byte) error {
		items = append(items, string(object))
		return nil
	})
	return items, found.ResourceVersion + found.Continue, err
}

func TestAListIsCutIntoItsItems(t *testing.T) {
	const metadata = `"metadata":{"resourceVersion":"7","continue":"c"}`
	escapes := `{"a":"\\ \" \u00e4 \n ä","b":["}","]",{"c":"{["}]}`
	tests := map[string]struct {
		body  string
		items []string
		found string
		err   bool
	}{
		"metadata before the items":  {body: `{"kind":"List",` + metadata + `,"items":[{},{"a":1}]}`, items: []string{"{}", `{"a":1}`}, found: "7c"},
		"metadata after the items":   {body: `{"items":[{},{"a":1}],` + metadata + `,"kind":"List"}`, items: []string{"{}", `{"a":1}`}, found: "7c"},
		"no metadata":                {body: `{"items":[{}]}`, items: []string{"{}"}},
		"metadata that are null":     {body: `{"items":[{}],"metadata":null}`, items: []string{"{}"}},
		"no items":                   {body: `{` + metadata + `,"items":[]}`, found: "7c"},
		"items that are null":        {body: `{` + metadata + `,"items":null}`, found: "7c"},
		"white space":                {body: " {\n" + metadata + " ,\t\"items\" :\r\n[ {} , { \"a\" : 1 }\n] } \n", items: []string{"{}", `{ "a" : 1 }`}, found: "7c"},
		"items with escapes":         {body: `{"items":[` + escapes + `,` + escapes + `],` + metadata + `}`, items: []string{escapes, escapes}, found: "7c"},
		"items that are no objects":  {body: `{"items":[null,7,-1.5e3,"x",true,[],[{}]]}`, items: []string{"null", "7", "-1.5e3", `"x"`, "true", "[]", "[{}]"}},
		"a name with an escape":      {body: `{"\u0069tems":[{}]}`, items: []string{"{}"}},
		"what nobody knows":          {body: `{"more":{"items":[1]},"items":[{}],"n":1.5,"t":"x"}`, items: []string{"{}"}},
		"what comes after it":        {body: `{"items":[{}]} garbage`, items: []string{"{}"}},
		"nothing":                    {body: ``, err: true},
		"an object without items":    {body: `{` + metadata + `}`, found: "7c", err: true},
		"no object":                  {body: `[]`, err: true},
		"items that are none":        {body: `{"items":{}}`, err: true},
		"metadata that are none":     {body: `{"metadata":7,"items":[]}`, err: true},
		"a comma too many":           {body: `{"items":[{},]}`, items: []string{"{}"}, err: true},
		"a comma too few":            {body: `{"items":[{}{}]}`, items: []string{"{}"}, err: true},
		"no colon":                   {body: `{"items"[]}`, err: true},
		"a name that is none":        {body: `{7:[]}`, err: true},
		"it ends within an item":     {body: `{"items":[{},{"a":`, items: []string{"{}"}, err: true},
		"it ends after an item":      {body: `{"items":[{}`, items: []string{"{}"}, err: true},
		"it ends after the items":    {body: `{"items":[{}]`, items: []string{"{}"}, err: true},
		"it ends within a number":    {body: `{"items":[12`, err: true},
		"it ends within an escape":   {body: `{"items":["a\u00`, err: true},
		"an escape that is none":     {body: `{"items":["\x"]}`, err: true},
		"an escape with few numbers": {body: `{"items":["\u00g0"]}`, err: true},
	}
	for name, test := range tests {
		for _, sizes := range [][]int{{1}, {2, 3, 5, 7}, {1 << 20}} {
			t.Run(fmt.Sprintf("%s, by %v", name, sizes), func(t *testing.T) {
				items, found, err := cut(&pieces{rest: []byte(test.body), sizes: sizes})
				if !slices.Equal(items, test.items) || (err != nil) != test.err || found != test.found {
					t.Errorf("got %q, %q, %v", items, found, err)
				}
			})
		}
	}
}

func TestAnItemHasALimit(t *testing.T) {
	_, _, err := cut(io.MultiReader(strings.NewReader(`{"items":[`), &endless{}))
	if !errors.Is(err, errTooLarge) {
		t.Errorf("got %v", err)
	}
}

func TestWhoTakesItemsCanEndAList(t *testing.T) {
	enough, taken := errors.New("enough"), 0
	_, err := readList(strings.NewReader(`{"items":[{},{},{}]}`), &pool{}, func([]byte) error {
		taken++
		return enough
	})
	if !errors.Is(err, enough) || taken != 1 {
		t.Errorf("took %d, %v", taken, err)
	}
}

// TestABufferIsSmallWhileThereIsNothingToRead: most watches have little to read, and there are many.
func TestABufferIsSmallWhileThereIsNothingToRead(t *testing.T) {
	line := fmt.Sprintf("%q\n", strings.Repeat("x", 4*large))
	b := newBuffer(strings.NewReader(line+strings.Repeat("7\n", small)+line), &pool{})
	defer b.close()
	for {
		line, err := b.line(0)
		if err != nil {
			break
		}
		if size := cap(b.data); len(line) > large && size > 4*len(line) {
			t.Errorf("%d bytes for an object of %d", size, len(line))
		}
		b.use(len(line) + 1)
	}
	if size := cap(b.data); size != small {
		t.Errorf("%d bytes at the end", size)
	}
}

// TestBuffersAreNotShared: what one has read stays as it is while others read, also when large buffers are used again.
func TestBuffersAreNotShared(t *testing.T) {
	var used pool
	var readers sync.WaitGroup
	for i := range 8 {
		readers.Go(func() {
			line := strings.Repeat(strconv.Itoa(i), large/2+i*large/4)
			b := newBuffer(&pieces{rest: []byte(strings.Repeat(line+"\n", 20)), sizes: []int{1 << 20, 7}}, &used)
			defer b.close()
			for range 20 {
				got, err := b.line(0)
				if err != nil || string(got) != line {
					t.Errorf("reader %d: %v, %d bytes of %d", i, err, len(got), len(line))
					return
				}
				b.use(len(got) + 1)
			}
		})
	}
	readers.Wait()
}
