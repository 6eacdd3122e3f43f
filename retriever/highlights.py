"""Highlighting: finds the words of the query in a hit, by the analysis of its language, and its best sentence."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from itertools import pairwise

import numpy as np

from core.passages import kept_text
from core.prompts import TextControl
from core.records import Highlight
from embedder.lexical import Analyzer, Term
from embedder.lexical.sentences import sentence_ends, without_space
from embedder.lexical.words import is_character, units
from retriever.characters import lone_characters
from retriever.terms import QueryTerms
from store.documents import StoredPassage
from store.view import View


def highlights(
    view: View, passages: Sequence[StoredPassage], terms: QueryTerms, required: Iterable[str], analyzer: Analyzer
) -> list[Highlight]:
    """The highlights of the passages, in order. Includes synonyms and required words, but no suppressed words."""
    asked = zip(terms.terms, terms.factors.tolist(), strict=True)
    weights = {term: factor for term, factor in asked if factor > 0 and term not in terms.characters}
    characters = set(lone_characters(terms))
    for entry in required:
        for word in analyzer.analyze_query(entry, view.languages):
            weights.update({term: weights.get(term, 1.0) for term in word.terms})
            characters |= {term for term in word.terms if is_character(term)}
    idf = view.term_statistics(list(weights)).idf
    worth = {term: factor * (idf[term] or 1.0) for term, factor in weights.items()}  # 1.0: the index has no terms
    return [highlight(passage, worth, analyzer, characters & worth.keys()) for passage in passages]


def highlight(
    passage: StoredPassage, worth: Mapping[str, float], analyzer: Analyzer, characters: Set[str] = frozenset()
) -> Highlight:
    """The highlight of one passage.

    `worth`: the weight of each term to mark. `characters`: terms that are also marked inside pairs of characters.
    """
    found = _marked(passage.text, passage.language, worth, characters, analyzer, passage.controls)
    return Highlight(
        passage=_spans(found),
        title=_spans(_marked(passage.title, passage.language, worth, characters, analyzer, ())),
        sentence=_best_sentence(passage.text, passage.language, found, worth),
    )


def _marked(
    text: str,
    language: str,
    worth: Mapping[str, float],
    characters: Set[str],
    analyzer: Analyzer,
    controls: Sequence[TextControl],
) -> list[Term]:
    """The marked terms of a text, analysed as in the index: parts that controls leave out are skipped.

    The spans refer to the whole text.
    """
    said = kept_text(text, controls)
    found = [term for term in analyzer.analyze(said.text, language) if term.text in worth]
    if characters:
        found += [Term(*unit) for unit in units(said.text) if unit.text in characters]
        found = sorted(set(found), key=lambda term: (term.start, term.end))
    spans = np.array([(term.start, term.end) for term in found], dtype=np.int64).reshape(-1, 2)
    places = said.origin(spans).tolist()
    return [Term(term.text, start, end) for term, (start, end) in zip(found, places, strict=True)]


def _spans(terms: Sequence[Term]) -> tuple[tuple[int, int], ...]:
    """The spans of the terms; overlapping pairs of characters are merged."""
    spans: list[tuple[int, int]] = []
    for term in terms:
        if spans and term.start < spans[-1][1]:
            spans[-1] = (spans[-1][0], max(spans[-1][1], term.end))
        else:
            spans.append((term.start, term.end))
    return tuple(spans)


def _best_sentence(
    text: str, language: str, found: Sequence[Term], worth: Mapping[str, float]
) -> tuple[int, int] | None:
    """The sentence with the highest total worth of distinct terms, the first of ties; None if no word is marked."""
    if not found:
        return None
    ends = [*sentence_ends(text, language)]
    borders = [0, *(end for end in ends if end < len(text)), len(text)]
    best, most = (0, len(text)), 0.0
    for start, end in pairwise(borders):
        value = sum(worth[term] for term in sorted({term.text for term in found if start <= term.start < end}))
        if value > most:
            best, most = (start, end), value
    return without_space(text, *best)
