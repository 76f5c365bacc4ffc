package imds

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"eucad/store/cloud"
)

// versions are those that "GET /" lists, as EC2 does. All serve the same tree,
// as does every other date: clients pin versions that they were written for.
var versions = []string{
	"1.0", "2007-01-19", "2007-03-01", "2007-08-29", "2007-10-10", "2007-12-15", "2008-02-01", "2008-09-01",
	"2009-04-04", "2011-01-01", "2011-05-01", "2012-01-12", "2014-02-25", "2014-11-05", "2015-10-20", "2016-04-19",
	"2016-06-30", "2016-09-02", "2018-03-28", "2018-08-17", "2018-09-24", "2019-10-01", "2020-10-27", "2021-01-03",
	"2021-03-23", "2021-07-15", "2022-09-24", "2024-04-11", "latest",
}

var dated = regexp.MustCompile(`^(latest|1\.0|20\d\d-[01]\d-[0-3]\d)$`)

// An entry is a folder, when it has kids, or a value.
type entry struct {
	name string
	line string // how its folder lists it; "" is by its name
	kids []entry
	body func() ([]byte, error)
	raw  bool // not text
}

// find follows a path. As on EC2 a slash at the end, or two for one, make no
// difference.
func find(e entry, path string) (entry, bool) {
	for name := range strings.SplitSeq(path, "/") {
		if name == "" {
			continue
		}
		i := slices.IndexFunc(e.kids, func(k entry) bool { return k.name == name })
		if i < 0 && e.name == "" && dated.MatchString(name) {
			i = len(e.kids) - 1
		}
		if i < 0 {
			return entry{}, false
		}
		e = e.kids[i]
	}
	return e, true
}

// content is a value, or the list of a folder: a line each, folders with a slash.
func (e entry) content() ([]byte, error) {
	if e.body != nil {
		return e.body()
	}
	lines := make([]string, 0, len(e.kids))
	for _, k := range e.kids {
		switch {
		case k.line != "":
			lines = append(lines, k.line)
		case k.body == nil && e.name != "" && !dated.MatchString(e.name):
			lines = append(lines, k.name+"/")
		default: // EC2 lists versions, and what is below them, without the slash
			lines = append(lines, k.name)
		}
	}
	return []byte(strings.Join(lines, "\n")), nil
}

func (e entry) mime() string {
	if e.raw {
		return "application/octet-stream"
	}
	return "text/plain"
}

// folder is an entry that holds those of kids that exist, or nothing.
func folder(name string, kids ...entry) entry {
	return entry{name: name, kids: slices.DeleteFunc(kids, func(k entry) bool { return k.body == nil && len(k.kids) == 0 })}
}

// value is an entry with a text. No text, no entry.
func value(name, text string) entry {
	if text == "" {
		return entry{}
	}
	return entry{name: name, body: func() ([]byte, error) { return []byte(text), nil }}
}

// lines is a value of one line each.
func lines[T fmt.Stringer](name string, list []T) entry {
	var s []string
	for _, v := range list {
		s = append(s, v.String())
	}
	return value(name, strings.Join(s, "\n"))
}

// tree is all that instance m may read.
func (s *server) tree(m cloud.Metadata) entry {
	var user entry
	if len(m.UserData) > 0 {
		user = entry{name: "user-data", raw: true, body: func() ([]byte, error) { return m.UserData, nil }}
	}
	all := folder("", folder("dynamic", s.identity(m)), metaData(m), user).kids
	root := entry{kids: make([]entry, 0, len(versions))}
	for _, v := range versions {
		root.kids = append(root.kids, entry{name: v, kids: all})
	}
	return root
}

func metaData(m cloud.Metadata) entry {
	var first cloud.MetadataInterface
	if len(m.Interfaces) > 0 {
		first = m.Interfaces[0]
	}
	return folder("meta-data",
		value("ami-id", m.ImageID),
		value("ami-launch-index", strconv.FormatInt(m.LaunchIndex, 10)),
		value("ami-manifest-path", "(unknown)"),
		blockDevices(m),
		value("hostname", m.Hostname),
		value("instance-action", "none"),
		value("instance-id", m.InstanceID),
		value("instance-life-cycle", "on-demand"),
		value("instance-type", m.Type),
		value("kernel-id", m.KernelID),
		value("local-hostname", m.Hostname),
		value("local-ipv4", at(first.PrivateIPs, 0)),
		value("mac", first.MAC),
		folder("network", folder("interfaces", macs(m))),
		folder("placement",
			value("availability-zone", m.Zone),
			value("availability-zone-id", m.ZoneID),
			value("region", m.Region)),
		value("profile", "default-hvm"),
		value("public-hostname", m.PublicHostname),
		value("public-ipv4", at(first.PublicIPs, 0)),
		publicKeys(m),
		value("ramdisk-id", m.RamdiskID),
		value("reservation-id", m.ReservationID),
		value("security-groups", strings.Join(m.Groups, "\n")),
		folder("services",
			value("domain", m.Domain),
			value("partition", "aws")),
		tags(m),
	)
}

// at is the i-th address as text, or "" when there is none.
func at(list []netip.Addr, i int) string {
	if i >= len(list) || !list[i].IsValid() {
		return ""
	}
	return list[i].String()
}

func blockDevices(m cloud.Metadata) entry {
	var kids []entry
	for _, d := range m.Mappings {
		kids = append(kids, value(d.Name, d.Device))
	}
	return folder("block-device-mapping", kids...)
}

// publicKeys is the folder that lists its kids by number and name: "0=mine".
func publicKeys(m cloud.Metadata) entry {
	key := strings.TrimSpace(m.PublicKey)
	if key == "" {
		return entry{}
	}
	// sshd shows the comment in its log: EC2 puts the key pair's name there.
	if len(strings.Fields(key)) == 2 && m.KeyName != "" {
		key += " " + m.KeyName
	}
	zero := folder("0", value("openssh-key", key))
	zero.line = "0=" + m.KeyName
	return folder("public-keys", zero)
}

func macs(m cloud.Metadata) entry {
	var kids []entry
	for _, nic := range m.Interfaces {
		kids = append(kids, folder(strings.ToLower(nic.MAC),
			value("device-number", strconv.FormatInt(nic.DeviceIndex, 10)),
			value("interface-id", nic.ID),
			associations(nic),
			value("local-hostname", nic.Hostname),
			lines("local-ipv4s", nic.PrivateIPs),
			value("mac", strings.ToLower(nic.MAC)),
			value("network-card", "0"),
			value("owner-id", m.AccountID),
			value("public-hostname", nic.PublicHostname),
			lines("public-ipv4s", slices.DeleteFunc(slices.Clone(nic.PublicIPs), func(a netip.Addr) bool { return !a.IsValid() })),
			value("security-group-ids", strings.Join(nic.GroupIDs, "\n")),
			value("security-groups", strings.Join(nic.GroupNames, "\n")),
			value("subnet-id", nic.SubnetID),
			value("subnet-ipv4-cidr-block", prefix(nic.SubnetCIDR)),
			value("vpc-id", nic.VpcID),
			value("vpc-ipv4-cidr-block", prefix(nic.VpcCIDR)),
			value("vpc-ipv4-cidr-blocks", prefix(nic.VpcCIDR)),
		))
	}
	return folder("macs", kids...)
}

// associations tells which private address each public one leads to.
func associations(nic cloud.MetadataInterface) entry {
	var kids []entry
	for i := range nic.PublicIPs {
		if public, private := at(nic.PublicIPs, i), at(nic.PrivateIPs, i); public != "" {
			kids = append(kids, value(public, private))
		}
	}
	return folder("ipv4-associations", kids...)
}

func prefix(p netip.Prefix) string {
	if !p.IsValid() {
		return ""
	}
	return p.String()
}

func tags(m cloud.Metadata) entry {
	if m.Options.Tags != "enabled" {
		return entry{}
	}
	var kids []entry
	for _, t := range m.Tags {
		if cloud.IsMetadataKey(t.Key) { // an older eucad took others
			// A tag may have no value, and is still listed.
			kids = append(kids, entry{name: t.Key, body: func() ([]byte, error) { return []byte(t.Value), nil }})
		}
	}
	return folder("tags", folder("instance", kids...))
}
