package cloud

import (
	"net/netip"
	"slices"
	"time"
)

// An InstanceState is where an instance is in its life, in EC2's words.
type InstanceState string

const (
	Pending      InstanceState = "pending"
	Running      InstanceState = "running"
	Stopping     InstanceState = "stopping"
	Stopped      InstanceState = "stopped"
	ShuttingDown InstanceState = "shutting-down"
	Terminated   InstanceState = "terminated"
)

// Code returns the state's number in the EC2 API.
func (s InstanceState) Code() int64 {
	return map[InstanceState]int64{Pending: 0, Running: 16, ShuttingDown: 32, Terminated: 48, Stopping: 64, Stopped: 80}[s]
}

// AtRest reports whether nothing needs to happen to an instance in this state.
func (s InstanceState) AtRest() bool { return s == Running || s == Stopped || s == Terminated }

var instanceMoves = map[InstanceState][]InstanceState{
	Pending:      {Running, Stopping, ShuttingDown},
	Running:      {Stopping, ShuttingDown, Pending}, // Pending: its node is lost, and it starts on another one
	Stopping:     {Stopped, ShuttingDown},
	Stopped:      {Pending, ShuttingDown},
	ShuttingDown: {Terminated},
}

// An Instance is a virtual machine as its owner sees it, and where it is kept.
type Instance struct {
	ID            string
	AccountID     string
	ReservationID string
	LaunchIndex   int64
	State         InstanceState
	Since         time.Time    // of State
	Reason        *StateReason `json:",omitempty"` // why it is where it is, when that was not asked for
	Launched      time.Time    // the last start, as EC2's launchTime
	Created       time.Time

	ImageID     string
	KernelID    string `json:",omitempty"`
	RamdiskID   string `json:",omitempty"`
	Type        string
	CPUs        int
	MemoryMiB   int
	Arch        string // "x86_64"
	KeyName     string `json:",omitempty"`
	PublicKey   string `json:",omitempty"` // of KeyName, as it was at launch
	UserData    []byte `json:",omitempty"`
	KernelHash  string `json:",omitempty"` // content of KernelID
	RamdiskHash string `json:",omitempty"` // content of RamdiskID
	UEFI        bool   `json:",omitempty"`
	RootDevice  string // "/dev/sda1", from the image

	VpcID      string
	SubnetID   string
	Zone       string
	PrivateIP  netip.Addr // of the primary interface
	Interfaces []string   // ids, by device index
	Volumes    []Mapping  // by device name; the first is the root

	Node string // where it is placed; "" for nowhere
	Boot uint64 // grows with each start and reboot; see hyper.Machine
	Cut  bool   `json:",omitempty"` // stop without asking the guest (StopInstances Force)

	// Fencing says that it was taken from a node, and that the server of its
	// volumes does not refuse that node yet: nobody may start it before.
	Fencing bool `json:",omitempty"`

	Vacant bool `json:",omitempty"` // it ends after it was stopped, and what it gave up then may be another's

	ShutdownTerminates   bool `json:",omitempty"` // InstanceInitiatedShutdownBehavior=terminate
	TerminationProtected bool `json:",omitempty"` // DisableApiTermination
	StopProtected        bool `json:",omitempty"` // DisableApiStop
	EbsOptimized         bool `json:",omitempty"`
	Monitoring           bool `json:",omitempty"`
	Metadata             MetadataOptions
	CreditSpec           string    `json:",omitempty"` // "standard" or "unlimited", burstable types only
	ClientToken          string    `json:",omitempty"`
	Tenancy              string    `json:",omitempty"`
	NoAutoRecovery       bool      `json:",omitempty"` // MaintenanceOptions.AutoRecovery=disabled
	EnaSupport           bool      `json:",omitempty"` // what the image says; a label for clients
	Hypervisor           string    `json:",omitempty"` // of its node, in EC2's words: "kvm" or "xen"
	StatusSince          time.Time // when its status checks last changed
	Impaired             bool      `json:",omitempty"` // its node is not heard of
}

// A StateReason says why an instance is in its state, in EC2's codes
// ("Server.InternalError", "Client.UserInitiatedShutdown", …).
type StateReason struct{ Code, Message string }

// A Mapping is a volume at a device name of an instance.
type Mapping struct {
	Device              string
	VolumeID            string
	Attached            time.Time
	DeleteOnTermination bool
}

// MetadataOptions say how an instance may ask for its metadata.
type MetadataOptions struct {
	Tokens   string // "optional" or "required"
	Endpoint string // "enabled" or "disabled"
	HopLimit int64  // 1 … 64
	IPv6     string // "disabled" or "enabled"
	Tags     string // "disabled" or "enabled"
}

// DefaultMetadataOptions are those of an instance that asks for none.
var DefaultMetadataOptions = MetadataOptions{Tokens: "optional", Endpoint: "enabled", HopLimit: 1, IPv6: "disabled", Tags: "disabled"}

// Move changes the state, or says why it may not.
func (i *Instance) Move(to InstanceState, now time.Time) error {
	if !slices.Contains(instanceMoves[i.State], to) {
		return Faultf("IncorrectInstanceState", "The instance '%s' is %s and cannot become %s.", i.ID, i.State, to)
	}
	i.Vacant = i.State == Stopped && to == ShuttingDown
	i.State, i.Since = to, now
	return nil
}

// Holds reports whether the instance occupies its node: CPU, memory and addresses.
func (i *Instance) Holds() bool {
	return i.Node != "" && i.State != Stopped && i.State != Terminated && !i.Vacant
}

// UUID returns the UUID of the instance's machine. It starts with ec2, by
// which guests recognise EC2 (docs: "Identify EC2 instances"), and holds the
// 17 digits of the id: ec2xxxxx-xxxx-4xxx-8xxx-xxxx........ .
func (i *Instance) UUID() string { return UUIDOf(i.ID) }

// UUIDOf returns the machine UUID of the instance with this id.
func UUIDOf(id string) string {
	h := id[len("i-"):]
	for len(h) < 17 {
		h += "0"
	}
	return "ec2" + h[0:5] + "-" + h[5:9] + "-4" + h[9:12] + "-8" + h[12:15] + "-" + h[15:17] + h[0:10]
}
