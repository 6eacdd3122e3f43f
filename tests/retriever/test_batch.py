"""Several queries at once, what a search says it did, and what it shows of a document."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from core.errors import CollectionNotFound, InvalidControl, InvalidFilter, InvalidQuery, SalienceError, StorageBusy
from core.filters import parse_filter
from core.prompts import ControlOptions, ControlTarget, TextControl
from embedder.densemodels import only
from embedder.lexical import Analyzer
from embedder.local import LocalEncoder
from retriever.batch import at_once, each
from retriever.fields import Shown, check_fields
from retriever.inputs import Inputs, dense_input
from retriever.legs import Leg
from retriever.query import Explain, Query
from retriever.result import SearchResult
from retriever.searcher import Searcher
from store import Database, Views
from tests.growth import assert_growth

PLAY = (TextControl(start=0, length=4, factor=7.0),)
QUERIES = [
    Query(text="play on my TV"),
    Query(text="play on my TV", controls=PLAY, k=3, explain=Explain.WORDS),
    Query(text="play on my TV", controls=PLAY, options=ControlOptions(target=ControlTarget.POOL)),
    Query(text="a red dress", legs=(Leg.SPARSE,), filter=parse_filter({"kind": "fashion"})),
    Query(inputs=Inputs(vector=dense_input([1.0] * 384))),
    Query(text="cat", inputs=Inputs(like=("console",)), profile=True),
]


class Counting:
    """The real encoder, which counts what it is asked."""

    def __init__(self, encoder: LocalEncoder) -> None:
        self._encoder = encoder
        self.batches: list[int] = []

    def encode(self, prompts: Any, *arguments: Any, **options: Any) -> Any:
        self.batches.append(len(prompts))
        return self._encoder.encode(prompts, *arguments, **options)

    def encode_traced(self, prompts: Any, *arguments: Any, **options: Any) -> Any:
        self.batches.append(len(prompts))
        return self._encoder.encode_traced(prompts, *arguments, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._encoder, name)


def same(one: SearchResult, other: SearchResult) -> bool:
    return replace(one, stages_ms={}) == replace(other, stages_ms={})


def test_queries_at_once_are_answered_as_each_alone_and_encoded_together(
    searcher: Searcher, database: Database, encoder: LocalEncoder
) -> None:
    counting = Counting(encoder)
    together = Searcher(Views(database), only(counting), Analyzer())  # type: ignore[arg-type]
    found = together.search_many("things", QUERIES[:-2] + QUERIES[-1:])
    assert sorted(counting.batches) == [1, 3]  # by options; a sparse leg alone needs no model
    for query, answer in zip(QUERIES[:-2] + QUERIES[-1:], found, strict=True):
        alone = searcher.search("things", query)
        assert isinstance(answer, SearchResult)
        assert answer.legs == alone.legs
        assert [hit.id for hit in answer.hits] == [hit.id for hit in alone.hits]
        assert [hit.score for hit in answer.hits] == pytest.approx([hit.score for hit in alone.hits], abs=1e-6)
    assert together.search_many("things", []) == []


def test_a_query_that_fails_costs_itself_only(searcher: Searcher) -> None:
    bad = [
        Query(text="wolf", filter=parse_filter({"prise": 1})),
        Query(text="wolf", legs=(Leg.LEARNED,)),
        InvalidControl("given by the caller"),
        Query(inputs=Inputs(vector=dense_input([1.0]))),
        Query(inputs=Inputs(like=("nowhere",))),
        Query(text="wolf", cursor="nonsense"),
    ]
    mixed = [one for pair in zip(bad, QUERIES, strict=True) for one in pair]
    found = searcher.search_many("things", mixed)
    errors = found[::2]
    assert [type(error).code for error in errors if isinstance(error, SalienceError)] == [
        "invalid_filter", "invalid_query", "invalid_control", "invalid_query", "document_not_found", "invalid_query",
    ]  # fmt: skip
    for query, answer in zip(QUERIES, found[1::2], strict=True):
        assert isinstance(answer, SearchResult)
        alone = searcher.search("things", query)
        assert [hit.id for hit in answer.hits] == [hit.id for hit in alone.hits]
    with pytest.raises(CollectionNotFound):
        searcher.search_many("nowhere", QUERIES)


def test_where_a_batch_cannot_be_encoded_it_is_found_whose_fault_that_is(
    database: Database, encoder: LocalEncoder, searcher: Searcher
) -> None:
    class Picky(Counting):
        def encode(self, prompts: Any, *arguments: Any, **options: Any) -> Any:
            if any("bad" in item.text for prompt in prompts for item in prompt.items):
                raise InvalidControl("that one")
            return super().encode(prompts, *arguments, **options)

    picky = Searcher(Views(database), only(Picky(encoder)), Analyzer())  # type: ignore[arg-type]
    good = Query(text="wolf")
    found = picky.search_many("things", [good, Query(text="bad wolf"), good])
    assert isinstance(found[1], InvalidControl)
    assert isinstance(found[0], SearchResult)
    assert isinstance(found[2], SearchResult)
    assert same(found[0], searcher.search("things", good))


def test_helpers_keep_errors_in_their_places_and_let_the_storage_s_through() -> None:
    wrong = InvalidQuery("wrong")

    def half(number: int) -> int:
        if number % 2:
            raise InvalidFilter("odd")
        return number // 2

    found = each(half, [4, wrong, 3])
    assert found[:2] == [2, wrong]
    assert isinstance(found[2], InvalidFilter)
    assert at_once(lambda numbers: [-number for number in numbers], [1, wrong, 2]) == [-1, wrong, -2]

    def unasked(numbers: Sequence[int]) -> list[int]:
        raise AssertionError("there is nothing to work on")

    assert at_once(unasked, [wrong, wrong]) == [wrong, wrong]
    assert at_once(unasked, []) == []

    def busy(number: int) -> int:
        raise StorageBusy

    for attempt in (lambda: each(busy, [1]), lambda: at_once(lambda numbers: [busy(1)], [1])):
        with pytest.raises(StorageBusy):
            attempt()


def test_a_profile_counts_what_was_done(searcher: Searcher, database: Database) -> None:
    query = Query(text="red dress for a summer wedding", filter=parse_filter({"kind": "fashion"}), profile=True)
    found = searcher.search("things", query)
    with Views(database).open("things") as view:
        allowed = view.filter(parse_filter({"kind": "fashion"}))
        passages, segments = view.passage_count, view.segment_count
    profile = found.profile
    assert profile is not None
    assert (profile.passages, profile.segments, profile.matches) == (passages, segments, len(allowed))
    assert profile.selectivity == len(allowed) / passages
    assert profile.candidates == profile.documents == profile.pools[Leg.DENSE] == len(allowed)
    words = searcher.search("things", replace(query, legs=(Leg.SPARSE,), k=200))
    assert profile.pools[Leg.SPARSE] == len(words.hits)
    assert {"encode", "filter", "dense", "sparse", "score", "rank", "fetch"} <= set(found.stages_ms)
    assert searcher.search("things", replace(query, profile=False)).profile is None
    unfiltered = searcher.search("things", replace(query, filter=None)).profile
    assert unfiltered is not None
    assert (unfiltered.matches, unfiltered.selectivity) == (None, None)


@pytest.mark.parametrize(
    ("field", "hint"),
    [("titel", "'title'"), ("meta", "'metadata'"), ("price", "'metadata.price'"), ("", "allowed are")],
)
def test_a_field_that_is_none_is_refused_with_the_nearest(field: str, hint: str) -> None:
    with pytest.raises(InvalidQuery, match=hint):
        Query(text="wolf", fields=("title", field))
    with pytest.raises(InvalidQuery, match="at most 1000"):
        check_fields(("title",) * 1001)


def test_metadata_is_shown_by_paths() -> None:
    metadata = {"price": 3, "maker": {"name": "HP", "town": "X"}, "parts": [{"id": 1, "x": 2}, {"x": 3}], "a.b": 1}
    assert Shown.of(None).metadata(metadata) is metadata
    assert Shown.of(("title", "metadata")).metadata(metadata) is metadata
    assert Shown.of(("title",)).metadata(metadata) == {}
    assert Shown.of(("metadata.maker.name", "metadata.price")).metadata(metadata) == {
        "price": 3,
        "maker": {"name": "HP"},
    }
    assert Shown.of(("metadata.parts.id", "metadata.nowhere")).metadata(metadata) == {"parts": [{"id": 1}]}
    assert Shown.of(("metadata.maker", "metadata.a.b")).metadata(metadata) == {"maker": metadata["maker"], "a.b": 1}
    assert Shown.of(("metadata.price.cents",)).metadata(metadata) == {}


def test_paths_with_dots_in_a_row_name_what_they_did() -> None:
    metadata = {"a..b": 1, "x.": 4, "x": {"": 5, "y": 6}, "": {"z": 7}}
    assert Shown.of(("metadata.a..b",)).metadata({"a..b": 1, "a": {"": {"b": 2, "c": 3}}}) == {
        "a..b": 1,
        "a": {"": {"b": 2}},
    }
    assert Shown.of(("metadata.x.", "metadata..z")).metadata(metadata) == {"x.": 4, "x": {"": 5}, "": {"z": 7}}


def test_what_is_shown_does_not_take_longer_by_the_number_of_paths() -> None:
    """As many keys as it has are looked up, and as many paths as there are were read before."""
    metadata = {f"key{i}": i for i in range(300)}

    def showing(paths: int) -> Callable[[], object]:
        shown = Shown.of([f"metadata.other{i}.below" for i in range(paths)])
        assert shown.metadata(metadata) == {}
        return lambda: [shown.metadata(metadata) for _ in range(20)]

    assert_growth(showing, 1, 1000, most=10)


_JSON = st.recursive(
    st.none() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)


def leaf_paths(value: Any, path: str = "") -> set[str]:
    if isinstance(value, dict):
        return {found for key, item in value.items() for found in leaf_paths(item, f"{path}.{key}")}
    if isinstance(value, list) and (below := [item for item in value if isinstance(item, (dict, list))]):
        return {found for item in below for found in leaf_paths(item, path)}
    return {path.removeprefix(".")}


@given(
    st.dictionaries(st.sampled_from("abc"), _JSON, max_size=3),
    st.lists(st.sampled_from(["a", "b", "a.a", "a.b", "b.c", "a.a.b"]), max_size=3),
)
@example({"a": [[{"b": None}]]}, ["a.b"])
@settings(deadline=None)
def test_what_is_shown_is_named_and_nothing_else(metadata: dict[str, Any], paths: list[str]) -> None:
    shown = Shown.of([f"metadata.{path}" for path in paths]).metadata(metadata)
    for path in leaf_paths(shown) if shown else ():
        assert any(path == asked or path.startswith(f"{asked}.") for asked in paths)
    for path in paths:
        if "." not in path and path in metadata:
            assert shown[path] == metadata[path]
