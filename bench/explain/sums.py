"""Do explanations add up, and does the word with the largest effect matter?

Random queries are searched with reasons in words, half of them with a random factor on a random word. For the first hit
of each:

- every line of the ledger with details is compared with the sum of its details, and the query's words with the score;
- the word with the largest effect is deleted from the title or passage where it stands, the rest is embedded and
  analysed anew, and scored with the same fusion line: does the score fall? Collection statistics stay as they were.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from app.wiring import Wiring
from core.passages import passage_prompt, prompt_title
from core.prompts import Prompt, TextControl
from core.protocols import Encoder
from core.records import CollectionSettings, Hit, HitExplanation, Representation, WordEffect
from embedder.lexical.words import units
from retriever.query import Explain, Query
from retriever.terms import query_terms, synonym_scales
from store import bm25

FACTORS = (0.0, 0.3, 3.0, 7.0)
SEED = 20260101


def measure_sums(parts: Wiring, queries: Sequence[str], searches: int) -> dict[str, Any]:
    """Over the collection "bench": {"searches", "largest_gap", "deletions", "lowered"}; `lowered` is a share, 0..1."""
    chosen = random.Random(SEED)
    gaps, falls = [0.0], []
    for text in [chosen.choice(queries) for _ in range(searches)]:
        query = Query(text=text, controls=_random_controls(text, chosen), k=1, explain=Explain.WORDS)
        for hit in parts.searcher.search("bench", query).hits:
            assert hit.explanation is not None
            gaps += _gaps(hit.explanation, hit.score)
            best = max(hit.explanation.words, key=lambda word: word.effect, default=None)
            if best is not None and best.effect > 0:
                falls.append(_score_without(parts, query, hit, best) < hit.score)
    return {
        "searches": searches,
        "largest_gap": max(gaps),
        "deletions": len(falls),
        "lowered": sum(falls) / max(len(falls), 1),
    }


def _random_controls(text: str, chosen: random.Random) -> tuple[TextControl, ...]:
    words = list(units(text))
    if not words or chosen.random() < 0.5:
        return ()
    word = chosen.choice(words)
    return (TextControl(start=word.start, length=word.end - word.start, factor=chosen.choice(FACTORS)),)


def _gaps(reasons: HitExplanation, score: float) -> Iterator[float]:
    """How far each sum is off."""
    yield abs(reasons.ledger.value - score)
    yield abs(
        math.fsum(word.dense + word.sparse + word.learned for word in reasons.query_words) + reasons.query_rest - score
    )
    lines = [reasons.ledger]
    while lines:
        line = lines.pop()
        if line.details:
            yield abs(line.value - math.fsum(detail.value for detail in line.details))
            lines += line.details


def _score_without(parts: Wiring, query: Query, hit: Hit, word: WordEffect) -> float:
    """The hit's score had its document been written without the word, by the same fusion line."""
    cut = {"title": hit.title, "text": hit.text}
    place = "title" if word.in_title else "text"
    cut[place] = cut[place][: word.start] + cut[place][word.end :]
    title = prompt_title(cut["title"], CollectionSettings(), parts.encoder)
    prompt = passage_prompt(title, cut["text"])
    raw = {"dense": _cosine(parts.encoder, query, prompt), "sparse": _bm25(parts, query, hit, prompt)}
    assert hit.explanation is not None
    score = 0.0
    for leg in hit.explanation.ledger.details:
        name = leg.description.split(":")[0]
        constant = math.fsum(line.value for line in leg.details if line.kind == "constant")
        slope = (leg.value - constant) / hit.scores[name].raw if hit.scores[name].raw else 0.0
        score += slope * raw[name] + constant
    return score


def _cosine(encoder: Encoder, query: Query, prompt: str) -> float:
    asked = encoder.encode([Prompt.of(query.text, controls=query.controls)], Representation.QUERY).vectors[0]
    return float(encoder.encode([Prompt.of(prompt)], Representation.DOCUMENT).vectors[0] @ asked)


def _bm25(parts: Wiring, query: Query, hit: Hit, prompt: str) -> float:
    with parts.views.open("bench") as view:
        language = view.fetch(np.array([hit.id]))[0].language
        terms = query_terms(query.text, query.controls, view.languages, parts.analyzer)
        statistics = view.term_statistics(terms.terms)
    counts = parts.analyzer.term_frequencies(prompt, language)
    settings = CollectionSettings()
    lengths = np.array([float(counts.total())])
    saturation = bm25.saturation(lengths, statistics.average_length, k1=settings.k1, b=settings.b)
    return math.fsum(
        factor * statistics.idf[term] * counts[term] / (counts[term] + saturation[0])
        for term, factor in zip(terms.terms, terms.factors * synonym_scales(terms, statistics), strict=True)
    )
