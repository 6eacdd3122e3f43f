"""Where the auto fusion starts from, by how many words the query has."""

import numpy as np

from retriever.inputs import Inputs
from retriever.legs import Leg
from retriever.query import Query
from retriever.searcher import Searcher


def test_the_dense_leg_starts_from_less_in_a_short_query(searcher: Searcher) -> None:
    priors = {}
    for text in ("console", "the console", "130 fps console for television"):
        choice = searcher.search("things", Query(text=text)).choice
        assert choice is not None
        priors[text] = round(choice.legs[Leg.DENSE].prior, 9)
    assert list(priors.values()) == [0.2, 0.3, 0.5]


def test_a_short_text_beside_a_vector_or_examples_is_no_short_query(searcher: Searcher) -> None:
    """A vector may stand for a long question, and examples for whole documents."""
    vector = np.zeros(384, dtype=np.float32)
    vector[0] = 1
    for inputs in (Inputs(vector=vector), Inputs(like=("television",))):
        choice = searcher.search("things", Query(text="console", inputs=inputs)).choice
        assert choice is not None
        assert choice.legs[Leg.DENSE].prior == 0.5
