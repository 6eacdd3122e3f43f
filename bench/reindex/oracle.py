"""Check that each answer comes from a single generation.

The cosines of its hits are recomputed with the model of the generation that it names. Dense-only answers are also
compared with those that the same generation gave without any other load.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from bench.reindex.load import HITS, Asked
from core.prompts import Prompt
from core.protocols import Encoder
from core.records import Float32Array, Representation

TOLERANCE = 0.01  # of a cosine: rounding depends on the shape of the batch
SAME = 0.8  # least share of equal dense-only hits: which lists of codes are read depends on the segments


class Oracle:
    """Checks answers against both generations."""

    def __init__(self, encoders: Mapping[int, Encoder], queries: Mapping[str, str]) -> None:
        """`encoders`: by generation; `queries`: texts by id."""
        self._encoders = encoders
        self._queries = queries
        self._quiet: dict[tuple[int, str], set[str]] = {}

    def note_quiet(self, query: str, answer: Mapping[str, Any]) -> None:
        """Record the answer to a dense-only search that was made while nothing was written or copied."""
        self._quiet[answer["generation"], query] = {hit["document_id"] for hit in answer["hits"]}

    def mixed(self, asked: Sequence[Asked]) -> list[str]:
        """One line for each wrong answer."""
        wrong = [
            f"{search.query}: generation {search.answer['generation']}"
            for search in asked
            if search.answer["generation"] not in self._encoders
        ]
        for generation, encoder in self._encoders.items():
            those = [search for search in asked if search.answer["generation"] == generation]
            wrong += _by_value(encoder, self._queries, those)
            wrong += self._by_documents(generation, those)
        return wrong

    def _by_documents(self, generation: int, asked: Iterable[Asked]) -> list[str]:
        wrong = []
        for search in asked:
            quiet = self._quiet.get((generation, search.query))
            if search.dense and quiet is not None:
                found = {hit["document_id"] for hit in search.answer["hits"]}
                if len(found & quiet) < SAME * min(HITS, len(quiet)):
                    wrong.append(f"{search.query}: other documents than generation {generation} found alone")
        return wrong


def _by_value(encoder: Encoder, queries: Mapping[str, str], asked: Sequence[Asked]) -> list[str]:
    passages = sorted({hit["passage"]["text"] for search in asked for hit in search.answer["hits"]})
    texts = sorted({search.query for search in asked})
    if not passages:
        return []
    as_passage = _vectors(encoder, passages, Representation.DOCUMENT)
    as_query = _vectors(encoder, [queries[text] for text in texts], Representation.QUERY)
    rows, places = {text: row for row, text in enumerate(texts)}, {text: row for row, text in enumerate(passages)}
    wrong = []
    for search in asked:
        hits = search.answer["hits"]
        told = np.array([hit["scores"]["dense"]["raw"] for hit in hits])
        vectors = as_passage[[places[hit["passage"]["text"]] for hit in hits]]
        furthest = np.abs(vectors @ as_query[rows[search.query]] - told).max(initial=0.0)
        if furthest > TOLERANCE:
            wrong.append(f"{search.query}: cosines of another model than {encoder.name}, by {furthest:.3f}")
    return wrong


def _vectors(encoder: Encoder, texts: Sequence[str], representation: Representation) -> Float32Array:
    return encoder.encode([Prompt.of(text) for text in texts], representation).vectors
