package natsserver

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"testing"
)

// Monitor starts the server again as one that answers about itself over HTTP at an address of this machine, on a port that is free there
// or, if one is given, on that. It returns the port. Configure takes it back.
func (s *Server) Monitor(t testing.TB, address string, port int) int {
	t.Helper()
	if port == 0 {
		listener, err := net.Listen("tcp", net.JoinHostPort(address, "0"))
		if err != nil {
			t.Fatal(err)
		}
		port = listener.Addr().(*net.TCPAddr).Port
		_ = listener.Close()
	}
	config, err := os.ReadFile(s.config)
	if err != nil {
		t.Fatal(err)
	}
	config = fmt.Appendf(config, "http: %q\n", net.JoinHostPort(address, strconv.Itoa(port)))
	if err := os.WriteFile(s.config, config, 0o600); err != nil {
		t.Fatal(err)
	}
	s.Kill()
	s.Restart(t)
	return port
}
