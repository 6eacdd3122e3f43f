"""The steering bench: its formula against a slow one, its texts, and what no control leaves unchanged."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.steering.groups import GROUPS, Group, load_group
from bench.steering.measure import auc, measure
from core.prompts import ControlTarget
from embedder.loading import load_encoder

SCORES = st.lists(st.integers(-4, 4), min_size=1, max_size=12)  # few values, so that ties are common


@given(above=SCORES, below=SCORES)
def test_auc_is_the_share_of_pairs_in_order(above: list[int], below: list[int]) -> None:
    pairs = [1.0 if a > b else 0.5 if a == b else 0.0 for a in above for b in below]

    assert auc(np.array(above, np.float32), np.array(below, np.float32)) == pytest.approx(sum(pairs) / len(pairs))


@pytest.mark.parametrize("name", GROUPS)
def test_group_is_large_enough_and_its_spans_are_the_words(name: str) -> None:
    group = load_group(name)

    assert len(group.documents) >= 20
    assert len(set(group.documents.values())) == len(group.documents)
    assert len(group.queries) >= 10
    assert len({query.text for query in group.queries}) == len(group.queries)
    for query in group.queries:
        first, second = query.aspects
        assert first.start + first.length <= second.start or second.start + second.length <= first.start
        for aspect in query.aspects:
            assert len(aspect.documents) >= 3
            word = query.text[aspect.start : aspect.start + aspect.length]
            assert word == word.strip() != ""


@pytest.mark.parametrize("name", GROUPS)
def test_documents_of_an_aspect_name_it_and_not_the_other(name: str) -> None:
    group = load_group(name)
    for query in group.queries:
        words = [query.text[a.start : a.start + a.length].casefold() for a in query.aspects]
        for i, aspect in enumerate(query.aspects):
            for text in (group.documents[document].casefold() for document in aspect.documents):
                assert re.search(rf"\b{words[i]}\b", text)
                assert words[1 - i] not in text


def test_factor_1_is_even_and_factors_steer_both_ways() -> None:
    group = load_group("questions")
    few = Group(name=group.name, documents=group.documents, queries=group.queries[:4])

    off, one, strong = measure(load_encoder(device="cpu"), few, ControlTarget.AUTO, (0.0, 1.0, 20.0))

    assert one.auc == pytest.approx(0.5, abs=1e-9)
    assert off.auc < 0.1
    assert strong.auc > 0.85
