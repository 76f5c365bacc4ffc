package query_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"eucad/api/ec2/wire"
	"eucad/api/query"
	"eucad/store/cloud"
)

// decode reads form into a new T.
func decode[T any, P query.Input[T]](form string) (*T, error) {
	root, err := query.ParseTree(form)
	if err != nil {
		return nil, err
	}
	in := new(T)
	var d query.Decoder
	P(in).DecodeQuery(&d, root)
	return in, d.Err()
}

func TestDecode(t *testing.T) {
	t.Parallel()
	got, err := decode[wire.RunInstancesInput](strings.Join([]string{
		"ImageId=ami-1", "MinCount=1", "MaxCount=2", "EbsOptimized=TRUE", "DisableApiTermination=0",
		"SecurityGroupId.10=sg-10", "SecurityGroupId.2=sg-2", "SecurityGroupId.11=", "SecurityGroup=bare",
		"SubnetId=", "IamInstanceProfile.Name=", // Packer: not given
		"BlockDeviceMapping.0.DeviceName=/dev/sda1", "BlockDeviceMapping.0.Ebs.VolumeSize=8",
		"BlockDeviceMapping.1.DeviceName=/dev/sdb", "BlockDeviceMapping.1.NoDevice=", // as EC2 documents it
		"TagSpecification.1.ResourceType=instance", "TagSpecification.1.Tag.1.Key=k", "TagSpecification.1.Tag.1.Value=",
		"NetworkInterface.1.PrivateIpAddresses.1.PrivateIpAddress=10.0.0.4",
		"InstanceMarketOptions.SpotOptions.ValidUntil=2026-11-22T01:02:03",
	}, "&"))
	if err != nil {
		t.Fatal(err)
	}
	want := &wire.RunInstancesInput{
		ImageId: new("ami-1"), MinCount: new(int64(1)), MaxCount: new(int64(2)), EbsOptimized: new(true), DisableApiTermination: new(false),
		SecurityGroupIds: []string{"sg-2", "sg-10", ""}, SecurityGroups: []string{"bare"},
		BlockDeviceMappings: []wire.BlockDeviceMapping{{DeviceName: new("/dev/sda1"), Ebs: &wire.EbsBlockDevice{VolumeSize: new(int64(8))}},
			{DeviceName: new("/dev/sdb"), NoDevice: new("")}},
		TagSpecifications: []wire.TagSpecification{{ResourceType: new("instance"), Tags: []wire.Tag{{Key: new("k"), Value: new("")}}}},
		NetworkInterfaces: []wire.InstanceNetworkInterfaceSpecification{{
			PrivateIpAddresses: []wire.PrivateIpAddressSpecification{{PrivateIpAddress: new("10.0.0.4")}}}},
		InstanceMarketOptions: &wire.InstanceMarketOptionsRequest{SpotOptions: &wire.SpotMarketOptions{ValidUntil: new(time.Date(2026, 11, 22, 1, 2, 3, 0, time.UTC))}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestDecodeFaults(t *testing.T) {
	t.Parallel()
	run := func(form string) error { _, err := decode[wire.RunInstancesInput](form); return err }
	console := func(form string) error { _, err := decode[wire.GetConsoleOutputInput](form); return err }
	importKey := func(form string) error { _, err := decode[wire.ImportKeyPairInput](form); return err }
	for _, tt := range []struct {
		name      string
		decode    func(string) error
		form      string
		code, msg string
	}{
		{"missing", run, "MinCount=1", "MissingParameter", "MaxCount"},
		{"empty for a struct", run, "MinCount=1&MaxCount=1&LicenseSpecification=", "", ""},
		{"empty for an element", run, "MinCount=1&MaxCount=1&LicenseSpecification.1=", "UnknownParameter", "LicenseSpecification.1"},
		{"unknown", run, "MinCount=1&MaxCount=1&Foo=x", "UnknownParameter", "The parameter Foo is not recognized"},
		{"unknown below", run, "MinCount=1&MaxCount=1&Placement.Foo.Bar=x", "UnknownParameter", "Placement.Foo.Bar"},
		{"value for a struct", run, "MinCount=1&MaxCount=1&Placement=x", "UnknownParameter", "Placement"},
		{"value and list", run, "MinCount=1&MaxCount=1&SecurityGroupId=a&SecurityGroupId.1=b", "UnknownParameter", "SecurityGroupId.1"},
		{"index not a number", run, "MinCount=1&MaxCount=1&SecurityGroupId.x=a", "UnknownParameter", "SecurityGroupId.x"},
		{"index twice", run, "MinCount=1&MaxCount=1&SecurityGroupId.1=a&SecurityGroupId.01=b", "UnknownParameter", "SecurityGroupId.1"},
		{"huge index", run, "MinCount=1&MaxCount=1&SecurityGroupId.99999999=a", "UnknownParameter", "SecurityGroupId.99999999"},
		{"given twice", run, "MinCount=1&MinCount=2&MaxCount=1", "InvalidQueryParameter", "MinCount"},
		{"not an integer", run, "MinCount=one&MaxCount=1", "InvalidParameterValue", "Invalid value 'one' for MinCount"},
		{"too large", run, "MinCount=9223372036854775808&MaxCount=1", "InvalidParameterValue", "MinCount"},
		{"not a boolean", run, "MinCount=1&MaxCount=1&EbsOptimized=maybe", "InvalidParameterValue", "maybe"},
		{"not base64", importKey, "KeyName=k&PublicKeyMaterial=%3F", "InvalidParameterValue", "PublicKeyMaterial"},
		{"base64 with breaks", importKey, "KeyName=k&PublicKeyMaterial=Zm9v%0AYmE=", "", ""},
		{"list for a scalar", console, "InstanceId.1=i-1", "", ""}, // boto 2
		{"long list for a scalar", console, "InstanceId.1=i-1&InstanceId.2=i-2", "UnknownParameter", "InstanceId.1"},
		{"struct for a scalar", console, "InstanceId.Foo=i-1", "UnknownParameter", "InstanceId.Foo"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.decode(tt.form)
			f, _ := errors.AsType[*cloud.Fault](err)
			if f == nil {
				f = new(cloud.Fault)
			}
			if f.Code != tt.code || !strings.Contains(f.Msg, tt.msg) {
				t.Errorf("%s: %v, want %s with %q", tt.form, err, tt.code, tt.msg)
			}
		})
	}
}

func FuzzDecode(f *testing.F) {
	f.Add("MinCount=1&MaxCount=1&BlockDeviceMapping.1.Ebs.VolumeSize=8&TagSpecification.1.Tag.1.Key=a")
	f.Add("SecurityGroupId.member.1=a&SecurityGroupId.0=b&NetworkInterface.1.Ipv6Addresses.2.X=1")
	f.Add("UserData=%20&InstanceMarketOptions.SpotOptions.ValidUntil=2026-11-22")
	f.Fuzz(func(t *testing.T, form string) {
		_, err := decode[wire.RunInstancesInput](form)
		if err != nil && cloud.FaultCode(err) == "" {
			t.Errorf("%q: %v is not a Fault", form, err)
		}
	})
}
