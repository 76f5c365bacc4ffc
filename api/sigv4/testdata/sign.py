# Signs requests with botocore's signers and sends them to the server named on
# the command line; prints "name TAB status body" for each.
import http.client
import sys
from urllib.parse import quote, urlencode, urlsplit

from botocore.auth import SigV2Auth, SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

base = sys.argv[1]
creds = {
    "key": Credentials("AKIAONE", "s3cr+t/é"),
    "token": Credentials("ASIATEMP", "temporary", "to/ken+=="),
}
forms = {
    "plain": {"Action": "DescribeInstances", "Version": "2016-11-15"},
    "odd": {"Action": "CreateTags", "Tag.1.Value": "é <&>;+%~*'() /=", "Tag.1.Key": "", "b": "", "a-b": "x", "a.b": "y"},
}
signers = {
    "v4": lambda c: SigV4Auth(c, "ec2", "us-east-1"),
    "v4 any scope": lambda c: SigV4Auth(c, "undefined-42", "0"),
    "presigned": lambda c: SigV4QueryAuth(c, "ec2", "us-east-1", expires=60),
    "v2": lambda c: SigV2Auth(c),
}
for sname, signer in signers.items():
    for cname, cred in creds.items():
        for fname, form in forms.items():
            for method, path in (("POST", "/"), ("POST", "/services/compute/"), ("GET", "/")):
                url = base + path
                if method == "POST":
                    req = AWSRequest(method, url, data=dict(form))
                    if sname == "presigned":  # botocore moves the form into the query
                        req = AWSRequest("POST", url, params=dict(form), data="")
                elif sname == "v2":
                    req = AWSRequest(method, url, params=dict(form))
                else:
                    req = AWSRequest(method, url + "?" + urlencode(form, quote_via=quote))
                if method == "POST" and sname != "presigned":
                    req.headers["Content-Type"] = "application/x-www-form-urlencoded; charset=utf-8"
                signer(cred).add_auth(req)
                if sname == "v2" and method == "POST":
                    req.data = req.data if req.data else req.params
                p = req.prepare()
                u = urlsplit(p.url)
                target = (u.path or "/") + ("?" + u.query if u.query else "")
                conn = http.client.HTTPConnection(u.netloc)
                body = p.body if p.body else None
                if isinstance(body, str):
                    body = body.encode()
                conn.request(method, target, body=body, headers={k: (v.decode() if isinstance(v, bytes) else v) for k, v in p.headers.items()})
                r = conn.getresponse()
                print("%s %s %s %s %s\t%d %s" % (sname, cname, fname, method, path, r.status, r.read().decode().strip()))
                conn.close()
