"""Real documents for a collection, and judged queries on them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import islice
from typing import Any

from app.evaluation import read_judged
from bench import corpus
from bench.corpus import DATA

QUERIES = 150  # at most, per set
_WORDS = 19  # approximate words in a passage of PASSAGE_TOKENS
PASSAGE_TOKENS = 32


@dataclass(frozen=True, kw_only=True, slots=True)
class Texts:
    """The initial content of the collection. Ids start with the name of their set."""

    documents: dict[str, str]  # title and text as one string, by id
    queries: dict[str, str]  # text by id, of queries with a relevant document among `documents`
    judgements: dict[str, dict[str, int]]  # gains by query and document
    settings: dict[str, Any]  # of the collection


def english(passages: int) -> Texts:
    """Abstracts in English, cut into about `passages` short passages."""
    settings = {"language": "en", "passage_tokens": PASSAGE_TOKENS, "overlap_tokens": 0}
    return _read(("cranfield", "vaswani-npl", "scifact"), settings, words=passages * _WORDS)


def mixed(documents: int) -> Texts:
    """Abstracts in English and articles in Chinese: at most `documents` of each."""
    return _read(("cranfield", "cmrc2018-zh"), {}, documents=documents)


def _read(
    names: tuple[str, ...], settings: dict[str, Any], *, words: float = math.inf, documents: int | None = None
) -> Texts:
    """`words`: approximate limit for all documents together. `documents`: limit per set."""
    held: dict[str, str] = {}
    queries, judgements = dict[str, str](), dict[str, dict[str, int]]()
    for name in names:
        for identity, text in islice(corpus.texts(DATA / name / "corpus.jsonl.gz"), documents):
            if words <= 0:
                break
            held[f"{name}-{identity}"] = text
            words -= len(text.split())
        texts, judged = read_judged(DATA / name / "queries.jsonl", DATA / name / "qrels.tsv")
        known = (
            (query, {f"{name}-{id}": gain for id, gain in gains.items() if f"{name}-{id}" in held})
            for query, gains in judged.items()
        )
        some = [(query, gains) for query, gains in known if any(gain > 0 for gain in gains.values())][:QUERIES]
        queries |= {f"{name}-{query}": texts[query] for query, _ in some}
        judgements |= {f"{name}-{query}": gains for query, gains in some}
    return Texts(documents=held, queries=queries, judgements=judgements, settings=settings)
