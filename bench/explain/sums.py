"""Check that explanations add up, and that deleting the word with the largest effect lowers the score.

Random queries are searched with explanations by words, half of them with a random factor on a random word. For the
first hit of each:

- every line of the ledger with details is compared with the sum of its details, and the query's words with the score;
- the word with the largest effect is deleted from the title or passage, and the rest is embedded and analysed again, as
  in indexing, and scored with the same fusion line: does the score fall? Collection statistics are kept.
  `largest_regap`: the error of a score that is recomputed in this way with nothing deleted.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from app.wiring import Wiring
from core.passages import document_prompt, prompt_title
from core.prompts import Prompt, TextControl
from core.reasons import HitExplanation, WordEffect
from core.records import CollectionSettings, Document, Hit, Representation
from embedder.lexical.words import units
from indexer.drafting import Drafted, Drafter
from retriever.query import Explain, Query
from retriever.terms import query_terms, synonym_scales
from store import Draft, bm25
from store.filters.metadata import StoredMetadata

FACTORS = (0.0, 0.3, 3.0, 7.0)
SEED = 20260101
ROUNDING = 1e-9  # allowed error of a sum
TOLERANCE = 1e-6  # allowed error of a recomputed score: vectors are float32


def measure_sums(parts: Wiring, queries: Sequence[str], searches: int) -> dict[str, Any]:
    """Measure over `searches` random searches of the collection "bench".

    Gaps are the largest found; `lowered` is a share of the `deletions`, 0..1. `wrong` lists sums that are off.
    """
    chosen = random.Random(SEED)
    gaps, regaps, falls = [0.0], [0.0], []
    for text in [chosen.choice(queries) for _ in range(searches)]:
        query = Query(text=text, controls=_random_controls(text, chosen), k=1, explain=Explain.WORDS)
        for hit in parts.searcher.search("bench", query).hits:
            assert hit.explanation is not None
            gaps += _gaps(hit.explanation, hit.score)
            regaps.append(abs(score_of(parts, query, hit, hit.title, hit.text) - hit.score))
            best = max(hit.explanation.words, key=lambda word: word.effect, default=None)
            if best is not None and best.effect > 0:
                falls.append(score_of(parts, query, hit, *_without(hit, best)) < hit.score)
    wrong = []
    if max(gaps) > ROUNDING:
        wrong.append(f"a sum is off by {max(gaps):.2g}")
    if max(regaps) > TOLERANCE:
        wrong.append(f"with nothing deleted a score is off by {max(regaps):.2g}: what deletions do is not known")
    return {
        "searches": searches,
        "largest_gap": max(gaps),
        "largest_regap": max(regaps),
        "deletions": len(falls),
        "lowered": sum(falls) / max(len(falls), 1),
        "wrong": wrong,
    }


def _random_controls(text: str, chosen: random.Random) -> tuple[TextControl, ...]:
    words = list(units(text))
    if not words or chosen.random() < 0.5:
        return ()
    word = chosen.choice(words)
    return (TextControl(start=word.start, length=word.end - word.start, factor=chosen.choice(FACTORS)),)


def _gaps(reasons: HitExplanation, score: float) -> Iterator[float]:
    """Yield the absolute error of each sum."""
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


def _without(hit: Hit, word: WordEffect) -> tuple[str, str]:
    """The hit's title and text without the word."""
    if word.in_title:
        return hit.title[: word.start] + hit.title[word.end :], hit.text
    return hit.title, hit.text[: word.start] + hit.text[word.end :]


def score_of(parts: Wiring, query: Query, hit: Hit, title: str, text: str) -> float:
    """The score that the hit would have with this title and text, by the same fusion line."""
    assert hit.explanation is not None
    raw = _raw(parts, query, hit, title, text)
    score = 0.0
    for leg in hit.explanation.ledger.details:
        name = leg.description.split(":")[0]
        constant = math.fsum(line.value for line in leg.details if line.kind == "constant")
        slope = (leg.value - constant) / hit.scores[name].raw if hit.scores[name].raw else 0.0
        score += slope * raw[name] + constant
    return score


def _raw(parts: Wiring, query: Query, hit: Hit, title: str, text: str) -> dict[str, float]:
    """The raw score of each leg for a passage with this title and text, built as in indexing."""
    with parts.views.open("bench") as view:
        language = view.fetch(np.array([hit.id]))[0].language
        terms = query_terms(query.text, query.controls, view.languages, parts.analyzer)
        statistics = view.term_statistics(terms.terms)
    settings = CollectionSettings()
    drafter = Drafter(settings, parts.encoder, parts.analyzer)
    document, title = Document(id="", title=title, text=text), prompt_title(title, settings, parts.encoder)
    draft = Draft(
        document=document,
        metadata=StoredMetadata.of(document, settings.fields),
        language=language,
        content_sha=b"",
        passages=(),
    )
    prompt = document_prompt(title, text, ())
    [counts] = drafter.terms(Drafted(draft=draft, title=title, prompts={b"": prompt}), {b""}).values()
    asked = parts.encoder.encode([Prompt.of(query.text, controls=query.controls)], Representation.QUERY).vectors[0]
    vector = parts.encoder.encode([prompt], Representation.DOCUMENT).vectors[0]
    lengths = np.array([math.fsum(counts.values())])
    [saturation] = bm25.saturation(lengths, statistics.average_length, k1=settings.k1, b=settings.b)
    sparse = math.fsum(
        factor * statistics.idf[term] * counts[term] / (counts[term] + saturation)
        for term, factor in zip(terms.terms, terms.factors * synonym_scales(terms, statistics), strict=True)
        if term in counts
    )
    return {"dense": float(vector.astype(np.float64) @ asked.astype(np.float64)), "sparse": sparse}
