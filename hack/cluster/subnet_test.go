package main

import (
	"net/netip"
	"slices"
	"testing"
)

func TestASubnetIsFreeIfTheHostReachesNothingInIt(t *testing.T) {
	for name, test := range map[string]struct {
		taken []string
		want  subnet // the first that is free; 0 for none
	}{
		"nothing taken":          {nil, 200},
		"an address inside":      {[]string{"10.200.3.4/24"}, 201},
		"a wider network":        {[]string{"10.200.0.0/14"}, 204},
		"another private range":  {[]string{"192.168.0.0/16", "172.17.0.1/16"}, 200},
		"all of the ten network": {[]string{"10.0.0.0/8"}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			var taken []netip.Prefix
			for _, text := range test.taken {
				taken = append(taken, netip.MustParsePrefix(text))
			}
			var got subnet
			if free := freeSubnets(taken); len(free) > 0 {
				got = free[0]
			}
			if got != test.want {
				t.Errorf("got %d, want %d", got, test.want)
			}
		})
	}
}

func TestThePartsOfASubnetDoNotOverlap(t *testing.T) {
	s := firstSubnet
	parts := []netip.Prefix{netip.PrefixFrom(s.host(), 30).Masked(), s.pods(), s.services()}
	for i, part := range parts {
		if !s.all().Overlaps(part) {
			t.Errorf("%s is outside of %s", part, s.all())
		}
		if slices.ContainsFunc(parts[i+1:], part.Overlaps) {
			t.Errorf("%s overlaps another part", part)
		}
	}
	if !parts[0].Contains(s.node()) {
		t.Errorf("node %s is not on the link %s", s.node(), parts[0])
	}
}

func TestRoutesAreReadFromTheKernelsTable(t *testing.T) {
	const table = `Iface	Destination	Gateway 	Flags	RefCnt	Use	Metric	Mask		MTU	Window	IRTT
eth0	00000000	010200C0	0003	0	0	0	00000000	0	0	0
cluster200	0000C80A	0200C80A	0003	0	0	0	0000FFFF	0	0	0
eth0	000200C0	00000000	0001	0	0	0	00FFFFFF	0	0	0
`
	got, err := parseRoutes(table)
	if err != nil {
		t.Fatal(err)
	}
	want := []netip.Prefix{netip.MustParsePrefix("10.200.0.0/16"), netip.MustParsePrefix("192.0.2.0/24")}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
