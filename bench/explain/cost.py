"""Measure the cost of explanations.

words      the stage "explain" of a search that explains ten hits by words, compared with embedding the ten passages in
           one batch; and the same for the search repeated
atman      thirty parts of a passage of 200 tokens, in one batch, compared with 31 passes of the network run by
           transformers in float32, one text at a time
"""

from __future__ import annotations

import gc
import random
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import torch

from app.wiring import Wiring
from core.passages import passage_prompt, prompt_title
from core.prompts import Prompt
from core.records import CollectionSettings, Representation
from embedder.densemodels import only
from embedder.explaining.request import Granularity
from embedder.generic import differentiable
from embedder.kinds import DEFAULT_MODEL, model_folder
from embedder.local import LocalEncoder
from retriever.legs import Leg
from retriever.query import Explain, Query
from retriever.result import SearchResult
from retriever.searcher import Searcher
from retriever.unit_effects import unit_effects
from retriever.unit_request import UnitMethod, UnitRequest
from retriever.words import PassageWords, passage_words

ROUNDS = 3
UNITS, TOKENS = 30, 200
SEED = 20260101


def measure_words(parts: Wiring, queries: Sequence[str], count: int) -> dict[str, Any]:
    """Medians in milliseconds over `count` queries of the collection "bench", and their ratios to the batch."""
    gc.collect()
    gc.freeze()  # as a server does
    asked = random.Random(SEED).sample(list(queries), min(count, len(queries)))
    batches, first, again, tokens = [], [], [], []
    for text in asked:
        query = Query(text=text, k=10, explain=Explain.WORDS)
        rounds = [_explained(parts, query) for _ in range(ROUNDS)]
        first.append(min(result.stages_ms["explain"] for result, _ in rounds))
        again.append(min(result.stages_ms["explain"] for _, result in rounds))
        found = rounds[0][0]
        titles = [prompt_title(hit.title, CollectionSettings(), parts.encoder) for hit in found.hits]
        prompts = [Prompt.of(passage_prompt(t, hit.text)) for t, hit in zip(titles, found.hits, strict=True)]
        made = parts.encoder.encode(prompts, Representation.DOCUMENT)
        tokens.append(int(made.token_counts.sum()))
        batches.append(_best(partial(parts.encoder.encode, prompts, Representation.DOCUMENT)))
    batch = float(np.median(batches))
    return {
        "searches": len(asked),
        "tokens": float(np.median(tokens)),
        "batch_ms": batch,
        "first_ms": float(np.median(first)),
        "again_ms": float(np.median(again)),
        "first_over_batch": float(np.median(np.array(first) / np.array(batches))),
        "again_over_batch": float(np.median(np.array(again) / np.array(batches))),
    }


def _explained(parts: Wiring, query: Query) -> tuple[SearchResult, SearchResult]:
    """The search by a new searcher with empty caches, and the same search repeated."""
    searcher = Searcher(parts.views, only(parts.encoder), parts.analyzer)
    return searcher.search("bench", query), searcher.search("bench", query)


def measure_atman(encoder: LocalEncoder, text: str) -> dict[str, Any]:
    """Milliseconds of processor time, the best of ROUNDS, on the first TOKENS tokens of `text`."""
    spans = encoder.token_spans(text)
    passage = _in_units(text[: int(spans[min(TOKENS, len(spans)) - 1][1])])
    vector = encoder.encode([Prompt.of("a question")], Representation.QUERY).vectors[0].astype(np.float64)
    request = UnitRequest(method=UnitMethod.ATMAN, granularity=Granularity.PARAGRAPH)
    found = unit_effects(request, passage, encoder, vector, {}, {}, {Leg.DENSE: 1.0})
    model = differentiable(model_folder(DEFAULT_MODEL), torch.device("cpu"))
    [tokens] = encoder.tokenizer.tokenize([Prompt.of(passage.text)])
    ids = torch.from_numpy(tokens.ids)[None]

    def stock() -> None:
        with torch.inference_mode():
            for _ in range(len(found) + 1):
                model(input_ids=ids)

    ours = _best(lambda: unit_effects(request, passage, encoder, vector, {}, {}, {Leg.DENSE: 1.0}), time.process_time)
    passes = _best(stock, time.process_time)
    return {
        "units": len(found),
        "tokens": len(tokens),
        "precision": str(encoder.precision),
        "atman_ms": ours,
        "stock_ms": passes,
        "ratio": ours / passes,
    }


def _in_units(text: str) -> PassageWords:
    """The text in UNITS parts of about equally many words, separated by blank lines."""
    words = text.split()
    borders = np.linspace(0, len(words), UNITS + 1).astype(int)
    parts = [" ".join(words[start:end]) for start, end in pairwise(borders.tolist())]
    return passage_words("\n\n".join(parts), 0, "en")


def _best(work: Callable[[], Any], clock: Callable[[], float] = time.perf_counter) -> float:
    """Milliseconds by `clock` of the fastest of ROUNDS runs."""
    took = []
    for _ in range(ROUNDS):
        start = clock()
        work()
        took.append((clock() - start) * 1000)
    return min(took)
