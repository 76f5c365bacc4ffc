// Package peer lets the hosts of a cloud find, trust and call each other.
//
// Trust: the front end's [CA] signs a certificate for every host, which states
// its [Identity]. A host without one brings a [Token], printed by the front
// end, to the front end's [Authority] with [Join], and keeps what it gets as
// [Credentials], which renew themselves.
//
// Calls: a [Server] answers those with a certificate of the cloud, a [Client]
// calls one host and knows which host must answer. Calls are JSON over HTTP/2;
// a watch ([Client.Watch], [Stream]) is lines of JSON that go on for ever; bulk
// bytes are plain HTTP/1.1. The head of a cluster is the [Relay] between the
// front end and its nodes.
//
// Finding: [Gossip] says who is there. It shares one key, so what it says is a
// hint and never a proof: only certificates prove.
package peer
