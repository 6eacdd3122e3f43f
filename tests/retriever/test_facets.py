"""Facets, against counts over the metadata of every document that matches."""

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

import store.fieldvalues
from core.errors import InvalidQuery
from core.filters import parse_filter
from embedder.densemodels import only
from embedder.lexical import Analyzer
from embedder.local import LocalEncoder
from retriever.extras import Extras
from retriever.inputs import Inputs
from retriever.legs import Leg
from retriever.query import Query
from retriever.searcher import Searcher
from retriever.selection import Selection
from retriever.wordconditions import WordConditions
from store import Database, Views
from tests.retriever.varied import varied_documents

FIELDS = ("brand", "price", "new", "mixed", "made")
DATES = {
    "2024-05-01": "2024-05-01T00:00:00Z",
    "2024-05-01T00:00:00Z": "2024-05-01T00:00:00Z",
    "2023-12-31T23:00:00-01:00": "2024-01-01T00:00:00Z",
    "2021": "2021-01-01T00:00:00Z",
}
QUERIES = {
    "all": Query(text="game"),
    "filtered": Query(text="game", filter=parse_filter({"price": {"lt": 10}})),
    "conditions": Query(text="game", conditions=WordConditions(must=("quick",), must_not=("big screen",))),
    "sparse": Query(text="friends Freunde", legs=(Leg.SPARSE,)),
    "sparse and filtered": Query(text="friends", legs=(Leg.SPARSE,), filter=parse_filter({"new": True})),
    "like": Query(text="game", inputs=Inputs(like=("d1", "d5"))),
    "nothing": Query(text="zzzz", legs=(Leg.SPARSE,)),
}


@pytest.fixture(scope="module")
def searcher(varied: Database, encoder: LocalEncoder) -> Searcher:
    return Searcher(Views(varied), only(encoder), Analyzer())


def slow_counts(documents: set[str], field: str) -> tuple[dict[Any, int], int]:
    """(type, value) to documents, and those without a value."""
    counts: Counter[Any] = Counter()
    without = 0
    for document in varied_documents():
        if document.id in documents:
            value = document.metadata.get(field)
            values = value if isinstance(value, list) else [value]
            values = [DATES[one] if field == "made" and one is not None else one for one in values]
            values = [one for one in values if one is not None and not (isinstance(one, str) and len(one) > 1024)]
            keys = {(isinstance(one, bool), isinstance(one, str), one) for one in values}
            counts.update(keys)
            without += not keys
    return dict(counts), without


@pytest.mark.parametrize("few", [0, 10_000])
@pytest.mark.parametrize("name", QUERIES)
def test_facets_equal_a_count_over_all_documents_that_match(
    searcher: Searcher, name: str, few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both ways to read values. All matching documents are what the search finds where k is large enough."""
    monkeypatch.setattr(store.fieldvalues, "FEW", few)
    query = QUERIES[name]
    everything = {hit.document_id for hit in searcher.search("varied", replace(query, k=1000)).hits}
    facets = searcher.search("varied", replace(query, k=2, extras=Extras(facets=FIELDS, facet_values=1000))).facets
    assert facets is not None
    few_values = searcher.search("varied", replace(query, k=2, extras=Extras(facets=FIELDS, facet_values=2))).facets
    assert few_values is not None
    assert facets.documents == len(everything)
    for field in FIELDS:
        counts, without = slow_counts(everything, field)
        found = facets.fields[field]
        got = {
            (isinstance(value.json, bool), isinstance(value.json, str), value.json): count
            for value, count in found.counts
        }
        assert (got, found.without) == (counts, without)
        assert found.distinct == len(counts)
        assert few_values.fields[field] == replace(found, counts=found.counts[:2])
        order = [(-count, value) for value, count in found.counts]
        assert order == sorted(order)


def test_facets_that_cannot_be_exact_are_refused(searcher: Searcher) -> None:
    with pytest.raises(InvalidQuery, match="leave one of the two out") as raised:
        Query(text="x", extras=Extras(facets=("brand",)), selection=Selection(min_scores={Leg.DENSE: 0.5}))
    assert raised.value.param == "facets"
    with pytest.raises(InvalidQuery, match="facets: unknown field 'branding'; did you mean 'brand'"):
        searcher.search("varied", Query(text="x", extras=Extras(facets=("branding",))))
    with pytest.raises(InvalidQuery, match="each once"):
        Extras(facets=("a", "a"))
    with pytest.raises(InvalidQuery, match="facet_values is 0"):
        Extras(facet_values=0)
