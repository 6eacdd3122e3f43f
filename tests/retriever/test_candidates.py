"""What a search looks at: scores that depend on the passage alone."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from core.prompts import TextControl
from embedder.lexical import Analyzer
from retriever.candidates import gather
from retriever.legs import Leg
from retriever.terms import query_terms
from store import Database, Views
from tests.store.library import Item, create, put, vector_of

WORDS = [f"w{i}" for i in range(17)]
COPIES = 61


@pytest.fixture(scope="module")
def views(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Views]:
    """Documents of one and the same text, among others that make its terms weigh differently."""
    database = Database.open(tmp_path_factory.mktemp("copies") / "data")
    collection = create(database)
    put(database, collection, *(Item(id=f"copy{i}", text=" ".join(WORDS)) for i in range(COPIES)))
    put(database, collection, *(Item(id=f"other{i}", text=" ".join(WORDS[i:])) for i in range(1, 17)))
    yield Views(database)
    database.close()


@pytest.mark.parametrize("count", [3, 8, 14, 17])
def test_equal_passages_tie_exactly_whatever_else_is_a_candidate(views: Views, count: int) -> None:
    text = " ".join(WORDS[:count])
    controls = [TextControl(start=i, length=1, factor=0.1 + i / 7) for i in range(len(text))]
    terms = query_terms(text, controls, ["en"], Analyzer())
    seen = set()
    with views.open("books") as view:
        everything = np.sort(view.nearest(vector_of("x"), 1000).ids)
        for size in (1, 2, 3, 5, 8, 13, COPIES, len(everything)):
            found = gather(view, vector=None, sparse={Leg.SPARSE: terms}, depth=1000, allowed=everything[:size])
            raw = found.legs[Leg.SPARSE].raw
            seen.update(raw[:COPIES].tolist())
            products = terms.values(view, found.ids)
            np.testing.assert_allclose(raw, (products * terms.factors).sum(axis=1), rtol=1e-12)
    assert len(seen) == 1
