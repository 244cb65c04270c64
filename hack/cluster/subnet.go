package main

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// subnet is the /16 that a cluster with a node has for itself. One prefix for everything means one check that it is free and one
// route on the host:
//
//	10.B.0.0/30    the veth pair: .1 the host and API server, .2 the node and its DNS
//	10.B.64.0/18   pods
//	10.B.128.0/18  Services
type subnet byte

const firstSubnet, lastSubnet subnet = 200, 254

func (s subnet) at(third, fourth byte) netip.Addr {
	return netip.AddrFrom4([4]byte{10, byte(s), third, fourth})
}

func (s subnet) all() netip.Prefix      { return netip.PrefixFrom(s.at(0, 0), 16) }
func (s subnet) host() netip.Addr       { return s.at(0, 1) }
func (s subnet) node() netip.Addr       { return s.at(0, 2) }
func (s subnet) pods() netip.Prefix     { return netip.PrefixFrom(s.at(64, 0), 18) }
func (s subnet) services() netip.Prefix { return netip.PrefixFrom(s.at(128, 0), 18) }

// link is the name of the host's interface. Two clusters that want the same subnet meet here: the kernel lets only one create it.
func (s subnet) link() string { return fmt.Sprintf("cluster%d", byte(s)) }

// barrier is a route that refuses what the subnet's own route, which goes with the link, no longer takes: when the node dies, its
// traffic must not wander off to the host's default gateway.
func (s subnet) barrier() []string {
	const last = "4294967295" // metric: any other route comes first
	return []string{"unreachable", s.all().String(), "metric", last}
}

// cgroup is the name of the cluster's group below every cgroup hierarchy.
func (s subnet) cgroup() string { return s.link() }

// freeSubnets lists those that overlap nothing the host knows how to reach.
func freeSubnets(taken []netip.Prefix) []subnet {
	var free []subnet
	for s := firstSubnet; s <= lastSubnet; s++ {
		if !slices.ContainsFunc(taken, s.all().Overlaps) {
			free = append(free, s)
		}
	}
	return free
}

// parseRoutes reads the destinations out of /proc/net/route, which has one route a line and addresses as little-endian hex. The
// default route overlaps everything and is left out.
func parseRoutes(table string) ([]netip.Prefix, error) {
	var routes []netip.Prefix
	for i, line := range strings.Split(strings.TrimSpace(table), "\n") {
		fields := strings.Fields(line)
		if i == 0 || len(fields) < 8 { // the heading
			continue
		}
		destination, err := hex.DecodeString(fields[1])
		if err != nil || len(destination) != 4 {
			return nil, fmt.Errorf("route %q: odd destination", line)
		}
		mask, err := hex.DecodeString(fields[7])
		if err != nil || len(mask) != 4 {
			return nil, fmt.Errorf("route %q: odd mask", line)
		}
		bits := 0
		for m := binary.LittleEndian.Uint32(mask); m != 0; m <<= 1 {
			bits++
		}
		if bits == 0 {
			continue
		}
		slices.Reverse(destination)
		routes = append(routes, netip.PrefixFrom(netip.AddrFrom4([4]byte(destination)), bits).Masked())
	}
	return routes, nil
}
