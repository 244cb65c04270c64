package publish

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

func TestPace(t *testing.T) {
	for name, test := range map[string]struct {
		messages float64
		bytes    int64
		each     int // bytes
		want     time.Duration
	}{
		"no limit":                               {0, 0, 100, 0},
		"messages":                               {100, 0, 100, 4 * time.Second}, // the first second's go at once
		"less than one message a second":         {0.5, 0, 100, 998 * time.Second},
		"bytes":                                  {0, 10_000, 100, 4 * time.Second},
		"messages larger than a second of bytes": {0, 50, 100, 999 * time.Second},
		"the smaller one counts":                 {100, 5_000, 100, 9 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, began := newPace(test.messages, test.bytes), time.Now()
				for range 500 {
					if err := p.wait(t.Context()); err != nil {
						t.Fatal(err)
					}
					p.spend(1, test.each)
				}
				if took := time.Since(began); took < test.want-2*time.Second || took > test.want {
					t.Errorf("took %s, want %s", took, test.want)
				}
			})
		})
	}
}

func TestPaceIsChangedWhileSomebodyWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, began := newPace(1, 0), time.Now()
		p.spend(1000, 0)
		time.AfterFunc(10*time.Second, func() { p.set(1000, 0) })
		if err := p.wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took < 10*time.Second || took > 11*time.Second {
			t.Errorf("waited %s, want until the limit was raised, and a second", took)
		}
		p.set(0, 0)
		p.spend(1000, 1000)
		if err := p.wait(t.Context()); err != nil || time.Since(began) > 11*time.Second {
			t.Errorf("without a limit: %v after %s", err, time.Since(began))
		}
		p.set(1, 0)
		p.spend(1000, 0)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := p.wait(ctx); err == nil {
			t.Error("it is not waited for")
		}
	})
}
