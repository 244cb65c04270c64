package deliver

import (
	"context"
	"net"
	"strconv"
	"time"

	"k8s.io/klog/v2"

	"meshery.io/operator/pkg/meshsync/bus"
	"meshery.io/operator/pkg/meshsync/wire"
)

// listenersInterval is how often a broker of ours is asked who listens.
const listenersInterval = 5 * time.Second

// watchListeners says once more what was published lately when somebody begins to listen, who may have lost his connection alone. Only a
// broker that a Broker describes is asked.
func (d *Delivery) watchListeners(ctx context.Context) {
	monitor := d.current().Monitor
	host, port, err := net.SplitHostPort(monitor)
	number, numberErr := strconv.Atoi(port)
	if err != nil || numberErr != nil {
		return
	}
	if monitor != d.monitor { // else who listened a moment ago is known
		d.monitor = monitor
		d.listeners = bus.NewListeners(bus.ListenersOptions{Host: host, Port: number, Subject: wire.SubjectCore, Interval: listenersInterval})
	}
	d.listeners.Run(ctx, func(appeared []bus.Listener) {
		klog.FromContext(ctx).V(2).Info("Somebody begins to listen, and is told what may have been missed", "listeners", len(appeared))
		_ = d.repeat(ctx, time.Now().Add(-d.options.RepeatWindow-listenersInterval)) // whoever has missed more asks for everything
	})
}
