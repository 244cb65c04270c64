package bench

import (
	"math"
	"strconv"
	"strings"
)

// deliveries are the agent's own measurement: from when it had read a frame of a watch until the broker had acknowledged the message.
const (
	deliveries   = "meshery_meshsync_delivery_seconds_bucket{"
	acknowledged = `stage="acknowledged"`
)

// histogram is how many there were up to a bound.
type histogram map[float64]float64

// deliveries are those so far; nil if the agent does not measure them.
func (a *agent) deliveries() histogram {
	a.t.Helper()
	var h histogram
	for name, value := range a.series(deliveries) {
		if !strings.Contains(name, acknowledged) {
			continue
		}
		_, bound, _ := strings.Cut(name, `le="`)
		bound, _, _ = strings.Cut(bound, `"`)
		le, err := strconv.ParseFloat(bound, 64) // +Inf is one
		if err != nil {
			a.t.Fatal(err)
		}
		if h == nil {
			h = histogram{}
		}
		h[le] += value
	}
	return h
}

func (h histogram) since(before histogram) histogram {
	if h == nil {
		return nil
	}
	during := histogram{}
	for le, count := range h {
		during[le] = count - before[le]
	}
	return during
}

// quantile is the bound of the bucket that it lies in: it is not larger than that.
func (h histogram) quantile(q float64) float64 {
	least := math.Inf(1)
	for le, count := range h {
		if count >= q*h[math.Inf(1)] {
			least = min(least, le)
		}
	}
	return least
}
