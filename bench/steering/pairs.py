"""Build steering queries from public test collections by joining two questions into one.

Two queries of a collection are joined, "A. B.", and one of the two sentences is steered. The texts and the relevance
judgements for A and B are those of the collection; no word of a query has to occur in a document.
"""

from __future__ import annotations

import random
from pathlib import Path

from bench.corpus import records
from bench.steering.groups import Aspect, Group, SteeredQuery

COLLECTIONS = ("cranfield", "scifact")
PAIRS = 30
OTHERS = 200  # documents of neither aspect
LONGEST = 120  # characters of a question, so that both fit into the model's input
DOCUMENT = 1200  # characters used of a document


def load_pairs(folder: Path) -> Group:
    """Load pairs from a folder with `corpus.jsonl.gz`, `queries.jsonl` and `qrels.tsv`; the same pairs every time."""
    relevant: dict[str, set[str]] = {}
    for line in (folder / "qrels.tsv").read_text(encoding="utf-8").splitlines()[1:]:
        query, document, grade = line.split("\t")
        if int(grade) > 0:
            relevant.setdefault(query, set()).add(document)
    texts = {query["_id"]: query["text"].strip(" .?") for query in records(folder / "queries.jsonl")}
    chosen = random.Random(3)
    ids = sorted(id for id in relevant if len(texts[id]) <= LONGEST)
    chosen.shuffle(ids)
    pairs = [(a, b) for a, b in zip(ids[::2], ids[1::2], strict=False) if not relevant[a] & relevant[b]][:PAIRS]
    judged = set[str]().union(*(relevant[id] for pair in pairs for id in pair))
    found = records(folder / "corpus.jsonl.gz")
    corpus = {d["_id"]: f"{d['title']} {d['text']}".strip()[:DOCUMENT] for d in found}
    others = chosen.sample(sorted(corpus.keys() - judged), OTHERS)
    return Group(
        name=folder.name,
        documents={id: corpus[id] for id in [*sorted(judged), *others]},
        queries=tuple(_joined((texts[a], texts[b]), (relevant[a], relevant[b]), tuple(others)) for a, b in pairs),
    )


def _joined(texts: tuple[str, str], relevant: tuple[set[str], set[str]], others: tuple[str, ...]) -> SteeredQuery:
    first, second = texts
    return SteeredQuery(
        text=f"{first}. {second}.",
        aspects=(
            Aspect(start=0, length=len(first), documents=tuple(sorted(relevant[0]))),
            Aspect(start=len(first) + 2, length=len(second), documents=tuple(sorted(relevant[1]))),
        ),
        both=(),
        neither=others,
    )
