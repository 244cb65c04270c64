package raw

import (
	"context"
	"net/http"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	apiwatch "k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/flowcontrol"
)

const (
	asJSON = "application/json"
	// An API server that cannot leave out all but metadata sends whole objects.
	asMetadata     = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1," + asJSON
	asMetadataList = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1," + asJSON
)

// Scope is what is listed and watched: one kind, in one namespace or, if that is empty, everywhere.
type Scope struct {
	Resource     schema.GroupVersionResource
	Namespace    string
	MetadataOnly bool // the API server leaves out everything but apiVersion, kind and metadata, if it can
}

// Handler takes what is listed and watched. It is called from one goroutine at a time for one request.
type Handler interface {
	// Begin is called before everything that is there is taken, as ADDED. If that breaks off, it is called again.
	Begin()
	// Take takes an object. Its bytes are only there during the call. What is returned is for the informer; nothing if the object
	// could not be read.
	Take(event apiwatch.EventType, object []byte) *Object
	// End is called when everything was taken that is there. An error ends the list, or the watch.
	End(resourceVersion string) error
}

// Client lists and watches by HTTP alone: it knows nothing of the objects.
type Client struct {
	rest rest.Interface
	pool pool
}

// NewForConfigAndClient makes a client that uses the connections of another.
func NewForConfigAndClient(config *rest.Config, client *http.Client) (*Client, error) {
	scheme := runtime.NewScheme()
	metav1.AddToGroupVersion(scheme, schema.GroupVersion{Version: "v1"}) // what an API server says when it refuses
	config = rest.CopyConfig(config)
	config.ContentConfig = rest.ContentConfig{
		ContentType:          asJSON,
		NegotiatedSerializer: serializer.NewCodecFactory(scheme).WithoutConversion(),
	}
	restClient, err := rest.UnversionedRESTClientForConfigAndClient(config, client)
	if err != nil {
		return nil, err
	}
	return &Client{rest: restClient}, nil
}

func (c *Client) get(of Scope, options metav1.ListOptions, accept string) *rest.Request {
	request := c.rest.Get()
	if of.Resource.Group == "" {
		request = request.AbsPath("api", of.Resource.Version)
	} else {
		request = request.AbsPath("apis", of.Resource.Group, of.Resource.Version)
	}
	return request.NamespaceIfScoped(of.Namespace, of.Namespace != "").Resource(of.Resource.Resource).
		VersionedParams(&options, metav1.ParameterCodec).SetHeader("Accept", accept)
}

// List lists all that is there, page by page, each as large as options say.
func (c *Client) List(ctx context.Context, of Scope, options metav1.ListOptions, to Handler) (*List, error) {
	accept := asJSON
	if of.MetadataOnly {
		accept = asMetadataList
	}
	list := &List{}
	to.Begin()
	for {
		found, err := c.page(ctx, c.get(of, options, accept), func(object []byte) error {
			if taken := to.Take(apiwatch.Added, object); taken != nil {
				list.Items = append(list.Items, taken)
			}
			return nil
		})
		switch {
		case apierrors.IsResourceExpired(err) && options.Continue != "":
			// It took too long to read. As a whole it is of one moment.
			options.Continue, options.Limit = "", 0
			list.Items = nil
			to.Begin()
		case err != nil:
			return nil, err
		case found.Continue == "":
			list.ResourceVersion = found.ResourceVersion
			return list, to.End(found.ResourceVersion)
		default:
			options.Continue = found.Continue
			options.ResourceVersion, options.ResourceVersionMatch = "", ""
		}
	}
}

func (c *Client) page(ctx context.Context, request *rest.Request, item func(object []byte) error) (metav1.ListMeta, error) {
	body, err := request.Stream(ctx)
	if err != nil {
		return metav1.ListMeta{}, err
	}
	defer body.Close()
	return readList(body, &c.pool, item)
}

// Watch watches from where options say. If they ask for all that is there first, Begin and End are called around that. The informer
// gets every event as see returns it.
func (c *Client) Watch(ctx context.Context, of Scope, options metav1.ListOptions, to Handler, see func(apiwatch.Event) apiwatch.Event) (apiwatch.Interface, error) {
	accept := asJSON
	if of.MetadataOnly {
		accept = asMetadata
	}
	options.Watch = true
	ctx, cancel := context.WithCancel(ctx)
	// Watches are not to wait for each other as lists are.
	body, err := c.get(of, options, accept).Throttle(flowcontrol.NewFakeAlwaysRateLimiter()).Stream(ctx)
	if err != nil {
		cancel()
		if utilnet.IsProbableEOF(err) || utilnet.IsTimeout(err) {
			// As client-go has it: a connection that ended counts as a watch that ended, which goes on from where it was.
			return apiwatch.NewEmptyWatch(), nil
		}
		return nil, err
	}
	return newStream(body, &c.pool, cancel, to, see, StreamsList(options)), nil
}

// StreamsList tells a watch that begins with all that is there.
func StreamsList(options metav1.ListOptions) bool {
	return options.SendInitialEvents != nil && *options.SendInitialEvents
}
