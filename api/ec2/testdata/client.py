# Calls every action of the server with boto3, which checks the parameters and
# takes the answers apart, and looks at what comes back. Arguments: the server's
# URL and the names of the actions it serves.
import base64
import datetime
import os
import sys

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

url, served = sys.argv[1], set(sys.argv[2:])
account, image, snapshot = os.environ["ACCOUNT"], os.environ["IMAGE"], os.environ["SNAPSHOT"]
ec2 = boto3.client("ec2", endpoint_url=url, region_name="test-1", config=Config(retries={"max_attempts": 0}))
called = set()
ec2.meta.events.register("before-call.ec2", lambda model, **_: called.add(model.name))


def fault(code, call, **params):
    try:
        call(**params)
    except ClientError as e:
        assert e.response["Error"]["Code"] == code, e
        assert len(e.response["ResponseMetadata"]["RequestId"]) == 36, e.response
    else:
        raise AssertionError(f"no {code} for {params}")


def wait(name, **params):
    ec2.get_waiter(name).wait(WaiterConfig={"Delay": 1, "MaxAttempts": 3}, **params)


def is_time(t):
    return isinstance(t, datetime.datetime) and t.utcoffset() == datetime.timedelta(0) and abs(datetime.datetime.now(datetime.timezone.utc) - t).seconds < 600


# Places and types.
region = ec2.describe_regions()["Regions"][0]
assert region["RegionName"] == "test-1", region
zones = ec2.describe_availability_zones()["AvailabilityZones"]
assert [(z["ZoneName"], z["State"], z["Messages"]) for z in zones] == [("test-1a", "available", []), ("test-1b", "available", [])], zones
attributes = {a["AttributeName"]: [v["AttributeValue"] for v in a["AttributeValues"]] for a in ec2.describe_account_attributes()["AccountAttributes"]}
assert attributes["supported-platforms"] == ["VPC"], attributes
micro = ec2.describe_instance_types(InstanceTypes=["t3.micro"])["InstanceTypes"][0]
assert micro["VCpuInfo"]["DefaultVCpus"] == 2 and micro["MemoryInfo"]["SizeInMiB"] == 1024 and micro["BurstablePerformanceSupported"] is True, micro
pages = list(ec2.get_paginator("describe_instance_types").paginate(PaginationConfig={"PageSize": 50}))
names = [t["InstanceType"] for p in pages for t in p["InstanceTypes"]]
assert len(pages) > 1 and len(names) == len(set(names)) and names == sorted(names), names
offers = ec2.describe_instance_type_offerings(LocationType="availability-zone", Filters=[{"Name": "instance-type", "Values": ["t3.micro"]}])["InstanceTypeOfferings"]
assert [o["Location"] for o in offers] == ["test-1a", "test-1b"], offers

# The network there is.
vpc = ec2.describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"][0]
assert vpc["VpcId"] == attributes["default-vpc"][0] and vpc["IsDefault"] is True and vpc["OwnerId"] == account, vpc
of_vpc = [{"Name": "vpc-id", "Values": [vpc["VpcId"]]}]
assert ec2.describe_vpc_attribute(VpcId=vpc["VpcId"], Attribute="enableDnsSupport")["EnableDnsSupport"] == {"Value": True}
assert ec2.describe_vpc_classic_link(VpcIds=[vpc["VpcId"]])["Vpcs"][0]["ClassicLinkEnabled"] is False
subnet = ec2.describe_subnets(Filters=of_vpc + [{"Name": "availability-zone", "Values": ["test-1a"]}])["Subnets"][0]
assert subnet["AvailableIpAddressCount"] == 4091 and subnet["MapPublicIpOnLaunch"] is True, subnet
assert ec2.describe_route_tables(Filters=of_vpc)["RouteTables"][0]["Routes"][0]["State"] == "active"
assert ec2.describe_internet_gateways()["InternetGateways"][0]["Attachments"][0]["VpcId"] == vpc["VpcId"]
assert {e["RuleNumber"] for e in ec2.describe_network_acls(Filters=of_vpc)["NetworkAcls"][0]["Entries"]} == {100, 32767}
assert ec2.describe_dhcp_options(DhcpOptionsIds=[vpc["DhcpOptionsId"]])["DhcpOptions"][0]["DhcpConfigurations"]

# Security groups and their rules.
group = ec2.create_security_group(GroupName="web", Description="web servers", VpcId=vpc["VpcId"])["GroupId"]
wait("security_group_exists", GroupIds=[group])
ssh = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "0.0.0.0/0", "Description": "ssh"}]}
ping = {"IpProtocol": "icmp", "FromPort": -1, "ToPort": -1, "IpRanges": [{"CidrIp": "10.0.0.0/8"}]}
rule = ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[ssh])["SecurityGroupRules"][0]
assert rule["FromPort"] == 22 and rule["IsEgress"] is False and rule["SecurityGroupRuleId"].startswith("sgr-"), rule
assert ec2.authorize_security_group_egress(GroupId=group, IpPermissions=[ping])["Return"] is True
fault("InvalidPermission.Duplicate", ec2.authorize_security_group_ingress, GroupId=group, IpPermissions=[ssh])
ssh["IpRanges"][0]["Description"] = "from all"
assert ec2.update_security_group_rule_descriptions_ingress(GroupId=group, IpPermissions=[ssh])["Return"] is True
ping["IpRanges"][0]["Description"] = "ping"
assert ec2.update_security_group_rule_descriptions_egress(GroupId=group, IpPermissions=[ping])["Return"] is True
changed = {"IpProtocol": "tcp", "FromPort": 2222, "ToPort": 2222, "CidrIpv4": "0.0.0.0/0"}
ec2.modify_security_group_rules(GroupId=group, SecurityGroupRules=[{"SecurityGroupRuleId": rule["SecurityGroupRuleId"], "SecurityGroupRule": changed}])
rules = ec2.describe_security_group_rules(Filters=[{"Name": "group-id", "Values": [group]}])["SecurityGroupRules"]
assert sorted(r["FromPort"] for r in rules) == [-1, -1, 2222], rules
ec2.revoke_security_group_ingress(GroupId=group, SecurityGroupRuleIds=[rule["SecurityGroupRuleId"]])
ec2.revoke_security_group_egress(GroupId=group, IpPermissions=[ping])
fault("InvalidPermission.NotFound", ec2.revoke_security_group_egress, GroupId=group, IpPermissions=[ping])
described = ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"][0]
assert described["Description"] == "web servers" and described["IpPermissions"] == [] and len(described["IpPermissionsEgress"]) == 1, described

# Keys.
key = ec2.create_key_pair(KeyName="mine")
assert key["KeyMaterial"].startswith("-----BEGIN") and key["KeyPairId"].startswith("key-"), key["KeyPairId"]
wait("key_pair_exists", KeyNames=["mine"])
public = b"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAhvrfiaIWsvLTKFNUzQ+1NWaBQoa6TTw+xX/0/kPDW4 me@host"
ec2.import_key_pair(KeyName="theirs", PublicKeyMaterial=public)
assert {k["KeyName"]: is_time(k["CreateTime"]) for k in ec2.describe_key_pairs()["KeyPairs"]} == {"mine": True, "theirs": True}
ec2.delete_key_pair(KeyName="theirs")
fault("InvalidKeyPair.NotFound", ec2.describe_key_pairs, KeyNames=["theirs"])

# An image of a snapshot.
snap = ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"][0]
assert snap["SnapshotId"] == snapshot and snap["VolumeSize"] == 2 and is_time(snap["StartTime"]), snap
wait("snapshot_completed", SnapshotIds=[snapshot])
mapping = [{"DeviceName": "/dev/xvda", "Ebs": {"SnapshotId": snapshot}}, {"DeviceName": "/dev/xvdb", "Ebs": {"VolumeSize": 1, "DeleteOnTermination": False}}]
ami = ec2.register_image(Name="web", RootDeviceName="/dev/xvda", BlockDeviceMappings=mapping)["ImageId"]
wait("image_available", ImageIds=[ami])
ec2.modify_image_attribute(ImageId=ami, LaunchPermission={"Add": [{"Group": "all"}]})
assert ec2.describe_image_attribute(ImageId=ami, Attribute="launchPermission")["LaunchPermissions"] == [{"Group": "all"}]
described = ec2.describe_images(ImageIds=[ami])["Images"][0]
assert described["Public"] is True and [m["Ebs"]["VolumeSize"] for m in described["BlockDeviceMappings"]] == [2, 1], described
assert described["CreationDate"].endswith("Z"), described

# A launch: checked first, then done; an image's device left out by NoDevice="".
tags = [{"Key": "Name", "Value": "é<&>"}, {"Key": "empty", "Value": ""}]
launch = {
    "ImageId": ami, "MinCount": 1, "MaxCount": 2, "InstanceType": "t3.nano", "KeyName": "mine", "SecurityGroupIds": [group], "SubnetId": subnet["SubnetId"],
    "UserData": "#!/bin/sh\n", "MetadataOptions": {"HttpTokens": "required"}, "CreditSpecification": {"CpuCredits": "standard"},
    "TagSpecifications": [{"ResourceType": "instance", "Tags": tags}],
}
fault("DryRunOperation", ec2.run_instances, DryRun=True, **launch)
run = ec2.run_instances(**launch)
assert run["OwnerId"] == account and [i["State"] for i in run["Instances"]] == [{"Code": 0, "Name": "pending"}] * 2, run
ids = [i["InstanceId"] for i in run["Instances"]]
one, two = ids
again = ec2.run_instances(ClientToken=run["Instances"][0]["ClientToken"], **launch)
assert again["ReservationId"] == run["ReservationId"] and [i["InstanceId"] for i in again["Instances"]] == ids, again
lean = [{"DeviceName": "/dev/xvdb", "NoDevice": ""}]
third = ec2.run_instances(ImageId=ami, MinCount=1, MaxCount=1, InstanceType="t2.nano", BlockDeviceMappings=lean)["Instances"][0]
assert [m["DeviceName"] for m in third["BlockDeviceMappings"]] == ["/dev/xvda"], third
wait("instance_exists", InstanceIds=ids)
wait("instance_running", InstanceIds=ids)
wait("instance_status_ok", InstanceIds=ids)
wait("system_status_ok", InstanceIds=ids)
described = ec2.describe_instances(InstanceIds=[one])["Reservations"][0]["Instances"][0]
assert described["State"] == {"Code": 16, "Name": "running"} and is_time(described["LaunchTime"]) and described["Tags"] == tags, described
assert described["PublicIpAddress"].startswith("198.18.0.") and described["SecurityGroups"] == [{"GroupId": group, "GroupName": "web"}], described
assert described["MetadataOptions"]["HttpTokens"] == "required" and described["MetadataOptions"]["HttpPutResponseHopLimit"] == 1, described
nic = described["NetworkInterfaces"][0]
assert nic["Attachment"]["DeviceIndex"] == 0 and is_time(nic["Attachment"]["AttachTime"]), nic
for _ in range(3):
    ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1, InstanceType="t2.nano")
pages = [p["Reservations"] for p in ec2.get_paginator("describe_instances").paginate(PaginationConfig={"PageSize": 5})]
assert [sum(len(r["Instances"]) for r in p) for p in pages] == [5, 1], pages
status = ec2.describe_instance_status(InstanceIds=[one])["InstanceStatuses"][0]
assert status["InstanceStatus"]["Status"] == "ok" and status["InstanceState"]["Code"] == 16, status

# Its options.
def attribute(name):
    return ec2.describe_instance_attribute(InstanceId=one, Attribute=name)


def credit():
    return ec2.describe_instance_credit_specifications(InstanceIds=[one])["InstanceCreditSpecifications"]


assert base64.b64decode(attribute("userData")["UserData"]["Value"]) == b"#!/bin/sh\n"
assert attribute("disableApiStop")["DisableApiStop"] == {"Value": False}
assert [g["GroupId"] for g in attribute("groupSet")["Groups"]] == [group]
assert "Groups" not in attribute("productCodes"), attribute("productCodes")
assert credit() == [{"InstanceId": one, "CpuCredits": "standard"}], credit()
changed = ec2.modify_instance_credit_specification(InstanceCreditSpecifications=[{"InstanceId": one, "CpuCredits": "unlimited"}, {"InstanceId": "i-0123456789abcdef0", "CpuCredits": "standard"}])
assert changed["SuccessfulInstanceCreditSpecifications"] == [{"InstanceId": one}], changed
assert changed["UnsuccessfulInstanceCreditSpecifications"][0]["Error"]["Code"] == "InvalidInstanceID.NotFound", changed
assert credit()[0]["CpuCredits"] == "unlimited", credit()
assert ec2.modify_instance_metadata_options(InstanceId=one, HttpEndpoint="disabled")["InstanceMetadataOptions"]["HttpTokens"] == "required"
assert ec2.modify_instance_maintenance_options(InstanceId=one, AutoRecovery="disabled")["AutoRecovery"] == "disabled"
assert ec2.monitor_instances(InstanceIds=[one])["InstanceMonitorings"] == [{"InstanceId": one, "Monitoring": {"State": "enabled"}}]
assert ec2.unmonitor_instances(InstanceIds=[one])["InstanceMonitorings"][0]["Monitoring"] == {"State": "disabled"}
console = ec2.get_console_output(InstanceId=one)
assert console["Output"] == "login: é<&>" and is_time(console["Timestamp"]), console
assert ec2.get_password_data(InstanceId=one)["PasswordData"] == ""

# Its tags and its interface.
ec2.create_tags(Resources=[one, ami], Tags=[{"Key": "team", "Value": "blue"}])
ec2.delete_tags(Resources=[one], Tags=[{"Key": "empty"}])
found = ec2.describe_tags(Filters=[{"Name": "resource-id", "Values": [one]}])["Tags"]
assert {(t["ResourceType"], t["Key"], t["Value"]) for t in found} == {("instance", "Name", "é<&>"), ("instance", "team", "blue")}, found
ec2.modify_network_interface_attribute(NetworkInterfaceId=nic["NetworkInterfaceId"], SourceDestCheck={"Value": False})
described = ec2.describe_network_interfaces(NetworkInterfaceIds=[nic["NetworkInterfaceId"]])["NetworkInterfaces"][0]
assert described["SourceDestCheck"] is False and described["Attachment"]["InstanceId"] == one, described
fault("DependencyViolation", ec2.delete_security_group, GroupId=group)

# An Elastic IP.
address = ec2.allocate_address(Domain="vpc")
association = ec2.associate_address(AllocationId=address["AllocationId"], InstanceId=one)["AssociationId"]
described = ec2.describe_addresses(AllocationIds=[address["AllocationId"]])["Addresses"][0]
attribute = ec2.describe_addresses_attribute(AllocationIds=[address["AllocationId"]], Attribute="domain-name")["Addresses"]
assert attribute == [{"PublicIp": address["PublicIp"], "AllocationId": address["AllocationId"]}], attribute
assert described["InstanceId"] == one and described["AssociationId"] == association, described
ec2.disassociate_address(AssociationId=association)
ec2.release_address(AllocationId=address["AllocationId"])
fault("InvalidAllocationID.NotFound", ec2.release_address, AllocationId=address["AllocationId"])

# Its life.
ec2.reboot_instances(InstanceIds=[one])
stopping = ec2.stop_instances(InstanceIds=[one])["StoppingInstances"][0]
assert stopping["PreviousState"]["Name"] == "running" and stopping["CurrentState"]["Name"] == "stopping", stopping
wait("instance_stopped", InstanceIds=[one])
ec2.modify_instance_attribute(InstanceId=one, InstanceType={"Value": "t3.micro"})
fault("IncorrectInstanceState", ec2.modify_instance_attribute, InstanceId=two, InstanceType={"Value": "t3.micro"})
assert ec2.start_instances(InstanceIds=[one])["StartingInstances"][0]["CurrentState"] == {"Code": 0, "Name": "pending"}
wait("instance_running", InstanceIds=[one])
of_one = [{"Name": "attachment.instance-id", "Values": [one]}]
volumes = {v["Attachments"][0]["Device"]: v for p in ec2.get_paginator("describe_volumes").paginate(Filters=of_one) for v in p["Volumes"]}
assert volumes["/dev/xvda"]["SnapshotId"] == snapshot and volumes["/dev/xvdb"]["SnapshotId"] == "", volumes
assert all(v["MultiAttachEnabled"] is False and is_time(v["CreateTime"]) for v in volumes.values()), volumes
wait("volume_in_use", VolumeIds=[v["VolumeId"] for v in volumes.values()])
assert [i["CurrentState"]["Name"] for i in ec2.terminate_instances(InstanceIds=ids)["TerminatingInstances"]] == ["shutting-down"] * 2
wait("instance_terminated", InstanceIds=ids)
wait("volume_deleted", VolumeIds=[volumes["/dev/xvda"]["VolumeId"]])
wait("volume_available", VolumeIds=[volumes["/dev/xvdb"]["VolumeId"]])
ec2.delete_security_group(GroupId=group)
ec2.deregister_image(ImageId=ami)
fault("InvalidAMIID.NotFound", ec2.describe_images, ImageIds=[ami])

assert called == served, f"never called: {served - called}"
