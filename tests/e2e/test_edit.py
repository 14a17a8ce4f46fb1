"""Changing lists and draft campaigns: PATCH, and If-Match against overwriting one another."""
import pytest

from conftest import emails, run_to_end
from test_api import GOOD, is_problem


@pytest.fixture
def server(place):
    server = place.server(place.sink())
    place.people(server, emails(3, ["one.test"]))
    return server


def patch(server, path, data, **headers):
    return server.api.call("PATCH", path, data, headers={name.replace("_", "-"): value for name, value in headers.items()})


@pytest.mark.sanitize
def test_a_list_is_changed_only_from_what_was_read(server):
    first = server.api.get("/v1/lists/1")
    tag = first.headers["ETag"]
    assert tag.startswith('"') and server.api.get("/v1/lists/1").headers["ETag"] == tag
    changed = patch(server, "/v1/lists/1", {"description": "weekly"}, If_Match=tag)
    assert changed.status == 200 and changed.json["name"] == "news" and changed.json["description"] == "weekly"
    new = changed.headers["ETag"]
    assert new != tag
    is_problem(patch(server, "/v1/lists/1", {"description": "lost"}, If_Match=tag), 412)
    assert server.api.get("/v1/lists/1").json["description"] == "weekly"
    assert patch(server, "/v1/lists/1", {"name": "weekly"}, If_Match='"other", ' + new).status == 200
    assert patch(server, "/v1/lists/1", {"name": "news"}, If_Match="*").status == 200
    for wrong in ("W/" + server.api.get("/v1/lists/1").headers["ETag"], "nonsense", '"', '""'):
        is_problem(patch(server, "/v1/lists/1", {"name": "x"}, If_Match=wrong), 412)
    is_problem(patch(server, "/v1/lists/99", {"name": "x"}, If_Match="*"), 404)
    is_problem(server.api.call("DELETE", "/v1/lists/1", headers={"If-Match": tag + "x"}), 412)


def test_members_do_not_change_the_version_of_a_list(server, place):
    tag = server.api.get("/v1/lists/1").headers["ETag"]
    assert server.api.post("/v1/lists/1/recipients", {"email": "new@one.test"}).status == 200
    assert server.api.get("/v1/lists/1").json["active"] == 4
    assert server.api.get("/v1/lists/1").headers["ETag"] == tag


@pytest.mark.sanitize
def test_a_draft_is_changed_field_by_field(server):
    spec = {**GOOD, "html": "<p>h</p>", "headers": {"X-One": "1", "X-Two": "2"}, "metadata": {"a": "1"}}
    made = server.api.post("/v1/campaigns", spec)
    assert made.status == 201, made
    path, tag = "/v1/campaigns/%d" % made.json["id"], made.headers["ETag"]
    assert server.api.get(path).headers["ETag"] == tag
    change = {"subject": "new", "html": None, "from": {"name": "Other"}, "headers": {"X-One": None, "X-Three": "3"}, "name": "d"}
    answer = patch(server, path, change, If_Match=tag)
    assert answer.status == 200, answer
    content = answer.json["content"]
    assert content["subject"] == "new" and "html" not in content and content["text"] == "t"
    assert content["from"] == {"email": "news@sender.test", "name": "Other"}
    assert content["headers"] == {"X-Two": "2", "X-Three": "3"} and content["metadata"] == {"a": "1"}
    assert answer.json["name"] == "d" and answer.headers["ETag"] != tag
    is_problem(patch(server, path, {"subject": "lost"}, If_Match=tag), 412)
    is_problem(server.api.post(path + "/launch", headers={"If-Match": tag}), 412)
    is_problem(server.api.call("DELETE", path, headers={"If-Match": tag}), 412)
    assert server.api.get(path).json["content"] == content


@pytest.mark.parametrize("change, field", [({"colour": "red"}, "colour"), ({"lists": ["nobody"]}, "lists[0]"), ({"lists": []}, "lists"), ({"name": ""}, "name"),
                                           ({"from": None}, "from"), ({"text": None}, "html"), ({"launch": True}, "launch"),
                                           ({"text": "{{#open}}"}, "text"), ({"from": {"email": "x"}}, "from.email")])
def test_a_change_is_checked_like_a_new_campaign(server, change, field):
    made = server.api.post("/v1/campaigns", GOOD)
    path = "/v1/campaigns/%d" % made.json["id"]
    answer = patch(server, path, change)
    is_problem(answer, 422)
    assert field in answer.fields(), answer
    assert server.api.get(path).headers["ETag"] == made.headers["ETag"], "nothing half done"


@pytest.mark.sanitize
def test_the_lists_of_a_draft_can_be_changed(server, place):
    place.people(server, emails(2, ["two.test"]), list_name="others")
    made = server.api.post("/v1/campaigns", GOOD).json
    path = "/v1/campaigns/%d" % made["id"]
    answer = patch(server, path, {"lists": ["others"], "exclude_lists": ["news"]})
    assert answer.status == 200 and answer.json["lists"] == [2] and answer.json["exclude_lists"] == [1]
    assert server.api.post(path + "/launch", headers={"If-Match": answer.headers["ETag"]}).status == 202
    assert run_to_end(server, made["id"])["audience"] == 2
    is_problem(patch(server, path, {"subject": "late"}), 409)
    is_problem(patch(server, "/v1/campaigns/99", {"subject": "late"}), 404)
