package image

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"eucad/api/imds"
	"eucad/store/cloud"
)

// A service is eucad's metadata service for one instance, by version 2 only.
type service struct {
	atomic.Pointer[cloud.Metadata]
	address string
	key     ssh.Signer // of the instance's key pair
}

// uuid is the machine's, as on EC2: it starts with ec2, and is its serial number too.
const uuid = "ec201234-5678-4abc-8def-0123456789ab"

// newService starts a service that knows the guest as i-0123456789abcdef0.
func newService(t *testing.T) *service {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s := new(service)
	if s.key, err = ssh.NewSignerFromKey(private); err != nil {
		t.Fatal(err)
	}
	s.instance("i-0123456789abcdef0")
	secret := make([]byte, 32)
	rand.Read(secret)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.address = l.Addr().String()
	server := imds.NewServer(imds.Handler(func(context.Context, netip.Addr) (cloud.Metadata, bool) {
		return *s.Load(), true
	}, imds.Options{TokenKey: secret}))
	go server.Serve(l)
	t.Cleanup(func() { server.Close() })
	return s
}

// instance makes the guest another instance.
func (s *service) instance(id string) {
	options := cloud.DefaultMetadataOptions
	options.Tokens = "required"
	s.Store(&cloud.Metadata{
		InstanceID: id, AccountID: "123456789012", ImageID: "ami-0123456789abcdef0", Type: "m1.small", Arch: "x86_64",
		Region: "us-east-1", Zone: "us-east-1a", Launched: time.Now(), Hostname: "ip-169-254-2-15.ec2.internal",
		KeyName: "mine", PublicKey: string(ssh.MarshalAuthorizedKey(s.key.PublicKey())),
		UserData: []byte("#!/bin/sh\necho ran >>/root/ran\nhostname\n"), Options: options,
		Mappings: []cloud.MetadataMapping{{Name: "ami", Device: "sda1"}, {Name: "root", Device: "/dev/sda1"}},
		Interfaces: []cloud.MetadataInterface{{
			ID: "eni-0123456789abcdef0", MAC: mac, PrivateIPs: []netip.Addr{netip.MustParseAddr("169.254.2.15")},
			SubnetID: "subnet-0123456789abcdef0", SubnetCIDR: netip.MustParsePrefix("169.254.0.0/16"),
			VpcID: "vpc-0123456789abcdef0", VpcCIDR: netip.MustParsePrefix("169.254.0.0/16"),
		}},
	})
}

const mac = "02:00:00:00:00:0a"

// A guest is one QEMU with a serial log, a monitor and a forwarded SSH port.
type guest struct {
	t       *testing.T
	cmd     *exec.Cmd
	exited  chan error
	started time.Time
	log     string // file of the serial port
	ssh     string // address
	qmp     *json.Decoder
	qmpConn net.Conn
	user    string // to log in as
	key     ssh.Signer
	client  *ssh.Client // logged in; nil before
}

// boot starts QEMU with the given disk arguments.
func boot(t *testing.T, s *service, args ...string) *guest {
	t.Helper()
	dir := t.TempDir()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := &guest{t: t, log: filepath.Join(dir, "serial"), ssh: l.Addr().String(), user: "root", key: s.key, exited: make(chan error, 1)}
	l.Close()
	_, port, _ := net.SplitHostPort(s.address)
	monitor := filepath.Join(dir, "qmp")
	g.cmd = exec.Command("qemu-system-x86_64", append([]string{
		"-accel", "tcg", "-machine", "q35", "-m", "512", "-nodefaults", "-display", "none",
		"-uuid", uuid, "-smbios", "type=1,uuid=" + uuid + ",serial=" + uuid,
		"-serial", "file:" + g.log,
		"-qmp", "unix:" + monitor + ",server=on,wait=off",
		// The network is 169.254/16 so that QEMU can forward the metadata address.
		"-netdev", "user,id=n,net=169.254.0.0/16,restrict=off,hostfwd=tcp:" + g.ssh + "-:22," +
			"guestfwd=tcp:169.254.169.254:80-cmd:busybox nc 127.0.0.1 " + port,
		"-device", "virtio-net-pci,netdev=n,mac=" + mac, "-device", "virtio-rng-pci",
	}, args...)...)
	g.cmd.Stderr = os.Stderr
	g.started = time.Now()
	if err := g.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { g.exited <- g.cmd.Wait() }()
	t.Cleanup(func() {
		g.cmd.Process.Kill()
		if t.Failed() {
			b, _ := os.ReadFile(g.log)
			t.Logf("serial port:\n%s", b)
		}
	})
	g.until("the monitor", func() (err error) {
		g.qmpConn, err = net.Dial("unix", monitor)
		return err
	})
	t.Cleanup(func() { g.qmpConn.Close() })
	g.qmp = json.NewDecoder(g.qmpConn)
	g.command("qmp_capabilities")
	return g
}

// until calls f until it succeeds.
func (g *guest) until(what string, f func() error) {
	g.t.Helper()
	ctx, cancel := context.WithTimeout(g.t.Context(), patience)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		err := f()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			g.t.Fatalf("%s: %v after %v", what, err, patience)
		}
	}
}

// command tells QEMU's monitor something and waits until it agrees.
func (g *guest) command(name string) {
	g.t.Helper()
	if _, err := fmt.Fprintf(g.qmpConn, "{\"execute\": %q}\n", name); err != nil {
		g.t.Fatalf("%s: %v", name, err)
	}
	for {
		var answer struct {
			Return *json.RawMessage
			Error  *json.RawMessage
		}
		if err := g.qmp.Decode(&answer); err != nil || answer.Error != nil {
			g.t.Fatalf("%s: %v %s", name, err, answer.Error)
		}
		if answer.Return != nil {
			return
		}
	}
}

// banner waits for SSH's greeting and says how long after power-on it came.
func (g *guest) banner() time.Duration {
	g.t.Helper()
	g.until("SSH banner", func() error {
		c, err := net.DialTimeout("tcp", g.ssh, time.Second)
		if err != nil {
			return err
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(time.Second))
		b := make([]byte, 4)
		if _, err := c.Read(b); err != nil {
			return err
		}
		if string(b) != "SSH-" {
			return fmt.Errorf("greeting %q", b)
		}
		return nil
	})
	return time.Since(g.started)
}

// run logs in, once, and returns what the command prints.
func (g *guest) run(command string) string {
	g.t.Helper()
	if g.client == nil {
		c, err := ssh.Dial("tcp", g.ssh, &ssh.ClientConfig{
			User: g.user, Auth: []ssh.AuthMethod{ssh.PublicKeys(g.key)},
			HostKeyCallback: ssh.InsecureIgnoreHostKey(), Timeout: patience,
		})
		if err != nil {
			g.t.Fatalf("log in: %v", err)
		}
		g.t.Cleanup(func() { c.Close() })
		g.client = c
	}
	s, err := g.client.NewSession()
	if err != nil {
		g.t.Fatal(err)
	}
	out, err := s.CombinedOutput(command)
	if _, missing := err.(*ssh.ExitMissingError); err != nil && !missing {
		g.t.Fatalf("%s: %v\n%s", command, err, out)
	}
	return strings.TrimSpace(string(out))
}

// says waits until the serial port has shown text n times.
func (g *guest) says(text string, n int) {
	g.t.Helper()
	g.until(fmt.Sprintf("%q on the serial port", text), func() error {
		b, err := os.ReadFile(g.log)
		if got := bytes.Count(b, []byte(text)); err == nil && got < n {
			err = fmt.Errorf("seen %d times, want %d", got, n)
		}
		return err
	})
}

// gone waits until QEMU has ended by itself, and says how long that took.
func (g *guest) gone() time.Duration {
	g.t.Helper()
	start := time.Now()
	select {
	case err := <-g.exited:
		if err != nil {
			g.t.Fatalf("QEMU: %v", err)
		}
	case <-time.After(patience):
		g.t.Fatalf("still running %v after it was told to power off", patience)
	}
	return time.Since(start)
}
