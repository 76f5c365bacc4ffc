package fabric

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestGuests(t *testing.T) {
	needHost(t)
	f := newFabric(t, Options{})
	r := vpc("vpc-1", port(1, 10), port(1, 11))
	apply(t, f, r)
	a := boot(t, f, r.Ports[0]).static(subnetA).serve(80).serve(81)
	b := boot(t, f, r.Ports[1]).static(subnetA).serve(80)
	b.reaches("10.0.0.10:80", "10.0.0.11")
	a.reaches("10.0.0.11:80", "10.0.0.10")
	b.blocked("10.0.0.10:81")
	if b.ping("10.0.0.10") {
		t.Error("ping got through without a rule")
	}
	r.Groups[0].Ingress = append(r.Groups[0].Ingress, Rule{Protocol: 1, From: 8, To: -1, Prefixes: everybody()},
		Rule{Protocol: 6, From: 81, To: 81, Groups: []string{"sg-open"}})
	apply(t, f, r)
	b.reaches("10.0.0.10:81", "10.0.0.11")
	if !b.ping("10.0.0.10") {
		t.Error("ping is allowed and lost")
	}
	r.Groups[0].Ingress = r.Groups[0].Ingress[:1]
	apply(t, f, r)
	b.blocked("10.0.0.10:81")

	// A neighbour's address, another MAC: neither leaves the tap.
	b.sh("ip addr add 10.0.0.77/24 dev eth0 && ip route add 10.0.0.10/32 dev eth0 src 10.0.0.77")
	b.blocked("10.0.0.10:80")
	b.sh("ip route del 10.0.0.10/32 && ip addr del 10.0.0.77/24 dev eth0")
	b.reaches("10.0.0.10:80", "10.0.0.11")
	b.sh("ip link set eth0 address 02:00:00:00:99:99 && ip route replace default via 10.0.0.1")
	b.blocked("10.0.0.10:80")
	b.sh("ip link set eth0 address %s && ip route replace default via 10.0.0.1", b.port.MAC)
	b.reaches("10.0.0.10:80", "10.0.0.11")

	s, err := f.Stats(t.Context(), r.Ports[0].ID)
	if err != nil || s.RxPackets == 0 || s.TxBytes == 0 {
		t.Errorf("stats = %+v, %v", s, err)
	}
}

func TestTwice(t *testing.T) {
	needHost(t)
	f := newFabric(t, Options{})
	r := vpc("vpc-1", port(1, 10))
	apply(t, f, r)
	boot(t, f, r.Ports[0])
	apply(t, f, r)
	_ = errors.Join
	_ = fmt.Sprint
	_ = net.IP{}
	_ = http.NotFoundHandler
	_ = exec.Command
	_ = slices.Contains[[]int]
	_ = strings.Contains
	_ = time.Now
	_ = context.Background
}
