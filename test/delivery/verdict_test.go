package delivery

import (
	"fmt"
	"slices"
	"strings"
)

// verdict is what a consumer has wrong.
type verdict struct {
	lost, stale, ghosts []string
	excused             int // ghosts that the consumer cannot know of
}

// compare holds what a consumer knows against what there is.
func compare(consumer string, there, known states, excused func(state) bool) verdict {
	var v verdict
	for uid, is := range there {
		switch has, ok := known[uid]; {
		case !ok:
			v.lost = append(v.lost, fmt.Sprintf("%s, of the %s", is, consumer))
		case has != is:
			v.stale = append(v.stale, fmt.Sprintf("%s, of the %s: %s", is, consumer, difference(is, has)))
		}
	}
	for uid, has := range known {
		switch _, ok := there[uid]; {
		case ok:
		case excused(has):
			v.excused++
		default:
			v.ghosts = append(v.ghosts, fmt.Sprintf("%s, of the %s: version %s, uid %s", has, consumer, has.Version, uid))
		}
	}
	return v
}

func difference(is, has state) string {
	switch {
	case is.Version != has.Version:
		return fmt.Sprintf("version %s is known as %s", is.Version, has.Version)
	case is.Content != has.Content:
		return fmt.Sprintf("content differs\nis  %.500s\nhas %.500s", is.Content, has.Content)
	default:
		return fmt.Sprintf("known as %s", has)
	}
}

// none is excused.
func none(state) bool { return false }

// err names what is wrong; nil if nothing is.
func (v verdict) err() error {
	var text strings.Builder
	for what, all := range map[string][]string{"lost": v.lost, "stale": v.stale, "ghosts": v.ghosts} {
		const enough = 10
		if len(all) > 0 {
			slices.Sort(all)
			fmt.Fprintf(&text, "%d %s:\n  %s\n", len(all), what, strings.Join(all[:min(enough, len(all))], "\n  "))
		}
	}
	if text.Len() == 0 {
		return nil
	}
	return fmt.Errorf("%s", strings.TrimSpace(text.String()))
}

func (v verdict) and(other verdict) verdict {
	return verdict{
		lost: slices.Concat(v.lost, other.lost), stale: slices.Concat(v.stale, other.stale), ghosts: slices.Concat(v.ghosts, other.ghosts),
		excused: v.excused + other.excused,
	}
}
