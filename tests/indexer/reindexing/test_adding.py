"""Documents that are added while their collection is switched to another generation."""

from __future__ import annotations

from core.records import Document, FieldKind
from core.reindexes import Reindex, ReindexState
from indexer.batches import BATCH_CHARACTERS
from store.verify import verify
from tests.indexer.reindexing.place import Place


def test_an_addition_during_which_it_is_switched_has_nothing_of_the_old_settings(place: Place) -> None:
    """Batches end before a document that does not fit: the first of the next batch has been looked at before."""
    place.add(first="one")
    place.begin(
        auto_switch=False, settings={"passage_tokens": 9, "overlap_tokens": 2, "fields": {"day": FieldKind.DATE}}
    )
    ready = place.work(ReindexState.READY)
    switched: list[Reindex] = []

    def switch(_: list[str]) -> None:
        if not switched:
            switched.append(ready)
            place.reindexing.switch(ready)

    place.old.before = switch
    half = "x" * (BATCH_CHARACTERS // 2)
    added = [Document(id=id, text=f"{id} {half}", metadata={"day": "2024-05-06"}) for id in ("a", "b", "c")]
    assert place.pipeline.add("c", added).created == 3
    assert switched
    assert verify(place.database.directory).findings == ()
    assert place.pipeline.add("c", added).unchanged == 3


def test_a_document_that_only_the_other_generation_refuses_is_added_if_it_is_switched_back_at_once(
    place: Place,
) -> None:
    place.add(first="one")
    place.begin(auto_switch=False, settings={"fields": {"day": FieldKind.DATE}})
    ready = place.work(ReindexState.READY)
    steps = [place.reindexing.switch, place.reindexing.rollback]

    def step(_: list[str]) -> None:
        if steps:
            steps.pop(0)(ready)

    place.old.before = place.new.before = step
    added = [Document(id=day, text=day, metadata={"day": day}) for day in ("2024-05-06", "someday")]
    report = place.pipeline.add("c", added)
    assert (report.created, report.failed, steps) == (2, (), [])
    assert set(place.contents()) == {"first", "2024-05-06", "someday"}
