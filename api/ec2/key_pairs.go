package ec2

import (
	"context"
	"strings"

	"eucad/api/ec2/wire"
	"eucad/api/query"
	"eucad/store"
	"eucad/store/cloud"
)

const (
	maxKeyName  = 255  // characters, as on EC2
	maxKeyPairs = 5000 // of an account, as on EC2
)

// createKeyPair makes a key pair and gives its private half away: it is not kept.
func (s *Server) createKeyPair(ctx context.Context, in *wire.CreateKeyPairInput) (*wire.CreateKeyPairOutput, error) {
	kind := query.Val(in.KeyType)
	switch {
	case kind != "" && kind != "rsa" && kind != "ed25519":
		return nil, invalid("KeyType", kind, "It is rsa or ed25519.")
	case query.Val(in.KeyFormat) == "ppk":
		return nil, unsupported("The KeyFormat ppk (puttygen makes one of pem)")
	case query.Val(in.KeyFormat) != "" && *in.KeyFormat != "pem":
		return nil, invalid("KeyFormat", *in.KeyFormat, "It is pem.")
	}
	if err := checkKeyName(in.KeyName); err != nil {
		return nil, err
	}
	tags, err := readTagSpecifications(in.TagSpecifications, "key-pair")
	if err != nil {
		return nil, err
	}
	k, secret, err := newKeyPair(kind)
	if err != nil {
		return nil, err
	}
	if err := s.addKeyPair(ctx, &k, *in.KeyName, tags); err != nil {
		return nil, err
	}
	return &wire.CreateKeyPairOutput{KeyPairId: &k.ID, KeyName: &k.Name, KeyFingerprint: &k.Fingerprint, KeyMaterial: &secret, Tags: wireTags(tags["key-pair"])}, nil
}

// importKeyPair keeps the public half of a key pair that was made elsewhere.
func (s *Server) importKeyPair(ctx context.Context, in *wire.ImportKeyPairInput) (*wire.ImportKeyPairOutput, error) {
	if err := checkKeyName(in.KeyName); err != nil {
		return nil, err
	}
	if len(in.PublicKeyMaterial) == 0 {
		return nil, missing("PublicKeyMaterial")
	}
	tags, err := readTagSpecifications(in.TagSpecifications, "key-pair")
	if err != nil {
		return nil, err
	}
	public, err := parsePublicKey(in.PublicKeyMaterial)
	if err != nil {
		return nil, err
	}
	k, err := keyPairOf(public)
	if err != nil {
		return nil, err
	}
	if err := s.addKeyPair(ctx, &k, *in.KeyName, tags); err != nil {
		return nil, err
	}
	return &wire.ImportKeyPairOutput{KeyPairId: &k.ID, KeyName: &k.Name, KeyFingerprint: &k.Fingerprint, Tags: wireTags(tags["key-pair"])}, nil
}

// checkKeyName checks by EC2's rules: up to 255 ASCII characters, no blanks at the ends.
func checkKeyName(name *string) error {
	n := query.Val(name)
	switch {
	case n == "":
		return missing("KeyName")
	case len(n) > maxKeyName:
		return cloud.Faultf("InvalidParameterValue", "Invalid value for parameter KeyName: its length exceeds %d characters.", maxKeyName)
	case strings.Trim(n, " ") != n, strings.ContainsFunc(n, func(r rune) bool { return r < ' ' || r > '~' }):
		return invalid("KeyName", n, "It must be of printable ASCII characters, without blanks at its ends.")
	}
	return nil
}

// addKeyPair writes k under a name that must be free.
func (s *Server) addKeyPair(ctx context.Context, k *cloud.KeyPair, name string, tags specifiedTags) error {
	k.ID, k.AccountID, k.Name = cloud.NewID("key"), account(ctx), name
	k.PublicKey += " " + name // as EC2 does
	return s.DB.Write(ctx, func(tx store.Tx) error {
		have, err := tx.KeyPairs(ctx, k.AccountID)
		if err != nil {
			return err
		}
		for _, h := range have {
			if h.Name == name {
				return cloud.Faultf("InvalidKeyPair.Duplicate", "The keypair '%s' already exists.", name)
			}
		}
		if len(have) >= maxKeyPairs {
			return cloud.Faultf("KeyPairLimitExceeded", "An account has up to %d key pairs; delete one.", maxKeyPairs)
		}
		k.Created = tx.Now()
		if err := tx.PutKeyPair(ctx, *k); err != nil {
			return err
		}
		if err := tags.put(ctx, tx, k.AccountID, "key-pair", k.ID); err != nil {
			return err
		}
		return tx.Audit(ctx)
	})
}

// describeKeyPairs tells about key pairs.
func (s *Server) describeKeyPairs(ctx context.Context, in *wire.DescribeKeyPairsInput) (*wire.DescribeKeyPairsOutput, error) {
	sel := selection{prefix: "key", ids: in.KeyPairIds, filters: in.Filters}
	if len(in.KeyNames) > 0 { // tags of all
		if err := checkIDs("key", in.KeyPairIds...); err != nil {
			return nil, err
		}
		sel.ids = nil
	}
	list, _, err := choose(ctx, s.DB, sel, keyPairFilters, keyPairID, func(rx store.Rx) (list []cloud.KeyPair, err error) {
		if len(in.KeyPairIds) > 0 || len(in.KeyNames) == 0 {
			list, err = rx.KeyPairs(ctx, account(ctx), in.KeyPairIds...)
		}
		for _, name := range in.KeyNames {
			if err != nil {
				break
			}
			var k cloud.KeyPair
			k, err = rx.KeyPairByName(ctx, account(ctx), name)
			list = append(list, k)
		}
		return list, err
	})
	if err != nil {
		return nil, err
	}
	out := &wire.DescribeKeyPairsOutput{KeyPairs: make([]wire.KeyPairInfo, len(list))}
	for n := range list {
		k := &list[n].v
		out.KeyPairs[n] = wire.KeyPairInfo{KeyPairId: &k.ID, KeyName: &k.Name, KeyFingerprint: &k.Fingerprint, KeyType: &k.Type,
			CreateTime: &k.Created, Tags: wireTags(list[n].tags)}
		if query.Val(in.IncludePublicKey) {
			out.KeyPairs[n].PublicKey = &k.PublicKey
		}
	}
	return out, nil
}

func keyPairID(k *cloud.KeyPair) string { return k.ID }

var keyPairFilters = query.Fields[tagged[cloud.KeyPair]]{
	"fingerprint": field(func(k *cloud.KeyPair) string { return k.Fingerprint }),
	"key-name":    field(func(k *cloud.KeyPair) string { return k.Name }),
	"key-pair-id": field(keyPairID),
	"key-type":    field(func(k *cloud.KeyPair) string { return k.Type }),
}

// deleteKeyPair forgets a key pair. One that does not exist is no error, as on EC2.
func (s *Server) deleteKeyPair(ctx context.Context, in *wire.DeleteKeyPairInput) (*wire.DeleteKeyPairOutput, error) {
	name, id := query.Val(in.KeyName), query.Val(in.KeyPairId)
	switch {
	case name == "" && id == "":
		return nil, missing("KeyName")
	case name != "" && id != "":
		return nil, cloud.Faultf("InvalidParameterCombination", "The parameters KeyName and KeyPairId cannot be used together.")
	case id != "":
		if err := checkIDs("key", id); err != nil {
			return nil, err
		}
	}
	out := &wire.DeleteKeyPairOutput{Return: query.Ptr(true), KeyPairId: in.KeyPairId}
	err := s.DB.Write(ctx, func(tx store.Tx) error {
		var list []cloud.KeyPair
		var err error
		if id != "" {
			list, err = tx.KeyPairs(ctx, account(ctx), id)
		} else {
			list = make([]cloud.KeyPair, 1)
			list[0], err = tx.KeyPairByName(ctx, account(ctx), name)
		}
		if cloud.FaultCode(err) == "InvalidKeyPair.NotFound" {
			return nil
		}
		if err != nil {
			return err
		}
		out.KeyPairId = &list[0].ID
		if err := tx.DeleteKeyPair(ctx, list[0]); err != nil {
			return err
		}
		return tx.Audit(ctx)
	})
	return out, err
}
