package query_test

import (
	"encoding/xml"
	"testing"
	"time"
	"unicode/utf8"

	"eucad/api/ec2/wire"
	"eucad/api/query"
)

func TestEncode(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 22, 2, 5, 6, 7_000_000, time.FixedZone("", 3600))
	for _, tt := range []struct {
		name string
		out  query.Output
		want string
	}{
		{"empty answer", &wire.CreateTagsOutput{}, "<return>true</return>"},
		{"modelled return", &wire.DeleteKeyPairOutput{KeyPairId: new("key-1")}, "<return>true</return><keyPairId>key-1</keyPairId>"},
		{"modelled return, set", &wire.DeleteKeyPairOutput{Return: new(false)}, "<return>false</return>"},
		{"return that the SDK does not read", &wire.CreateSecurityGroupOutput{GroupId: new("sg-1")}, "<return>true</return><groupId>sg-1</groupId><tagSet/>"},
		{"list on top, empty", &wire.DescribeInstancesOutput{}, "<reservationSet/>"},
		{"list below, nil", &wire.KeyPairInfo{KeyName: new("k")}, "<keyName>k</keyName>"},
		{"list below, empty", &wire.KeyPairInfo{KeyName: new("k"), Tags: []wire.Tag{}}, "<keyName>k</keyName><tagSet/>"},
		{"list below, always", &wire.Reservation{ReservationId: new("r-1")}, "<reservationId>r-1</reservationId><groupSet/><instancesSet/>"},
		{"strings", &wire.DescribeAccountAttributesOutput{AccountAttributes: []wire.AccountAttribute{{AttributeName: new("a"), AttributeValues: []wire.AccountAttributeValue{{AttributeValue: new("1")}}}}},
			"<accountAttributeSet><item><attributeName>a</attributeName><attributeValueSet><item><attributeValue>1</attributeValue></item></attributeValueSet></item></accountAttributeSet>"},
		{"time", &wire.KeyPairInfo{CreateTime: &at}, "<createTime>2026-11-22T01:05:06.007Z</createTime>"},
		{"text", &wire.Tag{Key: new("é<&>\"'\r\n\x00\xff\uFFFE")}, "<key>é&lt;&amp;&gt;&quot;'&#xD;\n\uFFFD\uFFFD\uFFFD</key>"},
		{"ready made", &wire.DescribeInstancesOutput{Reservations: []wire.Reservation{{XML: []byte("<reservationId>r-1</reservationId>")}}, NextToken: new("n")},
			"<nextToken>n</nextToken><reservationSet><item><reservationId>r-1</reservationId></item></reservationSet>"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := string(tt.out.AppendXML(nil)); got != tt.want {
				t.Errorf("AppendXML = %s\nwant        %s", got, tt.want)
			}
		})
	}
}

// FuzzText checks that text survives an XML parser, as far as XML can hold it.
func FuzzText(f *testing.F) {
	f.Add("é<&>\"'\r\n\t]]>")
	f.Add("\x00\x1f\x7f\xff\xed\xa0\x80\uFFFE")
	f.Fuzz(func(t *testing.T, s string) {
		doc := append(query.AppendText([]byte("<a>"), s), "</a>"...)
		var got string
		if err := xml.Unmarshal(doc, &got); err != nil {
			t.Fatalf("%q gives %q: %v", s, doc, err)
		}
		want := ""
		for i := 0; i < len(s); {
			r, size := utf8.DecodeRuneInString(s[i:])
			if r < ' ' && r != '\n' && r != '\t' && r != '\r' || r == 0xFFFE || r == 0xFFFF {
				r = utf8.RuneError
			}
			want += string(r)
			i += size
		}
		if got != want {
			t.Errorf("%q came back as %q", s, got)
		}
	})
}
