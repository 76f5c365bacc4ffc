"""The first day of a cloud by boto3: launch, look, reach, stop, start, end.

Arguments: URL of the API, directory for the key, image id, and a command that
kills eucad and starts it again."""
import base64
import os
import subprocess
import sys
import threading
import time

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

url, directory, image, restart = sys.argv[1:]
ec2 = boto3.resource("ec2", endpoint_url=url, config=Config(retries={"mode": "standard", "max_attempts": 10}))
client = ec2.meta.client


def ssh(ip, command, tries=120):
    for n in range(tries):
        p = subprocess.run(
            ["ssh", "-i", key_file, "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
             "-o", "LogLevel=ERROR", "-o", "ConnectTimeout=5", f"root@{ip}", command],
            capture_output=True, text=True)
        if p.returncode == 0:
            return p.stdout.strip()
        time.sleep(1)
    raise Exception(f"{ip}: {command}: {p.stderr}")


def fails(code, call, **args):
    try:
        call(**args)
    except ClientError as e:
        assert e.response["Error"]["Code"] == code, e
        return
    raise Exception(f"{call} with {args} did not fail with {code}")


assert boto3.client("sts", endpoint_url=url).get_caller_identity()["Account"]

key = ec2.create_key_pair(KeyName="boto", KeyType="rsa")
key_file = directory + "/boto.pem"
with open(key_file, "w", opener=lambda p, f: os.open(p, f, 0o600)) as f:
    f.write(key.key_material + "\n")

vpc = next(iter(ec2.vpcs.filter(Filters=[{"Name": "is-default", "Values": ["true"]}])))
subnet = next(iter(vpc.subnets.all()))
group = ec2.create_security_group(GroupName="boto", Description="for boto3", VpcId=vpc.id)
group.authorize_ingress(IpProtocol="tcp", FromPort=22, ToPort=22, CidrIp="0.0.0.0/0")
fails("InvalidPermission.Duplicate", group.authorize_ingress, IpProtocol="tcp", FromPort=22, ToPort=22, CidrIp="0.0.0.0/0")

one, two = ec2.create_instances(
    ImageId=image, InstanceType="t2.nano", KeyName="boto", MinCount=2, MaxCount=2,
    UserData="#!/bin/sh\necho é '<&>' >/root/data\n",
    NetworkInterfaces=[{"DeviceIndex": 0, "SubnetId": subnet.id, "Groups": [group.id], "AssociatePublicIpAddress": True}],
    BlockDeviceMappings=[{"DeviceName": "/dev/sda1", "Ebs": {"VolumeSize": 3}}],
    MetadataOptions={"HttpTokens": "required", "InstanceMetadataTags": "enabled"},
    TagSpecifications=[{"ResourceType": t, "Tags": [{"Key": "Name", "Value": "é<&>"}]} for t in ("instance", "volume")])
for i in one, two:
    i.wait_until_running()
    i.reload()
    assert ssh(i.public_ip_address, "hostname") == "ip-" + i.private_ip_address.replace(".", "-")
    assert i.state["Name"] == "running" and i.tags == [{"Key": "Name", "Value": "é<&>"}], (i.state, i.tags)

for _ in range(30):  # user data runs after SSH is up
    if ssh(one.public_ip_address, "test -s /root/data && cat /root/data || true") == "é <&>":
        break
    time.sleep(1)
else:
    raise Exception("user data did not run")
assert ssh(one.public_ip_address, "imds meta-data/tags/instance/Name") == "é<&>"
volume = next(iter(one.volumes.all()))
assert (volume.size, volume.volume_type, volume.state) == (3, "gp3", "in-use"), volume
assert int(ssh(one.public_ip_address, "cat /sys/block/vda/size")) == 3 << 21
got = client.describe_instance_attribute(InstanceId=one.id, Attribute="userData")["UserData"]["Value"]
assert base64.b64decode(got).decode().startswith("#!/bin/sh"), got

# As their group says, and not otherwise.
probe = f"nc -w 3 {two.private_ip_address} 7 </dev/null"
ssh(two.public_ip_address, "nc -ll -p 7 -e cat </dev/null >/dev/null 2>&1 &")
assert subprocess.run(["ssh", "-i", key_file, "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
                       f"root@{one.public_ip_address}", probe], capture_output=True).returncode != 0
peers = [{"IpProtocol": "tcp", "FromPort": 7, "ToPort": 7, "UserIdGroupPairs": [{"GroupId": group.id}]}]
group.authorize_ingress(IpPermissions=peers)
ssh(one.public_ip_address, probe, tries=20)
group.revoke_ingress(IpPermissions=peers)

# eucad is killed while an answer is on its way, and comes back.
kill = threading.Thread(target=lambda: subprocess.run(restart, shell=True, check=True))
kill.start()
fresh = ec2.create_instances(  # botocore tries again, with the same client token
    ImageId=image, InstanceType="t2.nano", MinCount=1, MaxCount=1, SubnetId=subnet.id)
kill.join()
fresh[0].wait_until_running()
assert len(list(ec2.instances.all())) == 3
output = client.get_console_output(InstanceId=one.id)["Output"]
assert "eucad-tiny: ready instance=" + one.id in output, output

one.stop()
one.wait_until_stopped()
one.modify_attribute(Attribute="instanceType", Value="t2.micro")
one.start()
one.wait_until_running()
one.reload()
assert one.instance_type == "t2.micro"
assert ssh(one.public_ip_address, "cat /root/data") == "é <&>"

one.modify_attribute(DisableApiTermination={"Value": True})
fails("OperationNotPermitted", one.terminate)
one.modify_attribute(DisableApiTermination={"Value": False})
for i in one, two, fresh[0]:
    i.terminate()
for i in one, two, fresh[0]:
    i.wait_until_terminated()
pages = client.get_paginator("describe_instances").paginate(PaginationConfig={"PageSize": 5})
assert {i["State"]["Name"] for p in pages for r in p["Reservations"] for i in r["Instances"]} == {"terminated"}
group.delete()
key.delete()
print("all is well")
