package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"
)

// apiClient is the little of the Kubernetes API that starting a cluster needs.
type apiClient struct {
	server string
	http   http.Client
}

// newAPIClient returns a client with the administrator's certificate.
func newAPIClient(f folder, server string) (*apiClient, error) {
	cert, err := tls.LoadX509KeyPair(f.pki("admin.crt"), f.pki("admin.key"))
	if err != nil {
		return nil, err
	}
	ca, err := os.ReadFile(f.pki("ca.crt"))
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	return &apiClient{server: server, http: http.Client{
		Timeout:   5 * time.Second,
		Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{cert}}},
	}}, nil
}

// get fetches a path and, unless into is nil, decodes the answer.
func (a *apiClient) get(ctx context.Context, path string, into any) error {
	body, status, err := a.do(ctx, http.MethodGet, path, nil)
	if err != nil {
		return err
	}
	if status != http.StatusOK {
		return fmt.Errorf("GET %s: %d %s", path, status, lastLines(body, 1))
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(body, into)
}

// create posts an object; one that exists already is fine.
func (a *apiClient) create(ctx context.Context, path string, object any) error {
	text, err := json.Marshal(object)
	if err != nil {
		return err
	}
	body, status, err := a.do(ctx, http.MethodPost, path, text)
	if err == nil && status != http.StatusCreated && status != http.StatusConflict {
		err = fmt.Errorf("POST %s: %d %s", path, status, lastLines(body, 1))
	}
	return err
}

func (a *apiClient) do(ctx context.Context, method, path string, body []byte) (answer []byte, status int, err error) {
	request, err := http.NewRequestWithContext(ctx, method, a.server+path, bytes.NewReader(body))
	if err != nil {
		return nil, 0, err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := a.http.Do(request)
	if err != nil {
		return nil, 0, err
	}
	defer response.Body.Close()
	answer, err = io.ReadAll(response.Body)
	return answer, response.StatusCode, err
}
