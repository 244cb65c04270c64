package bus

import "meshery.io/operator/pkg/brokerurl"

// Address says where the broker is and how to log in.
type Address struct {
	// URL is scheme://host:port, without any secret in it, or several such of one cluster, separated by commas.
	URL string

	// How to log in: with one of these, or not at all. CredsFile has a user's JWT and the seed of its NKey, NKeyFile only such a seed. They are
	// read at every connection.
	Token               string
	User, Password      string
	CredsFile, NKeyFile string

	// CAFile has the certificate of the authority that signed the broker's. With it the connection is by TLS, whatever the
	// scheme. It is read at every connection.
	CAFile string
}

// ParseAddress reads a broker's URL, such as nats://token@host:4222. Errors never contain the token or the password.
func ParseAddress(text string) (Address, error) {
	parsed, err := brokerurl.Parse(text)
	if err != nil {
		return Address{}, err
	}
	return Address{URL: parsed.Server, Token: parsed.Token, User: parsed.User, Password: parsed.Password}, nil
}

// String is the address as it may be shown.
func (a Address) String() string { return a.URL }
