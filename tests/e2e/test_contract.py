"""openapi.json is the truth: every call in it answers so, with these fields, types and statuses, and nothing else is served.

Each answer of this test's server is checked against the document: its status is listed, its type is listed, its body has exactly the
properties of the schema. At the end every status that the document lists for a call must have been seen, but for those in NOT_PROVOKED.
"""
import copy
import http.client
import json
import re

import dns.message
import dns.rcode
import jsonschema
import pytest

import dnslib
from conftest import ROOT, emails, run_to_end
from harness import Api, wait_until
from streamlib import Listener
from test_api import GOOD

METHODS = ("get", "post", "patch", "delete")
# 503 needs a failing disk, 429 is seen below on a server of its own.
NOT_PROVOKED = {"503", "429", "507"}
# These have no 409 but that of a second request under an Idempotency-Key whose first one still runs: test_idempotency.py.
ONLY_RUNNING_409 = {"/v1/campaigns", "/v1/messages", "/v1/lists/{id}/recipients", "/v1/lists/{id}/imports", "/v1/campaigns/{id}/clone", "/v1/campaigns/{id}/test", "/v1/suppressions",
                    "/v1/domains/{domain}/rotate", "/v1/link-keys", "/v1/webhooks/{id}/replay", "/v1/suspensions"}  # the last: or of the 10,001st suspension; link-keys: or of the 33rd


def flat(schema, known):
    """The same schema with each allOf made one object."""
    if isinstance(schema, list):
        return [flat(entry, known) for entry in schema]
    if not isinstance(schema, dict):
        return schema
    if "allOf" not in schema:
        return {name: flat(value, known) for name, value in schema.items()}
    out = {"type": "object", "properties": {}}
    for part in schema["allOf"]:
        part = flat(known[part["$ref"].rpartition("/")[2]] if "$ref" in part else part, known)
        out["properties"].update(part["properties"])
    return out


def closed(schema):
    """The same schema, in which every property that is described must be there and no other may be."""
    if isinstance(schema, list):
        return [closed(entry) for entry in schema]
    if not isinstance(schema, dict):
        return schema
    out = {name: closed(value) if name != "required" else value for name, value in schema.items()}
    if schema.get("properties"):
        out.setdefault("additionalProperties", False)
        if not schema.get("required"):
            out["required"] = list(schema["properties"])
    return out


class Contract:
    def __init__(self, server):
        self.server = server
        self.document = json.loads((ROOT / "api" / "openapi.json").read_text())
        self.strict = closed(flat(copy.deepcopy(self.document), self.document["components"]["schemas"]))
        self.seen = set()

    def operations(self):
        for path, item in self.document["paths"].items():
            for method in METHODS:
                if method in item:
                    yield method, path, item[method]

    def check(self, method, path, answer):
        """The answer is one that the document describes."""
        where = "%s %s -> %d" % (method.upper(), path, answer.status)
        described = self.document["paths"][path][method]["responses"]
        assert str(answer.status) in described, "%s is not in the document: %r" % (where, answer)
        self.seen.add((method, path, str(answer.status)))
        content = described[str(answer.status)].get("content")
        kind = (answer.headers["Content-Type"] or "").split(";")[0]
        if content is None:
            assert answer.body == b"" and kind == "", where
            return answer
        assert kind in content, "%s: %s" % (where, kind)
        for name in described[str(answer.status)].get("headers", {}):
            assert name in answer.headers or name == "Idempotent-Replayed", "%s lacks %s" % (where, name)
        if "json" in kind:
            schema = self.strict["paths"][path][method]["responses"][str(answer.status)]["content"][kind].get("schema", {})
            try:
                jsonschema.validate(answer.json, {**schema, "components": self.strict["components"]},
                                    cls=jsonschema.Draft202012Validator)
            except jsonschema.ValidationError as fault:
                raise AssertionError("%s: %s at %s" % (where, fault.message, list(fault.absolute_path))) from None
        return answer

    def fits(self, name, value):
        """The value is one of the document's schema."""
        jsonschema.validate(value, {**self.strict["components"]["schemas"][name], "components": self.strict["components"]},
                            cls=jsonschema.Draft202012Validator)

    def call(self, status, method, path, *values, data=None, query="", **more):
        """One call; `values` fill the parameters of the path."""
        values = list(values)
        real = re.sub(r"\{[^}]*\}", lambda _: str(values.pop(0)), path)
        answer = self.check(method, path, self.server.api.call(method.upper(), real + query, data, **more))
        assert answer.status == status, "%s %s: %r" % (method, real, answer)
        return answer


def knows_nothing(wire, tcp):
    """A name server for which no name exists."""
    reply = dns.message.make_response(dns.message.from_wire(wire))
    reply.set_rcode(dns.rcode.NXDOMAIN)
    return reply.to_wire()


@pytest.fixture
def contract(place, request):
    sink = place.sink(script={"rules": [{"command": "RCPT", "domain": "bad.test", "reply": "550 5.1.1 nobody"}]})
    nobody = dnslib.Fake(knows_nothing).start()
    request.addfinalizer(nobody.stop)
    server = place.server(sink, config='dns { server = "%s" }\n' % nobody.server)
    place.people(server, emails(30, ["one.test", "two.test", "bad.test"]))
    return Contract(server)


def sample(path):
    return re.sub(r"\{[^}]*\}", lambda name: "1" if name.group() in ("{id}", "{test}") else "x@one.test", path)


def lists(contract):
    call, path = contract.call, "/v1/lists/{id}"
    made = call(201, "post", "/v1/lists", data={"name": "second"})
    number, tag = made.json["id"], made.headers["ETag"]
    call(409, "post", "/v1/lists", data={"name": "second"})
    call(200, "get", "/v1/lists")
    call(200, "get", "/v1/lists", query="?name=second&limit=1")
    call(200, "get", path, number)
    call(200, "patch", path, number, data={"description": "d"})
    call(409, "patch", path, number, data={"name": "news"})
    for method in ("patch", "delete"):
        call(412, method, path, number, headers={"If-Match": tag}, data={"name": "y"} if method == "patch" else None)
    people = path + "/recipients"
    call(200, "post", people, number, data=[{"email": "a@two.test", "attributes": {"n": 1}}, {"email": "b@two.test"}])
    call(200, "post", people, number, data={"email": "c@two.test"}, query="?mode=skip")
    call(200, "get", people, number, query="?limit=2")
    call(204, "delete", people + "/{email}", number, "a@two.test")
    csv = {"body": b"email\nd@two.test\nbroken\n", "headers": {"Content-Type": "text/csv"}}
    job = call(202, "post", path + "/imports", number, **csv).json["id"]
    wait_until(lambda: call(200, "get", "/v1/imports/{id}", job).json["state"] == "finished", 20, "the import")
    call(200, "get", "/v1/imports/{id}/rejects", job)
    call(400, "post", path + "/imports", number, headers={"Content-Type": "text/csv"})
    call(415, "post", path + "/imports", number, body=b"x", headers={"Content-Type": "text/plain"})
    call(422, "post", path + "/imports", number, query="?mode=x", **csv)
    rows = b"email\n" + b"".join(b"p%d@six.test\n" % n for n in range(400_000))
    job = call(202, "post", path + "/imports", number, body=rows, headers={"Content-Type": "text/csv"}).json["id"]
    call(409, "get", "/v1/imports/{id}/rejects", job)
    wait_until(lambda: call(200, "get", "/v1/imports/{id}", job).json["state"] == "finished", 60, "the import")
    call(204, "delete", path, number)


def campaigns(contract):
    call, path = contract.call, "/v1/campaigns/{id}"
    made = call(201, "post", "/v1/campaigns", data={**GOOD, "html": "<p>{{name}}</p>", "schedule_at": None, "metadata": {"k": "v"}})
    number, tag = made.json["id"], made.headers["ETag"]
    call(200, "patch", path, number, data={"subject": "new"})
    call(412, "patch", path, number, data={"subject": "x"}, headers={"If-Match": tag})
    call(412, "post", path + "/launch", number, headers={"If-Match": tag})
    call(412, "delete", path, number, headers={"If-Match": tag})
    call(409, "post", path + "/pause", number)
    call(409, "post", path + "/resume", number)
    copy_of = call(201, "post", path + "/clone", number).json["id"]
    call(204, "delete", path, copy_of)
    call(200, "get", path + "/preview", number)
    call(422, "get", path + "/preview", number, query="?recipient=nobody@one.test")
    call(202, "post", path + "/launch", number)
    call(202, "post", path + "/pause", number)
    call(409, "delete", "/v1/lists/{id}", 1)
    call(202, "post", path + "/resume", number)
    run_to_end(contract.server, number)
    for method, end in (("patch", ""), ("delete", ""), ("post", "/launch"), ("post", "/pause"), ("post", "/resume"), ("post", "/cancel")):
        call(409, method, path + end, number, data={"subject": "x"} if method == "patch" else None)
    test = call(202, "post", path + "/test", number, data={"recipients": ["me@one.test"]}).json["id"]
    call(422, "post", path + "/test", number, data={"recipients": []})
    call(200, "get", path + "/test/{test}", number, test)
    call(404, "get", path + "/test/{test}", number, 999)
    split = call(201, "post", "/v1/campaigns", data={**GOOD, "ab": {"share": 50, "variants": [{}, {"subject": "b"}], "winner": "manual"}}).json["id"]
    call(409, "post", path + "/winner", split, data={"variant": 0})
    call(200, "get", path + "/variants", split)
    call(202, "post", path + "/launch", split)
    call(202, "post", path + "/winner", split, data={"variant": 1})
    run_to_end(contract.server, split)
    other = call(201, "post", "/v1/campaigns", data={**GOOD, "schedule_at": "2099-01-01T00:00:00Z", "launch": True}).json["id"]
    call(202, "post", path + "/cancel", other)
    for query in ("", "?status=finished,cancelled&limit=1"):
        call(200, "get", "/v1/campaigns", query=query)
    call(200, "get", path, number)
    for end in ("/stats", "/deliveries", "/timeseries", "/sites", "/replies", "/links"):
        call(200, "get", path + end, number)
    call(200, "get", path + "/deliveries", number, query="?state=bounced&domain=bad.test&limit=3")
    for person in ("person0@one.test", "person2@bad.test"):
        call(200, "get", "/v1/recipients/{email}", person)
    foreign = call(201, "post", "/v1/campaigns", data={**GOOD, "from": {"email": "x@nokey.test"}}).json["id"]
    call(422, "post", path + "/launch", foreign)


def snippets(contract):
    call, path = contract.call, "/v1/snippets/{name}"
    call(201, "post", "/v1/snippets", data={"name": "foot", "text": "{{name}}"})
    call(409, "post", "/v1/snippets", data={"name": "foot", "text": "x"})
    call(200, "get", "/v1/snippets")
    call(200, "get", path, "foot")
    call(200, "patch", path, "foot", data={"text": "new"})
    call(204, "delete", path, "foot")


def messages(contract):
    call = contract.call
    for to in ("m@one.test", "m@bad.test"):
        message = call(202, "post", "/v1/messages", data={"to": to, "from": {"email": "a@sender.test"}, "subject": "s", "text": "t"}).json["id"]
        wait_until(lambda: call(200, "get", "/v1/messages/{id}", message).json["history"], 20, "its outcome")
    call(200, "get", "/v1/messages", query="?state=bounced&to=m@bad.test&limit=1")
    call(200, "get", "/v1/messages/stats")
    call(200, "get", "/v1/recipients/{email}", "m@one.test")


def tracking(contract):
    spec = {**GOOD, "html": '<a href="https://one.test/">x</a> {{view_url}} {{preferences_url}}', "track": {"opens": True, "clicks": True}}
    number = contract.call(201, "post", "/v1/campaigns", data={**spec, "launch": True}).json["id"]
    run_to_end(contract.server, number)
    contract.call(200, "get", "/v1/campaigns/{id}/links", number)
    html = contract.server.api.get("/v1/campaigns/%d/preview" % number).json["html"]
    for kind, status in (("c", 302), ("o", 200), ("v", 200), ("p", 200)):
        token = re.search(r"/%s/([a-z2-7]+)" % kind, html).group(1)
        contract.call(status, "get", "/%s/{token}" % kind, token)
        contract.call(404, "get", "/%s/{token}" % kind, "nonsense")
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    contract.call(200, "post", "/p/{token}", token, body=b"list=1&save=1", headers=form)
    contract.call(400, "post", "/p/{token}", token, body=b"list=1", headers=form)
    contract.call(404, "post", "/p/{token}", "nonsense", body=b"save=1", headers=form)


def others(contract):
    call = contract.call
    listener = Listener(contract.server, "?types=stats")
    wait_until(lambda: listener.of("stats"), 20, "statistics")
    contract.fits("ServerStats", listener.of("stats")[0])
    assert listener.answer.headers["Content-Type"].split(";")[0] == "text/event-stream"
    contract.seen.add(("get", "/v1/events", str(listener.status)))
    listener.close()
    for end in ("", "/sites", "/timeseries", "/queue"):
        call(200, "get", "/v1/stats" + end)
    call(200, "get", "/v1/stats/sites/{site}", "one.test")
    call(200, "get", "/v1/sources")
    held = call(201, "post", "/v1/suspensions", data={"domain": "held.test", "reason": "r"}).json["id"]
    call(200, "get", "/v1/suspensions")
    call(204, "delete", "/v1/suspensions/{id}", held)
    call(201, "post", "/v1/suppressions", data={"email": "s@two.test"})
    call(200, "post", "/v1/suppressions", data={"email": "s@two.test"})
    call(200, "get", "/v1/suppressions")
    call(200, "get", "/v1/suppressions/{email}", "s@two.test")
    call(204, "delete", "/v1/suppressions/{email}", "s@two.test")
    call(201, "post", "/v1/domains", data={"domain": "third.test"})
    call(409, "post", "/v1/domains", data={"domain": "third.test"})
    call(200, "get", "/v1/domains")
    call(200, "get", "/v1/domains/{domain}", "third.test")
    call(200, "get", "/v1/domains/{domain}/check", "third.test")
    call(404, "get", "/v1/domains/{domain}/check", "nobody.test")
    call(200, "post", "/v1/domains/{domain}/rotate", "third.test")
    call(404, "post", "/v1/domains/{domain}/rotate", "nobody.test")
    call(201, "post", "/v1/link-keys")
    call(200, "get", "/v1/link-keys")
    call(409, "delete", "/v1/link-keys/{id}", 0)
    call(422, "delete", "/v1/link-keys/{id}", 0, query="?force=no")
    call(404, "delete", "/v1/link-keys/{id}", 9)
    call(204, "delete", "/v1/link-keys/{id}", 0, query="?force=true")
    key = {"Idempotency-Key": "token"}
    number = call(201, "post", "/v1/tokens", data={"name": "t", "scope": "read"}, headers=key).json["id"]
    call(409, "post", "/v1/tokens", data={"name": "t", "scope": "read"}, headers=key)
    call(200, "get", "/v1/tokens")
    call(204, "delete", "/v1/tokens/{id}", number)
    number = call(201, "post", "/v1/webhooks", data={"url": "https://hook.test/", "events": ["guard.*"]}).json["id"]
    key = {"Idempotency-Key": "hook"}
    wish = {"url": "https://hook.test/"}
    call(201, "post", "/v1/webhooks", data=wish, headers=key)
    call(409, "post", "/v1/webhooks", data=wish, headers=key)
    hook = "/v1/webhooks/{id}"
    call(200, "get", "/v1/webhooks", query="?limit=1")
    call(200, "get", hook, number)
    call(200, "patch", hook, number, data={"enabled": False})
    call(200, "post", hook + "/rotate", number, headers={"Idempotency-Key": "rotate"})
    call(409, "post", hook + "/rotate", number, headers={"Idempotency-Key": "rotate"})
    call(202, "post", hook + "/replay", number, data={"from": "2026-01-01T00:00:00Z"})
    call(204, "delete", hook, number)
    assert call(200, "get", "/openapi.json").json == contract.document
    for path in ("/healthz", "/readyz", "/metrics", "/openapi.json", "/dashboard", "/dashboard/dashboard.js", "/dashboard/views.js", "/dashboard/operations.js", "/dashboard/dashboard.css",
                 "/dashboard/chart.js"):
        call(200, "get", path)
    call(302, "get", "/")


def unsubscribing(contract):
    message = contract.server.api.get("/v1/campaigns/2/preview?recipient=person0@one.test").json["message"]
    link = re.search(r"/u/([^>\s]+)>", message.replace("\r\n ", "")).group(1)
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    contract.call(200, "get", "/u/{token}", link)
    contract.call(200, "post", "/u/{token}", link, body=b"List-Unsubscribe=One-Click", headers=form)
    contract.call(400, "post", "/u/{token}", link, body=b"x=y", headers=form)
    contract.call(404, "get", "/u/{token}", "nonsense")
    contract.call(404, "post", "/u/{token}", "nonsense", body=b"List-Unsubscribe=One-Click", headers=form)


def refusals(contract):
    """What every call does with a caller or a body that is wrong."""
    server, scopes = contract.server, ["read", "send", "admin"]
    token = {scope: server.cli_json("token", "create", "--name", scope, "--scope", scope)["token"] for scope in scopes}
    for method, path, operation in list(contract.operations()):
        url, responses = sample(path), operation["responses"]

        def send(status, headers=None, url=url, **more):
            headers = {"Authorization": "Bearer " + token["admin"], **(headers or {})}
            answer = contract.check(method, path, server.api.call(method.upper(), url, headers=headers, **more))
            assert answer.status == status, (method, path, status, answer)

        scope = operation.get("x-scope")
        if not scope:
            continue
        body = operation.get("requestBody", {}).get("content", {})
        send(401, {"Authorization": ""})
        if scope != "read":
            send(403, {"Authorization": "Bearer " + token[scopes[scopes.index(scope) - 1]]})
        if "422" in responses:
            send(422, url=url + "?unknown=1")
        if "404" in responses:
            unknown = re.sub(r"\{[^}]*\}", lambda name: "999999" if name.group() in ("{id}", "{test}") else "nobody@nowhere.test", path)
            kind = "text/csv" if "text/csv" in body else "application/json"
            data = b"email\nx@y.test\n" if kind == "text/csv" else b"{}"
            data = b'{"email":"x@y.test"}' if path.endswith("recipients") else b'{"from":"2026-01-01T00:00:00Z"}' if path.endswith("replay") else data
            send(404, {"Content-Type": kind} if body else {}, url=unknown, body=data if body else None)
        if "application/json" in body:
            kind = {"Content-Type": "application/json"}
            send(400, kind, body=b"{")
            send(415, {"Content-Type": "text/plain"}, body=b"{}")
            send(422, kind, body=b'{"no_such_field":1}')
            if "413" in responses:
                send(413, kind, body=b" " * ((10 << 20) + 1))
        elif "413" in responses:
            huge = http.client.HTTPConnection(*server.api.address, timeout=20)
            huge.putrequest("POST", url)
            for name, value in (("Authorization", "Bearer " + token["admin"]), ("Content-Type", "text/csv"), ("Content-Length", str(1 << 40))):
                huge.putheader(name, value)
            huge.endheaders()
            assert huge.getresponse().status == 413
            huge.close()
            contract.seen.add((method, path, "413"))
        if "400" in responses and method == "post":
            send(400, {"Idempotency-Key": "x" * 300, "Content-Type": "text/csv" if "text/csv" in body else "application/json"},
                 body=b"{}" if "text/csv" not in body else b"email\n")


def test_the_document_is_the_truth(contract):
    contract.call(201, "post", "/v1/campaigns", data=GOOD)  # the draft and the webhook with which the refusals are made
    contract.call(201, "post", "/v1/webhooks", data={"url": "https://hook.test/", "events": ["guard.*"]})
    refusals(contract)
    lists(contract)
    campaigns(contract)
    others(contract)
    snippets(contract)
    messages(contract)
    tracking(contract)
    unsubscribing(contract)
    missing = sorted("%s %s %s" % (method.upper(), path, status) for method, path, operation in contract.operations() for status in operation["responses"]
                     if (method, path, status) not in contract.seen and status not in NOT_PROVOKED and
                     not (status == "409" and path in ONLY_RUNNING_409))
    assert not missing, "in the document, never seen: " + ", ".join(missing)


def test_nothing_else_is_served(contract):
    server, paths = contract.server, contract.document["paths"]
    for path, item in paths.items():
        allowed = {method.upper() for method in METHODS if method in item} | {"OPTIONS"}
        allowed |= {"HEAD"} if "get" in item else set()
        for method in ("GET", "POST", "PATCH", "DELETE", "PUT"):
            if method not in allowed:
                answer = server.api.call(method, sample(path))
                assert answer.status == 405 and set(answer.headers["Allow"].split(", ")) == allowed, (method, path, answer)
        for other in (sample(path) + "/more", sample(path) + "/", "/v2" + sample(path)):
            if other not in ("//",):
                assert server.api.get(other).status in (404, 405) or other[:-1] == "", other


def test_every_call_has_the_limit(place):
    server = place.server(domain=None, config='api_rate = "1/d"\n')
    contract = Contract(server)
    server.api.get("/v1/lists")
    for method, path, operation in contract.operations():
        answer = contract.check(method, path, server.api.call(method.upper(), sample(path)))
        assert answer.status == 429, (method, path, answer)
