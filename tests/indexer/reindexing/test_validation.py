"""What is looked at before the new generation may answer."""

from __future__ import annotations

import json
from typing import Any

import pytest
import sqlalchemy as sa

from core.errors import ReindexConflict, RemoteUnavailable
from core.records import Float32Array, Int64Array
from core.reindexes import ReindexState
from indexer.reindexing import Reindexing
from indexer.validation import recall
from store import Pool, schema
from store.catalog import find_collection, get_collection
from store.reindex.pending import pending_count
from store.reindex.record import get
from store.view import View
from tests.indexer.fakes import FakeEncoder
from tests.indexer.reindexing.place import Place, end_pause
from tests.waiting import until


def test_found_wanting_it_does_not_answer(place: Place) -> None:
    place.add(a="text")
    judged: list[tuple[str, str]] = []

    def judge(old: str, new: str, judgements: Any) -> dict[str, Any]:
        judged.append((old, new))
        return {"gain": -0.2, **judgements}

    place.reindexing = Reindexing(place.database, place.pipeline, place.views, judge)
    begun = place.begin(judgements='{"of": "a user"}', min_gain=0.0)
    while place.now().state is not ReindexState.FAILED:
        place.reindexing.turn()
    assert judged == [("c", f"c!{begun.id}")]
    assert "gains -0.2000 nDCG@10, and +0 are asked for" in (place.now().reason or "")
    assert '"of": "a user"' in (place.now().report or "")
    with place.database.read() as session:
        assert get_collection(session, "c").active.fingerprint == FakeEncoder.fingerprint
    with pytest.raises(ReindexConflict, match="cancel it first"):
        place.begin()
    place.reindexing.end(place.now(), (ReindexState.FAILED,), ReindexState.CANCELLED)
    place.clean()
    assert place.now().hidden_id is None


def test_a_comparison_that_could_not_be_made_is_made_again(place: Place) -> None:
    place.add(a="text")
    down = [RemoteUnavailable("the model is down"), RemoteUnavailable("the model is down")]

    def judge(old: str, new: str, judgements: Any) -> dict[str, Any]:
        if down:
            raise down.pop()
        return {"gain": 0.1}

    place.reindexing = Reindexing(place.database, place.pipeline, place.views, judge)
    begun = place.begin(judgements="{}", min_gain=0.0, auto_switch=False)
    for failures, pause in ((1, 1.0), (2, 2.0)):
        until(lambda: place.reindexing.turn() and place.now().reason is not None)
        now = place.now()
        assert (now.reason, now.failures, now.pause_seconds) == ("the model is down", failures, pause)
        end_pause(place, begun)
    place.work(ReindexState.READY)
    assert (place.now().reason, place.now().failures) == (None, 0)


def test_all_vectors_are_read_once_to_see_how_many_of_the_nearest_are_found(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    vectors = View.vectors

    def noted(view: View, ids: Int64Array) -> Float32Array:
        read.extend(ids.tolist())
        return vectors(view, ids)

    place.add(**{f"d{number}": f"text number {number} of them" for number in range(6)})
    place.begin(auto_switch=False)
    monkeypatch.setattr(View, "vectors", noted)
    done = place.work(ReindexState.READY)
    assert json.loads(done.report or "")["recall"] == 1.0
    assert sorted(read) == sorted(2 * list(set(read))), "as what is asked with, and once more"


def test_passages_that_the_index_does_not_find_count(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.add(**{f"d{number}": f"text number {number} of them" for number in range(30)})
    nearest = View.nearest

    def blind(view: View, vector: Float32Array, k: int, allowed: Int64Array | None = None) -> Pool:
        found = nearest(view, vector, k + 2, allowed)
        return Pool(ids=found.ids[2:], scores=found.scores[2:])

    monkeypatch.setattr(View, "nearest", blind)
    assert recall(place.views, "c") == pytest.approx(0.8, abs=0.05)


def test_what_was_written_past_the_log_is_noticed(place: Place) -> None:
    place.add(a="text", b="text b")
    begun = place.begin(auto_switch=False)
    place.work(ReindexState.READY)
    with place.database.write() as session:
        hidden = find_collection(session, f"c!{begun.id}")
        document = schema.document
        values = {
            "external_id": "a",
            "language": "en",
            "content_sha": b"",
            "title": "t",
            "metadata": "{}",
            "controls": None,
        }
        mine = (document.c.collection_id == hidden.id) & (document.c.external_id == "a")
        session.execute(sa.update(document).where(mine).values(**values, text="damaged"))
        session.execute(sa.update(schema.reindex).values(state=ReindexState.VALIDATING.value))
    place.reindexing.turn()
    with place.database.read() as session:
        assert pending_count(session, get(session, begun.id)) == 1
    place.work(ReindexState.READY)
    place.clean()
    assert place.contents(f"c!{begun.id}")["a"][1] == "text"
