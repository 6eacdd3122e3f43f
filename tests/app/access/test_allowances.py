"""Limits of a key on what it has in all: collections and passages."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from app.access.allowances import PassageRoom
from tests.app.access.conftest import House
from tests.app.access.test_limits import left
from tests.app.answers import error_of


def test_corrections_do_not_lead_beyond_twice_the_limit(house: House) -> None:
    """As many characters may be one passage, or hundreds."""
    key = house.key("admin", limits={"passages": 2})
    house.collection(key, "docs", [{"id": str(n), "text": f"x{' ' * 9_000}y"} for n in range(2)])
    path = "/v1/collections/docs/documents"
    text = " ".join(f"A sentence of some words, number {n}." for n in range(200))
    assert house.ask(key, "PUT", f"{path}/0", json={"text": text}).json()["passages"] > 4
    assert "hold 2" in error_of(house.ask(key, "PUT", f"{path}/1", json={"text": text}), 409)["message"]
    assert house.ask(key, "PATCH", f"{path}/0", json={"metadata": {"price": 5}}).json()["changed"]
    assert house.ask(key, "DELETE", f"{path}/0").status_code == 204
    assert house.ask(key, "PUT", f"{path}/1", json={"text": "Short again."}).json()["replaced"] == 1


def test_collections_and_passages(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.api.bulk.ROOM_FOR", 4)
    key = house.key("admin", tenant="acme", limits={"collections": 2, "passages": 5})
    for name in ("one", "two"):
        house.collection(key, name)
    error = error_of(house.ask(key, "POST", "/v1/collections", json={"name": "three"}), 409)
    assert error["code"] == "limit_reached"
    assert house.ask(key, "DELETE", "/v1/collections/two").status_code == 204
    house.collection(key, "three")
    house.collection(house.key("admin", tenant="beta"), "one", [{"id": str(n), "text": f"text {n}"} for n in range(9)])

    path = "/v1/collections/one/documents"
    texts = [{"id": str(number), "text": f"A text, number {number}."} for number in range(6)]
    assert "room for 5 passages" in error_of(house.ask(key, "POST", path, json={"documents": texts}), 409)["message"]
    lines = "".join(f'{{"id": "{number}", "text": "line {number}"}}\n' for number in range(6))
    assert error_of(house.ask(key, "POST", f"{path}:bulk", content=lines), 409)["code"] == "limit_reached"
    assert house.ask(key, "GET", "/v1/jobs").json()["jobs"] == [], "nothing of it was kept"
    assert house.ask(key, "POST", path, json={"documents": texts[:4]}).status_code == 200
    assert house.ask(key, "PUT", f"{path}/last", json={"text": "The last one."}).status_code == 200
    for method, url, body in (
        ("POST", path, {"documents": texts[:5]}),  # the last of them is new
        ("PUT", f"{path}/more", {"text": "One more."}),
        ("PUT", f"{path}/last", {"text": "The last one, and a sentence that it did not have."}),
        ("POST", f"{path}?wait=false", {"documents": texts[4:]}),
    ):
        assert "5 passages" in error_of(house.ask(key, method, url, json=body), 409)["message"]
    assert error_of(house.ask(key, "POST", f"{path}:bulk", content=lines), 409)["code"] == "limit_reached"
    corrected = {"text": "The last 1.", "metadata": {"price": 5}}
    assert house.ask(key, "PUT", f"{path}/last", json=corrected).json()["replaced"] == 1
    assert house.ask(key, "PUT", f"{path}/last", json=corrected | {"metadata": {}}).json()["updated"] == 1
    assert house.ask(key, "POST", path, json={"documents": texts[:4]}).json()["unchanged"] == 4
    four = "".join(lines.splitlines(keepends=True)[:4])
    assert house.ask(key, "POST", f"{path}:bulk?wait=true", content=four).json()["replaced"] == 4
    assert house.ask(key, "DELETE", f"{path}/last").status_code == 204
    assert house.ask(key, "PUT", f"{path}/more", json={"text": "One more."}).status_code == 200


def test_a_repeated_bulk_request_needs_no_room_and_no_tokens(
    open_house: Callable[..., House], monkeypatch: pytest.MonkeyPatch
) -> None:
    house = open_house(limits={"queued_items": 6})
    key = house.key("admin", limits={"passages": 10, "tokens_per_minute": 10_000})
    house.collection(key, "docs")
    lines = "".join(f'{{"id": "{number}", "text": "line {number}"}}\n' for number in range(6))

    def add(name: str, content: str = lines) -> Any:
        headers = {"Idempotency-Key": name}
        return house.ask(key, "POST", "/v1/collections/docs/documents:bulk", content=content, headers=headers)

    with monkeypatch.context() as patched:
        patched.setattr(house.parts.worker, "wake", lambda: None)  # all of it waits: the queue is full
        first = add("once")
        assert first.status_code == 202
        again = add("once")
    assert (again.status_code, again.json()["id"]) == (202, first.json()["id"])
    assert left(again.headers["RateLimit"]) == left(first.headers["RateLimit"]) < 10_000
    assert error_of(add("once", lines + lines), 409)["code"] == "job_conflict"
    house.parts.worker.finish(first.json()["id"])
    assert add("once").json()["state"] == "done"
    assert error_of(add("other", lines.replace("line", "longer line")), 409)["code"] == "limit_reached"


def test_of_two_bulk_requests_at_once_with_one_key_the_later_is_told_to_come_again(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = house.key("admin", limits={"passages": 10, "tokens_per_minute": 10_000})
    house.collection(key, "docs")
    lines = "".join(f'{{"id": "{number}", "text": "line {number}"}}\n' for number in range(6))
    path, headers, answers = "/v1/collections/docs/documents:bulk", {"Idempotency-Key": "once"}, []

    class Overtaken(PassageRoom):
        """Before the first request counts its room, a second one with its key is done."""

        def __init__(self, *given: Any) -> None:
            monkeypatch.undo()
            answers.append(house.ask(key, "POST", path, content=lines, headers=headers))
            super().__init__(*given)

    monkeypatch.setattr("app.api.bulk.PassageRoom", Overtaken)
    later = house.ask(key, "POST", path, content=lines, headers=headers)
    assert answers[0].status_code == 202
    error = error_of(later, 409)
    assert (error["code"], error["param"]) == ("still_received", "Idempotency-Key")
    assert later.headers["Retry-After"] == "5"
    assert left(later.headers["RateLimit"]) == left(answers[0].headers["RateLimit"])


def test_collections_that_are_made_at_once_are_counted_one_after_the_other(house: House) -> None:
    key, statuses = house.key("admin", tenant="acme", limits={"collections": 3}), []

    def make(number: int) -> None:
        statuses.append(house.ask(key, "POST", "/v1/collections", json={"name": f"c{number}"}).status_code)

    threads = [threading.Thread(target=make, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(statuses) == [201] * 3 + [409] * 5
