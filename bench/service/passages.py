"""Real passages from test collections, and the judged queries on them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from app.evaluation import read_judged
from bench import corpus

JUDGED = ("scifact", "cranfield", "vaswani-npl")
BESIDE = "icecat-products-dev"  # fills up the number; its queries, judged for a part of it only, are left out


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """Passages, queries and judgements. Ids start with the name of their collection."""

    passages: dict[str, str]  # title and text as one string, by id
    queries: dict[str, str]  # text by id
    judgements: dict[str, dict[str, int]]  # gains by query and passage


def read_sample(folder: Path, count: int) -> Sample:
    """The first `count` passages of the collections in `folder`, and the queries with a relevant passage among them.

    Raises InvalidFile where a collection is missing, ValueError where there are too few passages.
    """
    passages: dict[str, str] = {}
    for name in (*JUDGED, BESIDE):
        for identity, text in corpus.texts(folder / name / "corpus.jsonl.gz"):
            if len(passages) == count:
                break
            passages[f"{name}-{identity}"] = text
    if len(passages) < count:
        raise ValueError(f"{folder} holds {len(passages)} passages, and {count} were asked for")
    queries, judgements = {}, {}
    for name in JUDGED:
        texts, judged = read_judged(folder / name / "queries.jsonl", folder / name / "qrels.tsv")
        for query, gains in judged.items():
            held = {f"{name}-{identity}": gain for identity, gain in gains.items() if f"{name}-{identity}" in passages}
            if any(gain > 0 for gain in held.values()):
                queries[f"{name}-{query}"], judgements[f"{name}-{query}"] = texts[query], held
    return Sample(passages=passages, queries=queries, judgements=judgements)
