# Calls the server named on the command line with boto3 and prints what comes back.
import sys
import urllib.request

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError


def client(**config):
    return boto3.client("ec2", endpoint_url=sys.argv[1], region_name="eucad-1", aws_access_key_id="AKIA",
                        aws_secret_access_key="secret", config=Config(retries={"max_attempts": 0}, **config))


ec2 = client()
tags = [{"Key": "empty", "Value": ""}, {"Key": "é<&>", "Value": "; +'\"\r\n%2B"}]
out = ec2.run_instances(ImageId="ami-1", MinCount=1, MaxCount=1, UserData="é" * 8192,
                        TagSpecifications=[{"ResourceType": "instance", "Tags": tags}])
print("run", out["OwnerId"], out["Instances"][0]["Tags"] == tags, out["Groups"])
for name, call in {
    "dry run": lambda: ec2.create_tags(DryRun=True, Resources=["i"], Tags=tags),
    "fault": lambda: ec2.describe_instances(),
    "unserved": lambda: ec2.create_vpc(CidrBlock="10.0.0.0/24"),
    "internal": lambda: ec2.stop_instances(InstanceIds=["i"]),
}.items():
    try:
        print(name, call())
    except ClientError as e:
        meta = e.response["ResponseMetadata"]
        print(name, meta["HTTPStatusCode"], len(meta["RequestId"]), e.response["Error"])
odd = [{"Name": "key", "Values": ["a b;c+*~/é"]}]
url = ec2.generate_presigned_url("describe_tags", Params={"Filters": odd}, HttpMethod="GET")
print("presigned", urllib.request.urlopen(url).status)
print("v2", client(signature_version="v2").describe_tags(Filters=odd)["ResponseMetadata"]["HTTPStatusCode"])
