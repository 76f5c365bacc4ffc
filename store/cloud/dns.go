package cloud

import (
	"net/netip"
	"strings"
)

// PrivateName returns the private DNS name of an address, as on EC2:
// ip-172-31-1-2.<region>.compute.internal, or .ec2.internal in us-east-1.
func PrivateName(ip netip.Addr, region string) string {
	return PrivateHost(ip) + "." + PrivateDomain(region)
}

// PrivateHost returns the first label of an address's private DNS name.
func PrivateHost(ip netip.Addr) string {
	return "ip-" + strings.ReplaceAll(ip.String(), ".", "-")
}

// PrivateDomain returns the domain of private DNS names in region.
func PrivateDomain(region string) string {
	if region == "us-east-1" {
		return "ec2.internal"
	}
	return region + ".compute.internal"
}

// PublicName returns the public DNS name of an address:
// ec2-198-18-0-5.<region>.compute.<domain>.
func PublicName(ip netip.Addr, region, domain string) string {
	return "ec2-" + strings.ReplaceAll(ip.String(), ".", "-") + "." + region + ".compute." + domain
}
