package watch

import (
	"context"
	"testing"
)

// isAdmitted is for tickets that nobody waits on yet.
func isAdmitted(t *ticket) bool {
	select {
	case <-t.admitted:
		return true
	default:
		return false
	}
}

func TestTheGateLetsInAFewAtATime(t *testing.T) {
	var g gate
	var inside, waiting []*ticket
	for range maxFirstLists {
		inside = append(inside, g.draw(1))
	}
	for range 2 {
		waiting = append(waiting, g.draw(1))
	}
	for i, ticket := range inside {
		if !isAdmitted(ticket) {
			t.Fatalf("ticket %d waits", i)
		}
	}
	if isAdmitted(waiting[0]) {
		t.Fatal("one too many")
	}
	inside[3].leave()
	if !isAdmitted(waiting[0]) || isAdmitted(waiting[1]) {
		t.Error("want one more, the first that waits")
	}
}

func TestTheGateLetsInTierByTier(t *testing.T) {
	var g gate
	late, later := g.draw(3), g.draw(3)
	map1, map2, workload := g.draw(1), g.draw(1), g.draw(2)
	if !isAdmitted(late) || !isAdmitted(later) {
		t.Error("there was nobody of an earlier tier")
	}
	if !isAdmitted(map1) || !isAdmitted(map2) || isAdmitted(workload) {
		t.Error("tier 2 came in beside tier 1")
	}
	next := g.draw(3)
	map1.leave()
	if isAdmitted(workload) {
		t.Error("tier 2 came in before the last of tier 1 had left")
	}
	map2.leave()
	if !isAdmitted(workload) || isAdmitted(next) {
		t.Error("want tier 2 and not tier 3")
	}
	workload.leave()
	if !isAdmitted(next) {
		t.Error("want tier 3")
	}
}

func TestWhoGivesUpHoldsNobodyUp(t *testing.T) {
	var g gate
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	first, second, third := g.draw(1), g.draw(2), g.draw(3)
	second.leave() // while it waits
	if isAdmitted(third) {
		t.Error("tier 1 is inside")
	}
	first.leave()
	if !isAdmitted(third) {
		t.Error("want tier 3")
	}
	if fourth := g.draw(4); fourth.enter(ctx) {
		t.Error("entered although its time is over")
	}
	third.leave()
	if len(g.waiting)+len(g.inside) != 0 {
		t.Errorf("left: %v waiting, %v inside", g.waiting, g.inside)
	}
}
