"""The steering bench: its formula against a slow one, its texts, and what no control leaves unchanged."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.steering.__main__ import AT_LEAST
from bench.steering.groups import GROUPS, Group, load_group
from bench.steering.measure import FACTORS, auc, measure
from bench.steering.pairs import OTHERS, load_pairs
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
    assert strong.auc > 0.95


@pytest.mark.parametrize(("name", "at_least"), list(AT_LEAST.items()))
def test_what_is_promised_of_auto_is_kept(name: str, at_least: float) -> None:
    figures = measure(load_encoder(device="cpu"), load_group(name), ControlTarget.AUTO)
    by_factor = dict(zip(FACTORS, figures, strict=True))

    assert [figure.auc for figure in figures] == sorted(figure.auc for figure in figures)
    assert by_factor[7.0].auc >= at_least
    assert by_factor[0.1].auc < 0.1
    assert all(figure.relevance > by_factor[1.0].relevance - 0.03 for figure in figures)
    assert by_factor[-1.0].below_neither < 0.4 < by_factor[0.0].below_neither


@pytest.mark.parametrize("name", GROUPS)
def test_neither_and_both_are_told_by_the_words(name: str) -> None:
    group = load_group(name)
    for query in group.queries:
        one = {id for aspect in query.aspects for id in aspect.documents}
        assert len(query.neither) >= 10
        assert len(query.both) >= 1
        assert not one & {*query.neither, *query.both}


def test_pairs_join_two_questions_with_their_own_judgements(tmp_path: Path) -> None:
    corpus = [{"_id": f"d{i}", "title": "", "text": f"text {i}"} for i in range(OTHERS + 4)]
    with gzip.open(tmp_path / "corpus.jsonl.gz", "wt", encoding="utf-8") as file:
        file.write("\n".join(map(json.dumps, corpus)))
    queries = [{"_id": "q0", "text": "why ?"}, {"_id": "q1", "text": "how ."}]
    (tmp_path / "queries.jsonl").write_text("\n".join(map(json.dumps, queries)))
    (tmp_path / "qrels.tsv").write_text("query\tdocument\tscore\nq0\td0\t1\nq0\td1\t0\nq1\td2\t3\n")

    group = load_pairs(tmp_path)

    [pair] = group.queries
    said = [pair.text[a.start : a.start + a.length] for a in pair.aspects]
    assert {word: a.documents for word, a in zip(said, pair.aspects, strict=True)} == {"why": ("d0",), "how": ("d2",)}
    assert pair.text in ("why. how.", "how. why.")
    assert len(pair.neither) == OTHERS
    assert not {"d0", "d2"} & set(pair.neither)
    assert group.documents.keys() == {"d0", "d2", *pair.neither}
