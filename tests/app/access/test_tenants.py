"""Tenants: names, errors, jobs and counts of one are nothing to the others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import sqlalchemy as sa

from app.access.caller import Caller
from core.access import Rights, Role
from core.errors import RemoteUnavailable, StorageBusy, StorageCorrupt, StorageError, StorageFull
from core.records import Job, JobState
from core.storedreason import stored_reason
from store import schema
from tests.app.access.conftest import House
from tests.app.answers import error_of

TEXTS = [{"id": "a", "text": "A radio for the kitchen."}, {"id": "b", "text": "A console that plays games."}]


@pytest.fixture
def tenants(house: House) -> dict[str, str]:
    """Administrators' keys; both tenants have a collection `docs`, and acme has another one."""
    found = {tenant: house.key("admin", tenant=tenant) for tenant in ("acme", "Acme", "beta")}
    house.collection(found["acme"], "docs", TEXTS)
    house.collection(found["acme"], "plans")
    house.collection(found["beta"], "docs", TEXTS[:1])
    return found


def names(house: House, key: str) -> list[str]:
    return [found["name"] for found in house.ask(key, "GET", "/v1/collections").json()["collections"]]


def test_names_are_the_tenants_own(house: House, tenants: dict[str, str]) -> None:
    assert names(house, tenants["acme"]) == ["docs", "plans"]
    assert names(house, tenants["beta"]) == ["docs"]
    assert names(house, tenants["Acme"]) == []
    assert names(house, house.operator) == ["acme~docs", "acme~plans", "beta~docs"]
    assert house.ask(tenants["acme"], "GET", "/v1/collections/docs").json()["documents"] == 2
    assert house.ask(tenants["beta"], "GET", "/v1/collections/docs").json()["documents"] == 1
    for key in (tenants["acme"], house.operator):
        for name in ("acme~other", "a~b~c", "~docs", "docs~"):
            error = error_of(house.ask(key, "POST", "/v1/collections", json={"name": name}), 400)
            assert "characters A-Z" in error["message"]
    for name in ("beta~docs", "acme~docs", "~docs", "a~b~c", "*", "\udc80".encode("utf-8", "surrogatepass").hex()):
        assert house.ask(tenants["acme"], "GET", f"/v1/collections/{name}").status_code == 404


def test_errors_name_none_but_the_tenants_collections(house: House, tenants: dict[str, str]) -> None:
    said = {
        name: error_of(house.ask(tenants[name], "GET", "/v1/collections/planning"), 404)["message"] for name in tenants
    }
    assert said["acme"] == "there is no collection 'planning'; did you mean 'plans'?"
    assert said["beta"] == "there is no collection 'planning'; there is 'docs'"
    assert said["Acme"] == "there is no collection 'planning'; there are none yet"
    operators = error_of(house.ask(house.operator, "GET", "/v1/collections/plans"), 404)["message"]
    assert operators == "there is no collection 'plans'; there are none yet"
    twice = error_of(house.ask(tenants["acme"], "POST", "/v1/collections", json={"name": "docs"}), 409)
    assert twice["message"] == "there is already a collection 'docs'; choose another name"
    by_pattern = house.key("search", tenant="acme", collections=["pl*"])
    hidden, missing = (
        error_of(house.ask(by_pattern, "GET", f"/v1/collections/{name}"), 404)["message"]
        for name in ("docs", "planning")
    )
    assert (hidden, missing) == ("there is no collection 'docs'", "there is no collection 'planning'")
    odd = error_of(house.ask(by_pattern, "GET", "/v1/collections/pl; there is more"), 404)["message"]
    assert odd == "there is no collection 'pl; there is more'"


def test_answers_speak_of_the_tenants_names(house: House, tenants: dict[str, str]) -> None:
    acme, path = tenants["acme"], "/v1/collections/docs"
    search = house.ask(acme, "POST", f"{path}/search", json={"query": "radio", "explain": "words"})
    batch = house.ask(acme, "POST", f"{path}/search:batch", json={"queries": [{"query": "a"}, {"query": "x", "k": 0}]})
    hit = search.json()["hits"][0]
    explain = house.ask(acme, "POST", f"{path}/explain", json={"query": "radio", "id": hit["id"]})
    replay = house.ask(acme, "POST", "/v1/replay", json={"explanation": hit["explanation"]})
    job = house.ask(acme, "POST", f"{path}/documents?wait=false", json={"documents": TEXTS})
    changed = house.ask(acme, "PATCH", path, json={"settings": {"b": 0.4}})
    late = house.ask(acme, "POST", f"{path}/search", json={"query": "radio", "min_seq": 10**9, "timeout_ms": 1})
    answers = [search, batch, explain, replay, job, changed, late, house.ask(acme, "GET", f"{path}/stats")]
    answers += [house.ask(acme, "GET", url) for url in ("/v1/jobs", f"/v1/jobs/{job.json()['id']}", path)]
    answers.append(house.ask(acme, "DELETE", f"{path}/documents/nobodys"))
    for answer in answers:
        assert "~" not in answer.text, answer.text
    assert replay.json()["agrees"]
    assert (search.json()["collection"], job.json()["collection"]) == ("docs", "docs")
    assert hit["explanation"]["provenance"]["collection"] == "docs"
    assert house.ask(tenants["Acme"], "POST", "/v1/replay", json={"explanation": hit["explanation"]}).status_code == 404


def test_jobs_are_the_tenants_own(house: House, tenants: dict[str, str]) -> None:
    acme, beta, path = tenants["acme"], tenants["beta"], "/v1/collections/docs/documents:bulk"
    line = '{"id": "x", "text": "A clock."}\nnonsense\n'
    job = house.ask(acme, "POST", path, content=line).json()
    assert job["collection"] == "docs"
    house.parts.worker.finish(job["id"])
    for method, url in (("GET", ""), ("GET", "/errors"), ("POST", "/cancel"), ("POST", "/retry")):
        there = house.ask(beta, method, f"/v1/jobs/{job['id']}{url}")
        nowhere = house.ask(beta, method, f"/v1/jobs/987654{url}")
        assert (there.status_code, nowhere.status_code) == (404, 404)
        assert there.json()["error"]["message"] == nowhere.json()["error"]["message"].replace("987654", str(job["id"]))
    assert house.ask(beta, "GET", "/v1/jobs").json()["jobs"] == []
    assert [found["id"] for found in house.ask(acme, "GET", "/v1/jobs").json()["jobs"]] == [job["id"]]
    assert house.ask(acme, "GET", "/v1/jobs", params={"collection": "docs"}).json()["jobs"][0]["id"] == job["id"]
    assert house.ask(beta, "GET", "/v1/jobs", params={"collection": "acme~docs"}).json()["jobs"] == []
    assert house.ask(acme, "GET", f"/v1/jobs/{job['id']}").json()["failed"] == 1
    by_pattern = house.key("ingest", tenant="acme", collections=["pl*"])
    assert house.ask(by_pattern, "GET", "/v1/jobs").json()["jobs"] == []
    house.ask(acme, "DELETE", "/v1/collections/docs")
    assert [found["id"] for found in house.ask(acme, "GET", "/v1/jobs").json()["jobs"]] == [job["id"]]


def test_what_a_reindex_waits_for_is_said_in_the_tenants_names(house: House, tenants: dict[str, str]) -> None:
    path = "/v1/admin/collections/docs/reindex"
    begun = house.ask(tenants["acme"], "POST", path, json={"settings": {"passage_tokens": 64}, "auto_switch": False})
    assert begun.json()["other_generation"] == f"docs!{begun.json()['id']}"
    with house.parts.database.write() as session:
        reason = "the collection 'acme~docs!1' was embedded by another model"
        session.execute(sa.update(schema.reindex).values(state="cancelled", reason=reason))
    told = house.ask(tenants["acme"], "GET", path).json()
    assert (told["collection"], told["reason"]) == ("docs", reason.replace("acme~", ""))
    assert house.ask(house.operator, "GET", path.replace("docs", "acme~docs")).json()["reason"] == reason
    [listed] = house.ask(tenants["acme"], "GET", "/v1/admin/reindexes").json()["reindexes"]
    assert (listed["collection"], listed["reason"]) == (told["collection"], told["reason"])  # its clean-up goes on


def test_each_tenant_lists_its_own_reindexes(house: House, tenants: dict[str, str]) -> None:
    for tenant in ("acme", "beta"):
        begun = {"settings": {"passage_tokens": 64}, "auto_switch": False}
        path = "/v1/admin/collections/docs/reindex"
        assert house.ask(tenants[tenant], "POST", path, json=begun).status_code == 202

    def listed(key: str) -> list[str]:
        found = house.ask(key, "GET", "/v1/admin/reindexes").json()["reindexes"]
        return [one["collection"] for one in found]

    assert listed(tenants["acme"]) == listed(tenants["beta"]) == ["docs"]
    assert listed(house.operator) == ["beta~docs", "acme~docs"]
    assert listed(house.key("admin", tenant="acme", collections=["pl*"])) == []
    assert listed(house.key("admin", collections=["acme~*"])) == ["acme~docs"]
    house.ask(tenants["beta"], "DELETE", "/v1/collections/docs")
    assert listed(house.operator) == ["acme~docs"]


def test_an_operators_patterns(house: House, tenants: dict[str, str]) -> None:
    house.collection(house.operator, "docs", TEXTS)
    seen = {
        pattern: names(house, house.key("search", collections=[pattern]))
        for pattern in ("*", "acme~*", "*~docs", "*~*", "d*", "doc")
    }
    assert seen == {
        "*": ["docs"],
        "acme~*": ["acme~docs", "acme~plans"],
        "*~docs": ["acme~docs", "beta~docs"],
        "*~*": ["acme~docs", "acme~plans", "beta~docs"],
        "d*": ["docs"],
        "doc": [],
    }
    assert names(house, house.key("search")) == ["acme~docs", "acme~plans", "beta~docs", "docs"]


def test_a_key_makes_collections_of_its_patterns_alone(house: House) -> None:
    key = house.key("admin", tenant="acme", collections=["new-*"])
    assert house.ask(key, "POST", "/v1/collections", json={"name": "new-1"}).status_code == 201
    error = error_of(house.ask(key, "POST", "/v1/collections", json={"name": "old"}), 403)
    assert "named new-*" in error["message"]
    assert names(house, house.operator) == ["acme~new-1"]


def test_a_full_queue_tells_no_tenant_how_much_others_wait_for(open_house: Callable[..., House]) -> None:
    house = open_house(limits={"queued_items": 1})
    key = house.key("admin", tenant="acme")
    house.collection(key, "docs")
    house.parts.worker.stop()  # what comes now waits
    line = "".join(f'{{"id": "{number}", "text": "A clock."}}\n' for number in range(3))
    assert house.ask(key, "POST", "/v1/collections/docs/documents:bulk", content=line).status_code == 202
    error = error_of(house.ask(key, "POST", "/v1/collections/docs/documents:bulk", content=line), 429)
    assert (error["code"], any(character.isdigit() for character in error["message"])) == ("queue_full", False)
    house.collection(house.operator, "docs")
    told = error_of(house.ask(house.operator, "POST", "/v1/collections/docs/documents:bulk", content=line), 429)
    assert "3 documents wait" in told["message"]


def test_where_the_data_lies_is_told_to_no_tenant(house: House, tenants: dict[str, str]) -> None:
    with house.parts.database.write() as session:
        session.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    asked = {"documents": [{"id": "c", "text": "A clock."}]}
    folder = str(house.parts.database.directory)
    answers = [
        house.ask(key, "POST", f"/v1/collections/{name}/documents", json=asked)
        for key, name in ((tenants["acme"], "docs"), (house.operator, "acme~docs"))
    ]
    told, known = (error_of(answer, answer.status_code) for answer in answers)
    assert told["code"] == known["code"] == "schema_too_new"
    assert folder not in told["message"]
    assert "upgrade the program" in told["message"]
    assert folder in known["message"]


def test_which_processes_there_are_is_told_to_the_operator_alone() -> None:
    known, public = "process 4711 on host-7 does not give way", "The database is locked by another process."
    for rights, said in ({}, known), ({"tenant": "acme"}, public), ({"patterns": ("pub-*",)}, public):
        caller = Caller(who="key", account="1", rights=Rights(name="k", role=Role.ADMIN, **rights))
        assert caller.told(StorageBusy(known)).message == said


def test_jobs_and_reindexes_tell_as_little_as_errors(house: House, tenants: dict[str, str]) -> None:
    house.parts.worker.stop()  # what comes now waits
    job = house.ask(tenants["acme"], "POST", "/v1/collections/docs/documents?wait=false", json={"documents": TEXTS})
    by_pattern = house.key("ingest", collections=["acme~*"])
    path = f"/v1/jobs/{job.json()['id']}"

    def shown(reason: str) -> list[tuple[str | None, str | None]]:
        with house.parts.database.write() as session:
            session.execute(sa.update(schema.job).values(state="running", worker="host-7:4711:0b2e", reason=reason))
        keys = (house.operator, tenants["acme"], by_pattern)
        answers = [house.ask(key, "GET", path).json() for key in keys]
        (listed,) = house.ask(tenants["acme"], "GET", "/v1/jobs").json()["jobs"]
        return [(told["worker"], told["reason"]) for told in (*answers, listed)]

    full = stored_reason(StorageFull("data directory /srv/x: no room to write"))
    assert shown(full) == [("host-7:4711:0b2e", full), *[(None, "The disk is full.")] * 3]
    down = stored_reason(RemoteUnavailable("the remote model cannot be reached"))
    assert shown(down) == [("host-7:4711:0b2e", down), *[(None, down)] * 3]

    path = "/v1/admin/collections/docs/reindex"
    house.ask(tenants["acme"], "POST", path, json={"settings": {"passage_tokens": 64}, "auto_switch": False})
    damaged = stored_reason(StorageCorrupt("segment file /srv/x/1.seg: is not there"))
    with house.parts.database.write() as session:
        session.execute(sa.update(schema.reindex).values(state="cancelled", reason=damaged))
    assert house.ask(tenants["acme"], "GET", path).json()["reason"] == "The data directory is damaged."
    assert house.ask(house.operator, "GET", path.replace("docs", "acme~docs")).json()["reason"] == damaged


def test_a_request_that_waits_for_its_job_is_told_no_more(
    house: House, tenants: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    finish = house.parts.worker.finish

    def failed(job_id: int, **options: bool) -> Job:
        reason = stored_reason(StorageError("data directory /srv/x: cannot be used"))
        return replace(finish(job_id, **options), state=JobState.FAILED, reason=reason)

    monkeypatch.setattr(house.parts.worker, "finish", failed)
    answer = house.ask(
        tenants["acme"], "POST", "/v1/collections/docs/documents:bulk?wait=true", content='{"text": "A clock."}\n'
    )
    assert error_of(answer, 409)["message"].endswith("failed: The data directory cannot be used.")
