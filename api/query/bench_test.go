package query_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"eucad/api/ec2/wire"
	"eucad/api/query"
	"eucad/api/sigv4"
)

// sampleReservation is an instance as a small cloud describes it.
func sampleReservation(i int) wire.Reservation {
	at := time.Date(2026, 11, 22, 1, 2, 3, 0, time.UTC)
	id := fmt.Sprintf("%017x", i)
	group := []wire.GroupIdentifier{{GroupId: new("sg-" + id), GroupName: new("default")}}
	return wire.Reservation{
		ReservationId: new("r-" + id), OwnerId: new("123456789012"),
		Instances: []wire.Instance{{
			InstanceId: new("i-" + id), ImageId: new("ami-" + id), InstanceType: new("m1.small"), KeyName: new("mine"),
			State: &wire.InstanceState{Code: new(int64(16)), Name: new("running")}, LaunchTime: &at, AmiLaunchIndex: new(int64(0)),
			PrivateDnsName: new("ip-172-31-0-4.ec2.internal"), PublicDnsName: new("ec2-198-51-100-7.compute.internal"), PrivateIpAddress: new("172.31.0.4"), PublicIpAddress: new("198.51.100.7"),
			Placement: &wire.Placement{AvailabilityZone: new("eucad-1a"), Tenancy: new("default")}, Monitoring: &wire.Monitoring{State: new("disabled")},
			SubnetId: new("subnet-" + id), VpcId: new("vpc-" + id), Architecture: new("x86_64"), RootDeviceName: new("/dev/sda1"), RootDeviceType: new("ebs"),
			BlockDeviceMappings: []wire.InstanceBlockDeviceMapping{{DeviceName: new("/dev/sda1"), Ebs: &wire.EbsInstanceBlockDevice{VolumeId: new("vol-" + id), Status: new("attached"), AttachTime: &at, DeleteOnTermination: new(true)}}},
			SecurityGroups:      group, Tags: []wire.Tag{{Key: new("Name"), Value: new("web & co")}},
			NetworkInterfaces: []wire.InstanceNetworkInterface{{NetworkInterfaceId: new("eni-" + id), MacAddress: new("02:00:00:00:00:01"), Groups: group, PrivateIpAddress: new("172.31.0.4"), Status: new("in-use"),
				Attachment: &wire.InstanceNetworkInterfaceAttachment{AttachmentId: new("eni-attach-" + id), DeviceIndex: new(int64(0)), Status: new("attached"), AttachTime: &at, DeleteOnTermination: new(true)}}},
		}},
	}
}

func sampleAnswer(n int, readyMade bool) *wire.DescribeInstancesOutput {
	out := new(wire.DescribeInstancesOutput)
	for i := range n {
		r := sampleReservation(i)
		if readyMade {
			r = wire.Reservation{XML: r.AppendXML(nil)}
		}
		out.Reservations = append(out.Reservations, r)
	}
	return out
}

func BenchmarkEncode(b *testing.B) {
	for _, readyMade := range []bool{false, true} {
		b.Run(fmt.Sprintf("readyMade=%v", readyMade), func(b *testing.B) {
			out := sampleAnswer(1000, readyMade)
			buf := out.AppendXML(nil)
			b.SetBytes(int64(len(buf)))
			b.ReportAllocs()
			for b.Loop() {
				buf = out.AppendXML(buf[:0])
			}
		})
	}
}

const launchForm = "ImageId=ami-1&MinCount=1&MaxCount=1&InstanceType=t2.micro&KeyName=k&SubnetId=subnet-1&SecurityGroupId.1=sg-1" +
	"&BlockDeviceMapping.1.DeviceName=%2Fdev%2Fsda1&BlockDeviceMapping.1.Ebs.VolumeSize=8&ClientToken=0c1f" +
	"&TagSpecification.1.ResourceType=instance&TagSpecification.1.Tag.1.Key=Name&TagSpecification.1.Tag.1.Value=web"

func BenchmarkDecode(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := decode[wire.RunInstancesInput](launchForm); err != nil {
			b.Fatal(err)
		}
	}
}

// describer answers every DescribeInstances alike.
type describer struct{ out *wire.DescribeInstancesOutput }

func (d describer) describeInstances(context.Context, *wire.DescribeInstancesInput) (*wire.DescribeInstancesOutput, error) {
	return d.out, nil
}

// BenchmarkHandler measures signed calls over loopback in turn with a bare
// handler that returns the same bytes: x-floor is how many times as long the
// call takes.
func BenchmarkHandler(b *testing.B) {
	for _, n := range []int{20, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			at := time.Date(2015, 8, 30, 12, 36, 0, 0, time.UTC)
			v := &sigv4.Verifier{
				Now: func() time.Time { return at },
				Key: func(context.Context, string) (sigv4.Credential, error) {
					return sigv4.Credential{Secret: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", AccountID: "1"}, nil
				},
			}
			h := newTestHandler(io.Discard)
			h.Services = []*query.Service{query.NewService(query.Service{
				Name: "ec2", Version: wire.Version, Namespace: "http://ec2.amazonaws.com/doc/", Known: wire.Known,
			}, describer{sampleAnswer(n, true)}, map[string]query.Action[describer]{"DescribeInstances": query.Handle(describer.describeInstances)})}
			h.Verify = func(r *http.Request, body []byte) (sigv4.Identity, error) {
				r.Host = "example.amazonaws.com" // which the sample signature is for
				return v.Verify(r, body)
			}
			srv := httptest.NewServer(h)
			defer srv.Close()
			answer := call(b, srv.URL)
			bare := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				io.Copy(io.Discard, r.Body)
				w.Header().Set("Content-Type", "text/xml;charset=UTF-8")
				w.Header().Set("Content-Length", fmt.Sprint(len(answer)))
				w.Write(answer)
			}))
			defer bare.Close()
			call(b, bare.URL)
			var ours, floor time.Duration
			for b.Loop() {
				t0 := time.Now()
				call(b, srv.URL)
				t1 := time.Now()
				call(b, bare.URL)
				ours, floor = ours+t1.Sub(t0), floor+time.Since(t1)
			}
			b.ReportMetric(float64(ours)/float64(floor), "x-floor")
			b.ReportMetric(float64(len(answer)), "bytes")
		})
	}
}

// call sends a DescribeInstances that botocore signed for 2015-08-30T12:36:00Z.
func call(b *testing.B, url string) []byte {
	r, err := http.NewRequest("POST", url+"/", strings.NewReader("Action=DescribeInstances&Version=2016-11-15"))
	if err != nil {
		b.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
	r.Header.Set("X-Amz-Date", "20150830T123600Z")
	r.Header.Set("Authorization", sampleAuthorization)
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		b.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != 200 {
		b.Fatalf("%d %s %v", resp.StatusCode, body, err)
	}
	return body
}

const sampleAuthorization = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/ec2/aws4_request, " +
	"SignedHeaders=content-type;host;x-amz-date, Signature=ebacfe00e15d9e485c0d4f6119493fad51632733c22a09364d5c6621c1c693ae"
