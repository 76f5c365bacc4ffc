package ec2

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"eucad/api/ec2/wire"
	"eucad/api/query"
	"eucad/store"
	"eucad/store/cloud"
)

// An instanceItem is an instance with all that describing it takes. It does
// not change once it is made.
type instanceItem struct {
	cloud.Instance // without UserData, which may be large and is never described
	cfg            *Config
	key            string
	nics           []nic // by device index
	tags           []cloud.Tag
	tagged         map[string]string
	privateName    string // DNS names; "" for none
	publicName     string
	xml            []byte // the instance as an element of instancesSet, without <item>
}

// A nic is an interface with what describing it takes.
type nic struct {
	cloud.Interface
	groups    []wire.GroupIdentifier
	addresses []cloud.Address

	privateName string
}

// public returns the address that leads to ip of the interface, and whether there is one.
func (n *nic) public(ip netip.Addr) (cloud.Address, bool) {
	for _, a := range n.addresses {
		if a.PrivateIP == ip || !a.PrivateIP.IsValid() && ip == n.PrivateIP {
			return a, true
		}
	}
	return cloud.Address{}, false
}

// instanceKey orders instances by age; those of a reservation follow each
// other, by launch index.
func instanceKey(i *cloud.Instance) string {
	return fmt.Sprintf("%013x %s %06d", i.Created.UnixMilli(), i.ReservationID, i.LaunchIndex)
}

// newItem returns the item of i and encodes it.
func (s *Server) newItem(i cloud.Instance, nics []nic, tags []cloud.Tag) *instanceItem {
	i.UserData = nil
	if i.State == cloud.Terminated { // EC2 forgets its network: filters must not find it by that
		i.VpcID, i.SubnetID, i.PrivateIP = "", "", netip.Addr{}
	}
	slices.SortFunc(nics, func(a, b nic) int { return int(a.DeviceIndex - b.DeviceIndex) })
	it := &instanceItem{Instance: i, cfg: &s.Cfg, key: instanceKey(&i), nics: nics, tags: tags}
	if len(tags) > 0 {
		it.tagged = make(map[string]string, len(tags))
		for _, t := range tags {
			it.tagged[t.Key] = t.Value
		}
	}
	for n := range nics {
		nics[n].privateName = cloud.PrivateName(nics[n].PrivateIP, s.Cfg.Region)
	}
	w := s.wireInstance(it)
	it.privateName, it.publicName = *w.PrivateDnsName, *w.PublicDnsName
	it.xml = slices.Clip(w.AppendXML(make([]byte, 0, 4096)))
	return it
}

// size is about how much memory the item takes.
func (it *instanceItem) size() int { return len(it.xml) + 2048 + 512*len(it.nics) + 128*len(it.tags) }

// groupNames finds the names of security groups; nil reads each when it is asked for.
type groupNames map[string]string

func (g groupNames) of(ctx context.Context, rx store.Rx, account string, ids []string) ([]wire.GroupIdentifier, error) {
	out := make([]wire.GroupIdentifier, len(ids))
	for n, id := range ids {
		name, ok := g[id]
		if !ok {
			group, err := rx.Group(ctx, account, id)
			if err != nil {
				return nil, err
			}
			name = group.Name
			g[id] = name
		}
		out[n] = wire.GroupIdentifier{GroupId: &id, GroupName: &name}
	}
	return out, nil
}

// readItem reads what i needs besides itself, one query for each kind.
func (s *Server) readItem(ctx context.Context, rx store.Rx, i cloud.Instance, names groupNames) (*instanceItem, error) {
	enis, err := rx.InterfacesOfInstance(ctx, i.ID)
	if err != nil {
		return nil, err
	}
	nics := make([]nic, len(enis))
	for n, eni := range enis {
		nics[n].Interface = eni
		if nics[n].addresses, err = rx.AddressesOfInterface(ctx, eni.ID); err != nil {
			return nil, err
		}
		if nics[n].groups, err = names.of(ctx, rx, i.AccountID, eni.Groups); err != nil {
			return nil, err
		}
	}
	tags, err := rx.Tags(ctx, i.AccountID, "", i.ID)
	if err != nil {
		return nil, err
	}
	return s.newItem(i, nics, tags), nil
}

// readItems reads the named instances of account, each of which must exist.
func (s *Server) readItems(ctx context.Context, account string, ids []string) (items []*instanceItem, err error) {
	err = s.DB.Read(ctx, func(rx store.Rx) error {
		list, err := rx.Instances(ctx, account, ids...)
		if err != nil {
			return err
		}
		names := groupNames{}
		items = make([]*instanceItem, len(list))
		for n, i := range list {
			if items[n], err = s.readItem(ctx, rx, i, names); err != nil {
				return err
			}
		}
		return nil
	})
	sortItems(items)
	return items, err
}

func sortItems(items []*instanceItem) {
	slices.SortFunc(items, func(a, b *instanceItem) int { return strings.Compare(a.key, b.key) })
}

// readAll reads all instances of account, with one query for each kind of row.
func (s *Server) readAll(ctx context.Context, rx store.Rx, account string) ([]*instanceItem, error) {
	list, err := rx.Instances(ctx, account)
	if err != nil || len(list) == 0 {
		return nil, err
	}
	enis, err := rx.Interfaces(ctx, account)
	if err != nil {
		return nil, err
	}
	addresses, err := rx.Addresses(ctx, account)
	if err != nil {
		return nil, err
	}
	tags, err := rx.TagsByResource(ctx, account, "i-")
	if err != nil {
		return nil, err
	}
	groups, err := rx.Groups(ctx, account)
	if err != nil {
		return nil, err
	}
	names := make(groupNames, len(groups))
	for _, g := range groups {
		names[g.ID] = g.Name
	}
	leads := map[string][]cloud.Address{}
	for _, a := range addresses {
		leads[a.InterfaceID] = append(leads[a.InterfaceID], a)
	}
	nics := map[string][]nic{}
	for _, eni := range enis {
		if eni.InstanceID == "" {
			continue
		}
		ids, err := names.of(ctx, rx, account, eni.Groups)
		if err != nil {
			return nil, err
		}
		nics[eni.InstanceID] = append(nics[eni.InstanceID], nic{Interface: eni, groups: ids, addresses: leads[eni.ID]})
	}
	items := make([]*instanceItem, len(list))
	for n, i := range list {
		items[n] = s.newItem(i, nics[i.ID], tags[i.ID])
	}
	sortItems(items)
	return items, nil
}

// wireTags returns tags as answers have them, nil for none.
func wireTags(tags []cloud.Tag) []wire.Tag {
	if len(tags) == 0 {
		return nil
	}
	out := make([]wire.Tag, len(tags))
	for i, t := range tags {
		out[i] = wire.Tag{Key: query.Ptr(t.Key), Value: query.Ptr(t.Value)}
	}
	return out
}
