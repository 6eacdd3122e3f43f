"""What a search over a dictionary of documents finds: no index, no segments, one passage after the other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import pytest

from tests.store.learned_library import IDS
from tests.store.learned_library import oracle as learned_oracle
from tests.store.library import WORDS, Item, Place, dense_oracle, sparse_oracle, terms_of, vector_of
from tests.store.statemachine.filters import holds

if TYPE_CHECKING:
    from tests.store.statemachine.site import Answer, Question, Scored


def token_weights(factors: Mapping[str, float]) -> dict[int, float]:
    """The query of the learned leg: the words' tokens."""
    return {IDS[word]: factor for word, factor in factors.items() if word in IDS and factor}


def check(answer: Answer, question: Question, items: Mapping[str, Item]) -> None:
    """Raises AssertionError unless the answer is that of `items`, to the last document, passage and score."""
    wanted = {(item.id, start): line for item in items.values() for start, line in item.lines()}
    found = {(document, start): text for document, start, text in answer.passages.values()}
    assert len(found) == len(answer.passages), "a passage is there twice"
    assert found == wanted, "other passages"
    assert answer.metadata == {item.id: item.metadata for item in items.values()}, "other metadata"
    ids = {(document, start): id_ for id_, (document, start, _) in answer.passages.items()}
    _check_statistics(answer, wanted.values())
    among = set(wanted)
    if question.filter is not None:
        among = {place for place in wanted if holds(question.filter, items[place[0]].metadata)}
        assert answer.allowed == sorted(ids[place] for place in among), "the filter lets others through"
    wanted_ids = {ids[place] for place in among}
    for got, scores in (
        (answer.dense, dense_oracle(items.values(), vector_of(question.line))),
        (answer.learned, learned_oracle(items.values(), token_weights(question.factors))),
    ):  # sums of whole numbers and powers of two: exact, ties and all
        ranked = sorted(_among(scores, ids, wanted_ids).items(), key=lambda hit: (-hit[1], hit[0]))
        assert got == ranked[: question.k], "other hits"
    bm25 = _among(sparse_oracle(items.values(), question.factors), ids, wanted_ids)
    _check_rounded(answer.bm25, bm25, question.k)


def _among(scores: Mapping[Place, float], ids: Mapping[Place, int], wanted: set[int]) -> dict[int, float]:
    return {ids[place]: score for place, score in scores.items() if ids[place] in wanted}


def _check_statistics(answer: Answer, lines: Iterable[str]) -> None:
    terms = [terms_of(line) for line in lines]
    assert answer.df == {word: sum(word in held for held in terms) for word in WORDS}, "other document frequencies"
    average = sum(sum(held.values()) for held in terms) / len(terms) if terms else 0.0
    assert answer.average_length == pytest.approx(average), "another average length"


def _check_rounded(got: Scored, scores: Mapping[int, float], k: int) -> None:
    """Sums of fractions: what is a tie to the oracle may be none to the last bit."""
    assert [score for _, score in got] == pytest.approx(sorted(scores.values(), reverse=True)[:k], rel=1e-6)
    assert [scores.get(id_) for id_, _ in got] == pytest.approx([score for _, score in got], rel=1e-6), "other hits"
    assert len({id_ for id_, _ in got}) == len(got), "a hit is there twice"
    assert got == sorted(got, key=lambda hit: (-hit[1], hit[0])), "equal scores in another order than that of their ids"
