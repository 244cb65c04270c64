package bus

import (
	"net"

	"github.com/nats-io/nats.go"
)

// dialer makes connections whose end loses what they have not delivered. A kernel would go on trying for minutes: what was given up long
// ago would arrive after what was sent over the next connection.
type dialer struct{}

// Dial implements nats.CustomDialer.
func (dialer) Dial(network, address string) (net.Conn, error) {
	conn, err := net.DialTimeout(network, address, nats.DefaultTimeout)
	if tcp, ok := conn.(*net.TCPConn); ok {
		err = tcp.SetLinger(0)
	}
	return conn, err
}
