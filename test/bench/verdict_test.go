package bench

import (
	"math"
	"testing"
)

func TestVerdicts(t *testing.T) {
	most, ratio := target{accept: 60, stretch: 42}, target{ratio: true, accept: 10, stretch: 17}
	tests := map[string]struct {
		target          target
		reference, ours []float64
		want            verdict
	}{
		"as little as the stretch":          {most, nil, []float64{42}, stretched},
		"the median counts":                 {most, nil, []float64{1000, 60, 1}, accepted},
		"of an even number, the middle":     {most, nil, []float64{40, 46}, accepted},
		"too much":                          {most, []float64{1000}, []float64{61}, missed},
		"so many times less":                {ratio, []float64{170}, []float64{10}, stretched},
		"less, but not so many times":       {ratio, []float64{99}, []float64{10}, missed},
		"nothing to compare with":           {ratio, nil, []float64{10}, notMeasured},
		"not measured":                      {most, []float64{1}, nil, notMeasured},
		"no target":                         {target{accept: none, stretch: none}, nil, []float64{10}, untold},
		"accepted, where nothing is beyond": {target{accept: 1.2, stretch: none}, nil, []float64{1.1}, accepted},
		"none, where none may be":           {target{}, []float64{2330}, []float64{0}, stretched},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got := test.target.row(test.reference, test.ours).Verdict; got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestQuantileOfAHistogram(t *testing.T) {
	before := histogram{0.001: 100, 0.01: 100, math.Inf(1): 100}
	during := histogram{0.001: 150, 0.01: 199, math.Inf(1): 200}.since(before)
	for q, want := range map[float64]float64{0.5: 0.001, 0.51: 0.01, 0.99: 0.01, 1: math.Inf(1)} {
		if got := during.quantile(q); got != want {
			t.Errorf("quantile %v: got %v, want %v", q, got, want)
		}
	}
	if histogram(nil).since(nil) != nil {
		t.Error("what is not measured has quantiles")
	}
}

func TestNumbersAreShort(t *testing.T) {
	for want, number := range map[string]float64{"0 s": 0, "0.430 s": 0.43, "6.34 s": 6.341, "61.9 s": 61.9, "3 s": 3, "139998 s": 139998.4} {
		if got := short(&number, "s"); got != want {
			t.Errorf("%v: got %q, want %q", number, got, want)
		}
	}
}
