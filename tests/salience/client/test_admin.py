"""Keys and the audit log, asked for with a token of the settings, and used."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from salience.client import errors
from salience.client.admin_results import Reindex, ReindexState
from tests.salience.client.conftest import TOKEN, Face


def test_keys_from_their_making_to_their_end(make_face: Callable[..., Face], address: str) -> None:
    operator = make_face(address, key=TOKEN)
    operator.create_collection("shelf-1")
    operator.put_document("shelf-1", "a", "A lamp.", metadata={"branch": "north"})
    expiry = datetime.now(UTC) + timedelta(days=1)
    made = operator.create_key(
        "branch", "search", collections=["shelf-*"], filter={"branch": "north"}, limits={"requests_per_minute": 50},
        expires_at=expiry,
    )  # fmt: skip
    assert made.key.startswith(f"sal_{made.prefix}_")
    assert made.key not in repr(made)
    assert (made.role, made.usable, made.limits["requests_per_minute"]) == ("search", True, 50)
    reader = make_face(address, key=made.key)
    assert [hit.document_id for hit in reader.search("shelf-1", "lamp").hits] == ["a"]
    with pytest.raises(errors.RequestFailed) as refused:
        reader.put_document("shelf-1", "b", "A radio.")
    assert refused.value.status in (403, 404)
    rotated = operator.rotate_key(made.id, overlap_seconds=3600)
    assert make_face(address, key=rotated.key).search("shelf-1", "lamp").hits
    assert reader.search("shelf-1", "lamp").hits
    revoked = operator.revoke_key(rotated.id)
    assert (revoked.usable, revoked.revoked_at is not None) == (False, True)
    with pytest.raises(errors.Unauthorized):
        make_face(address, key=rotated.key).search("shelf-1", "lamp")
    assert {key.id for key in operator.list_keys()} >= {made.id, rotated.id}
    with pytest.raises(errors.InvalidRequest):
        operator.create_key("x", "king")
    done = [(action.action, action.outcome) for action in operator.iter_audit()]
    assert len(done) >= 4
    assert {action.split(".")[0] for action, _ in done} >= {"key", "collection"}
    assert operator.list_audit(limit=1).next is not None
    operator.revoke_key(made.id)
    operator.delete_collection("shelf-1")


def test_aliases(make_face: Callable[..., Face], address: str) -> None:
    operator = make_face(address, key=TOKEN)
    for name in ("blue", "green"):
        operator.create_collection(name)
        operator.put_document(name, name, f"A {name} lamp.")
    assert operator.set_alias("lamps", "blue").collection == "blue"
    assert [hit.document_id for hit in operator.search("lamps", "lamp").hits] == ["blue"]
    operator.set_alias("lamps", "green")
    assert [hit.document_id for hit in operator.search("lamps", "lamp").hits] == ["green"]
    assert (operator.get_alias("lamps").collection, len(operator.list_aliases())) == ("green", 1)
    operator.delete_alias("lamps")
    with pytest.raises(errors.NotFound):
        operator.get_alias("lamps")
    for name in ("blue", "green"):
        operator.delete_collection(name)


def test_a_reindex_from_beginning_to_end(make_face: Callable[..., Face], address: str) -> None:
    operator = make_face(address, key=TOKEN)
    operator.create_collection("shop")
    operator.add_documents("shop", [{"id": str(n), "text": f"Lamp number {n}. " * 40} for n in range(20)])
    before = operator.search("shop", "lamp number 7").generation
    with pytest.raises(errors.RequestFailed):
        operator.start_reindex("shop")  # nothing would change
    begun = operator.start_reindex("shop", settings={"passage_tokens": 64}, share=1.0)
    looks: list[str] = []
    done = operator.wait_for_reindex("shop", timeout=240, progress=lambda seen: looks.append(seen.state))
    assert (done.id, done.state in ("switched", "done"), done.documents) == (begun.id, True, 20)
    assert looks[-1] == done.state
    [listed] = operator.list_reindexes()
    assert (listed.id, listed.collection) == (done.id, "shop")
    after = operator.search("shop", "lamp number 7")
    assert after.generation != before
    assert after.hits
    assert operator.rollback_reindex("shop").state == "rolled back"
    assert operator.search("shop", "lamp number 7").generation == before
    with pytest.raises(errors.ReindexUnfinished, match="rolled back"):
        operator.wait_for_reindex("shop")
    with pytest.raises(errors.RequestFailed):
        operator.switch_reindex("shop")
    operator.delete_collection("shop")


@pytest.mark.parametrize(
    ("state", "auto_switch", "settled"),
    [
        ("validating", True, False),
        ("ready", True, False),  # for a moment: the switch follows by itself
        ("ready", False, True),
        ("switched", True, True),
        ("failed", True, True),
    ],
)
def test_a_reindex_that_goes_on_by_itself_is_waited_for(state: ReindexState, auto_switch: bool, settled: bool) -> None:
    numbers = dict.fromkeys(("id", "documents", "done", "waiting", "passages", "tokens"), 1)
    found = Reindex(
        **numbers, collection="shop", state=state, share=1.0, auto_switch=auto_switch, grace_seconds=1.0, created_at=""
    )
    assert found.settled is settled
