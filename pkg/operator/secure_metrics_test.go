package operator

import (
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/keyutil"

	"meshery.io/operator/pkg/telemetry"
)

// tokenFor makes a ServiceAccount and a token of it.
func tokenFor(t *testing.T, namespace, name string, audiences ...string) string {
	t.Helper()
	accounts := server.admin.kube.CoreV1().ServiceAccounts(namespace)
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name}}
	if _, err := accounts.Create(t.Context(), account, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{Audiences: audiences}}
	token, err := accounts.CreateToken(t.Context(), name, request, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return token.Status.Token
}

// expire makes a token of the API server's, with a good signature, that expired an hour ago.
func expire(t *testing.T, token string) string {
	t.Helper()
	return resign(t, token, func(claims map[string]any) {
		for _, claim := range []string{"exp", "iat", "nbf"} {
			claims[claim] = claims[claim].(float64) - 2*3600
		}
	})
}

// resign changes the claims of a token and signs it as the API server would.
func resign(t *testing.T, token string, change func(claims map[string]any)) string {
	t.Helper()
	parts := strings.Split(token, ".")
	text, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	var claims map[string]any
	if err := json.Unmarshal(text, &claims); err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(claims)
	}
	if text, err = json.Marshal(claims); err != nil {
		t.Fatal(err)
	}
	key, err := keyutil.PrivateKeyFromFile(filepath.Join(filepath.Dir(server.auditLog), "pki", "service-account.key"))
	if err != nil {
		t.Fatal(err)
	}
	signed := parts[0] + "." + base64.RawURLEncoding.EncodeToString(text)
	digest := sha256.Sum256([]byte(signed))
	r, s, err := ecdsa.Sign(rand.Reader, key.(*ecdsa.PrivateKey), digest[:])
	if err != nil {
		t.Fatal(err)
	}
	signature := append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
	return signed + "." + base64.RawURLEncoding.EncodeToString(signature)
}

// httpsGet asks with an Authorization header and returns the status and the body.
func httpsGet(ctx context.Context, client *http.Client, url, authorization string) (int, string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, "", err
	}
	if authorization != "" {
		request.Header.Set("Authorization", authorization)
	}
	response, err := client.Do(request)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return response.StatusCode, response.Proto + "\n" + string(body), err
}

// The operator of manifests/, with its own permissions, asks the real API server.
func TestSecureMetricsAreForThoseWhoMayReadThem(t *testing.T) {
	t.Parallel()
	namespace := newNamespace(t)
	reader, stranger := tokenFor(t, namespace, "reader"), tokenFor(t, namespace, "stranger")
	elsewhere := tokenFor(t, namespace, "elsewhere", "https://vault.example.com") // not meant for the API server
	bound := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "op-"},
		RoleRef:    rbacv1.RoleRef{Kind: "ClusterRole", Name: "meshery-operator-metrics-reader"},
		Subjects: []rbacv1.Subject{
			{Kind: rbacv1.ServiceAccountKind, Namespace: namespace, Name: "reader"},
			{Kind: rbacv1.ServiceAccountKind, Namespace: namespace, Name: "elsewhere"},
		},
	}
	if _, err := server.admin.kube.RbacV1().ClusterRoleBindings().Create(t.Context(), bound, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	addr := freeAddr(t)
	startOperator(t, namespace, func(o *Options) { o.SecureMetricsAddr = addr })

	// Nobody can verify a certificate that was made up a moment ago.
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true}}
	defer client.CloseIdleConnections()
	url := "https://" + addr + "/metrics"
	eventually(t, "metrics are served", func(ctx context.Context) error {
		code, body, err := httpsGet(ctx, client, url, "Bearer "+reader)
		if err == nil && (code != http.StatusOK || !strings.Contains(body, "meshery_operator_leader 1")) {
			err = fmt.Errorf("%d %.200s", code, body)
		}
		return err
	})
	for name, test := range map[string]struct {
		path, authorization string
		code                int
		body                string
	}{
		"a reader":           {"/metrics", "Bearer " + reader, http.StatusOK, "HTTP/2.0"},
		"lower-case scheme":  {"/metrics", "bearer " + reader, http.StatusOK, "meshery_operator_build_info"},
		"another path":       {"/debug/pprof/", "Bearer " + reader, http.StatusForbidden, "may not get /debug/pprof/"},
		"a crooked path":     {"/metrics/../metrics", "Bearer " + stranger, http.StatusForbidden, "may not get"},
		"a stranger":         {"/metrics", "Bearer " + stranger, http.StatusForbidden, ":stranger may not get /metrics"},
		"for somebody else":  {"/metrics", "Bearer " + elsewhere, http.StatusUnauthorized, "does not accept this token"},
		"garbage":            {"/metrics", "Bearer garbage", http.StatusUnauthorized, "does not accept this token"},
		"an expired token":   {"/metrics", "Bearer " + expire(t, reader), http.StatusUnauthorized, "does not accept this token"},
		"signed again":       {"/metrics", "Bearer " + resign(t, reader, nil), http.StatusOK, "meshery_operator_build_info"}, // so the one above is only expired
		"cut off":            {"/metrics", "Bearer " + reader[:len(reader)-1], http.StatusUnauthorized, "does not accept this token"},
		"no token":           {"/metrics", "", http.StatusUnauthorized, "Authorization: Bearer"},
		"an empty token":     {"/metrics", "Bearer  ", http.StatusUnauthorized, "Authorization: Bearer"},
		"user and password":  {"/metrics", "Basic YTpi", http.StatusUnauthorized, "Authorization: Bearer"},
		"garbage once again": {"/metrics", "Bearer garbage", http.StatusUnauthorized, "does not accept this token"},
	} {
		code, body, err := httpsGet(t.Context(), client, "https://"+addr+test.path, test.authorization)
		if err != nil || code != test.code || !strings.Contains(body, test.body) {
			t.Errorf("%s: %d %.300s, %v; want %d and %q", name, code, body, err, test.code, test.body)
		}
	}
	old := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{
		InsecureSkipVerify: true, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11,
	}}}
	if _, _, err := httpsGet(t.Context(), old, url, "Bearer "+reader); err == nil || !strings.Contains(err.Error(), "protocol version") {
		t.Errorf("TLS 1.1: got %v, want it refused", err)
	}
	if _, body, err := fetch(t.Context(), "http://"+addr+"/metrics"); err == nil && strings.Contains(body, "meshery_operator") {
		t.Errorf("without TLS: %.100s", body)
	}
}

// A verdict is kept for a moment: readers do not cost a review each time.
func TestReadingMetricsOftenCostsFewReviews(t *testing.T) {
	t.Parallel()
	namespace := newNamespace(t)
	token := tokenFor(t, namespace, "stranger")
	config := rest.CopyConfig(server.config)
	config.Impersonate.UserName = operatorUser(namespace)
	options := DefaultOptions()
	options.Namespace = namespace
	handler, serverTLS, err := secureMetrics(t.Context(), config, &options, telemetry.NewRegistry("test"))
	if err != nil {
		t.Fatal(err)
	}
	addr := freeAddr(t)
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- telemetry.ServeTLS(ctx, addr, handler, serverTLS) }()
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	eventually(t, "it answers", func(ctx context.Context) error {
		_, _, err := httpsGet(ctx, client, "https://"+addr+"/metrics", "")
		return err
	})
	began := time.Now()
	for range 50 {
		if code, body, err := httpsGet(t.Context(), client, "https://"+addr+"/metrics", "Bearer "+token); err != nil || code != http.StatusForbidden {
			t.Fatalf("%d %s, %v", code, body, err)
		}
	}
	took := time.Since(began)
	client.CloseIdleConnections()
	cancel()
	if err := <-served; err != nil {
		t.Error(err)
	}
	events, err := readAudit(0)
	if err != nil {
		t.Fatal(err)
	}
	reviews := 0
	for _, event := range events {
		if event.account() == operatorUser(namespace) && event.ObjectRef != nil && event.ObjectRef.Resource == "tokenreviews" {
			reviews++
		}
	}
	if most := 1 + int(took/(10*time.Second)); reviews < 1 || reviews > most {
		t.Errorf("50 requests in %s cost %d reviews, want at most %d", took, reviews, most)
	}
}

// Whoever floods the port with made-up tokens keeps nobody out who was let in before.
func TestMadeUpTokensKeepNoReaderOut(t *testing.T) {
	t.Parallel()
	namespace := newNamespace(t)
	token := tokenFor(t, namespace, "reader")
	bind(t, "", clusterRole("meshery-operator-metrics-reader"), namespace, "reader")
	config := rest.CopyConfig(server.config)
	config.Impersonate.UserName = operatorUser(namespace)
	options := DefaultOptions()
	handler, _, err := secureMetrics(t.Context(), config, &options, telemetry.NewRegistry("test"))
	if err != nil {
		t.Fatal(err)
	}
	ask := func(token string) (code int, body string) {
		request := httptest.NewRequest(http.MethodGet, "/metrics", nil)
		request.Header.Set("Authorization", "Bearer "+token)
		recorder := httptest.NewRecorder()
		handler.ServeHTTP(recorder, request)
		return recorder.Code, recorder.Body.String()
	}
	eventually(t, "the reader may read", func(context.Context) error {
		if code, body := ask(token); code != http.StatusOK {
			return fmt.Errorf("%d %s", code, body)
		}
		return nil
	})
	var flood errgroup.Group
	var refused atomic.Int32
	flood.SetLimit(50)
	for i := range 600 {
		flood.Go(func() error {
			switch code, body := ask(fmt.Sprint("made-up-", i)); code {
			case http.StatusUnauthorized:
			case http.StatusTooManyRequests:
				refused.Add(1)
			default:
				t.Errorf("a made-up token: %d %s", code, body)
			}
			return nil
		})
		if i%50 == 0 {
			if code, body := ask(token); code != http.StatusOK {
				t.Errorf("the reader, after %d made-up tokens: %d %s", i, code, body)
			}
		}
	}
	_ = flood.Wait()
	if code, body := ask(token); code != http.StatusOK || refused.Load() == 0 {
		t.Errorf("the reader, after the flood: %d %s; %d made-up tokens were too many", code, body, refused.Load())
	}
}

func TestACertificateNeedsAnAddress(t *testing.T) {
	options := DefaultOptions()
	options.SecureMetricsCertDir = "/certs"
	if err := options.Validate(); err == nil || !strings.Contains(err.Error(), `--secure-metrics-cert-dir="/certs": set --secure-metrics-addr`) {
		t.Errorf("got %v", err)
	}
	options.SecureMetricsAddr = ":8443"
	if err := options.Validate(); err != nil {
		t.Error(err)
	}
	if err := Run(t.Context(), server.config, options); err == nil || !strings.Contains(err.Error(), "/certs/tls.crt") {
		t.Errorf("a certificate that is not there: got %v, want an error that names it", err)
	}
}

// While the API server cannot be asked nobody gets in.
func TestWithoutAnAPIServerMetricsStayShut(t *testing.T) {
	t.Parallel()
	options := DefaultOptions()
	handler, _, err := secureMetrics(t.Context(), &rest.Config{Host: "http://" + freeAddr(t)}, &options, telemetry.NewRegistry("test"))
	if err != nil {
		t.Fatal(err)
	}
	addr := freeAddr(t)
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- telemetry.Serve(ctx, addr, handler) }()
	eventually(t, "the answer is 503", func(ctx context.Context) error {
		code, body, err := httpsGet(ctx, http.DefaultClient, "http://"+addr+"/metrics", "Bearer abc")
		if err == nil && (code != http.StatusServiceUnavailable || !strings.Contains(body, "API server cannot be asked")) {
			t.Errorf("%d %s", code, body)
		}
		return err
	})
	cancel()
	if err := <-served; err != nil {
		t.Error(err)
	}
}
