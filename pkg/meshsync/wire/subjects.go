package wire

// Subjects and the queue group, as Meshery Server knows them.
const (
	// SubjectCore carries every change of every watched object.
	SubjectCore = "meshery.meshsync.core"
	// SubjectRequest carries requests to the agent. RequestQueue is the queue group it listens in.
	SubjectRequest = "meshery.meshsync.request"
	RequestQueue   = "meshsync-request-stream"
	// SubjectMeta carries the agent's version when it is asked for.
	SubjectMeta = "meshsync-meta"
)

// ClientName is the agent's name at the broker. Meshery Server looks for it among the broker's connections.
const ClientName = "meshsync"

// HeaderReason is a NATS header of a DELETED that is not about a deletion: a Reason.
const HeaderReason = "Meshery-Reason"
