"""Expands a single character of a script without spaces (Chinese, Thai) in a query to the pairs that contain it.

Texts are indexed by pairs of neighbouring characters, so a single character is a term only where it has no neighbour.
In a query it stands for all pairs of the collection that contain it, in the way that a word stands for its synonyms:
with one factor, and one document frequency for all of them. A character next to letters or digits ("2015年", "T恤")
is looked up unchanged, since texts mostly write it that way too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import islice

from embedder.lexical import QueryWord
from embedder.lexical.words import is_character, units
from retriever.terms import QueryTerms, assembled
from store.view import View
from store.vocabulary import Vocabularies

MAX_CHARACTERS = 8  # only the first ones of a query: each requires a scan of all terms of the collection
MAX_PAIRS = 256  # of a character: the pairs that occur in the most passages


def with_pairs(view: View, terms: QueryTerms, vocabularies: Vocabularies) -> QueryTerms:
    """`terms` with the pairs of the lone characters among them added."""
    asked = lone_characters(terms)[:MAX_CHARACTERS]
    if not asked:
        return terms
    pairs = {character: _pairs(view, character, vocabularies) for character in asked}
    words = [
        replace(word, terms=_with(word.terms, pairs)) if apart else word
        for word, apart in zip(terms.words, _apart(terms.words), strict=True)
    ]
    known = set(terms.terms)
    held = {pair: character for character, found in pairs.items() for pair in found if pair not in known}
    widened = assembled(words, terms.word_factors, typed=terms.typed, origins=terms.origins)
    return replace(widened, characters=held)


def lone_characters(terms: QueryTerms) -> list[str]:
    """The single characters among the terms that no other word touches, in order; suppressed ones are left out."""
    asked = zip(terms.words, terms.word_factors, _apart(terms.words), strict=True)
    found = [
        term for word, factor, apart in asked for term in word.terms if apart and factor > 0 and is_character(term)
    ]
    return [*dict.fromkeys(found)]


def _apart(words: Sequence[QueryWord]) -> list[bool]:
    starts, ends = {word.start for word in words}, {word.end for word in words}
    return [word.start not in ends and word.end not in starts for word in words]


def _with(terms: Sequence[str], pairs: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(each for term in terms for each in (term, *pairs.get(term, ()))))


def _pairs(view: View, character: str, vocabularies: Vocabularies) -> list[str]:
    found = [term for term in vocabularies.containing(view, character) if term != character]
    df = view.term_statistics(found).df
    found = sorted((term for term in found if df[term]), key=lambda term: (-df[term], term))
    # A Thai consonant is also a code point of other characters, those with marks.
    return [*islice((term for term in found if any(unit.text == character for unit in units(term))), MAX_PAIRS)]
