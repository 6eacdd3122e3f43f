"""Word conditions: words and phrases that a document must, or must not, contain to be found by any leg.

A condition applies to a document: any of its passages, or its title, may fulfil it. Words are compared as in the sparse
leg, by their stems in the language of the document: "plays" matches a document that has "play". A phrase is a sequence
of words, including stop words. Documents that may contain a phrase, judging by its terms, are read to make sure: the
result is exact, or the query is refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import and_, or_

import numpy as np

from core.errors import InvalidQuery
from core.records import Int64Array
from embedder.lexical import Analyzer, QueryWord
from embedder.lexical.sequence import WordSequence
from embedder.lexical.words import is_character, units
from retriever.syntax import check_query
from store.filters.sql import Documents
from store.holders import document_texts, documents_with_terms
from store.ids import distinct
from store.view import View
from store.vocabulary import Vocabularies

MAX_CONDITIONS = 100
MAX_CHARACTERS = 1000  # of one condition
MAX_READ = 20_000  # documents that are read to find a phrase


@dataclass(frozen=True, kw_only=True, slots=True)
class WordConditions:
    """Required and excluded words; entries of several words are phrases.

    Raises InvalidQuery for an entry that has no word or is too long, and for too many entries.
    """

    must: tuple[str, ...] = ()
    must_not: tuple[str, ...] = ()
    phrases: tuple[str, ...] = ()  # required, like those in `must`

    def __post_init__(self) -> None:
        count = len(self.must) + len(self.must_not) + len(self.phrases)
        if count > MAX_CONDITIONS:
            raise InvalidQuery(
                f"{count} required or excluded words and phrases; at most {MAX_CONDITIONS} are allowed", param="must"
            )
        for param, entries in (("must", self.must), ("must_not", self.must_not), ("phrases", self.phrases)):
            for entry in entries:
                if len(entry) > MAX_CHARACTERS:
                    raise InvalidQuery(
                        f"{param}: an entry has {len(entry)} characters; at most {MAX_CHARACTERS} are allowed",
                        param=param,
                    )
                if not any(True for _ in units(entry)):
                    raise InvalidQuery(f"{param}: {entry!r:.80} has no word", param=param)
                check_query(entry)

    def __bool__(self) -> bool:
        return bool(self.must or self.must_not or self.phrases)

    @property
    def required(self) -> tuple[str, ...]:
        return (*self.must, *self.phrases)


def fulfilling(
    view: View,
    conditions: WordConditions,
    analyzer: Analyzer,
    vocabularies: Vocabularies,
    allowed: Int64Array | None,
) -> Int64Array | None:
    """The passages among `allowed` (None: all) whose documents fulfil the conditions, as sorted ids; None: all.

    Raises InvalidQuery for a phrase that would require reading too many documents.
    """
    if not conditions:
        return allowed
    among = None if allowed is None else Documents(distinct(view.documents_of(allowed)))
    found = Documents(np.empty(0, dtype=np.int64), others=True) if among is None else among
    resolver = _Resolver(view, analyzer, vocabularies)
    for entry in conditions.required:
        found &= resolver.holders(entry, found)
    for entry in conditions.must_not:
        found &= ~resolver.holders(entry, found)
    passages = view.passages_in(found)
    return passages if allowed is None else np.intersect1d(passages, allowed, assume_unique=True)


class _Resolver:
    def __init__(self, view: View, analyzer: Analyzer, vocabularies: Vocabularies) -> None:
        self._view = view
        self._analyzer = analyzer
        self._vocabularies = vocabularies
        self._languages = view.languages or (analyzer.default_language,)

    def holders(self, entry: str, among: Documents) -> Documents:
        """The documents of `among` that contain the word or phrase; for a word, possibly others that contain it too."""
        words = self._analyzer.analyze_query(entry, self._languages)
        by_language = {code: self._analyzer.analyze_query(entry, [code]) for code in self._languages}
        plain = len(words) == 1 and not is_character(words[0].text) and len(list(units(entry))) == 1
        if plain and all(word.terms for (word,) in by_language.values()):
            return self._word({code: word.terms for code, (word,) in by_language.items()})
        candidates = reduce(or_, (self._candidates(words, code) for code, words in by_language.items())) & among
        return self._read(entry, candidates)

    def _word(self, terms: Mapping[str, tuple[str, ...]]) -> Documents:
        """The documents that contain the word's terms in their own language.

        The language matters because a stem of one language may be a word of another.
        """
        if len(set(terms.values())) == 1:
            return documents_with_terms(self._view, next(iter(terms.values())))
        held = [documents_with_terms(self._view, own) & self._view.documents_in(code) for code, own in terms.items()]
        return reduce(or_, held)

    def _candidates(self, words: Sequence[QueryWord], language: str) -> Documents:
        """A superset of the documents of the language that contain the phrase."""
        held = [self._with(word) for word in words if word.terms]
        return reduce(and_, held) if held else self._view.documents_in(language)

    def _with(self, word: QueryWord) -> Documents:
        within = self._vocabularies.containing(self._view, word.text) if is_character(word.text) else word.terms
        return documents_with_terms(self._view, within)

    def _read(self, entry: str, candidates: Documents) -> Documents:
        """The candidates that contain the phrase."""
        if len(candidates.ids) > MAX_READ:
            raise InvalidQuery(
                f"{entry!r:.80} may stand in {len(candidates.ids)} documents, by the words that are indexed; at most "
                f"{MAX_READ} are read to make sure. Add a rarer word to it, require another one, or filter",
                param="phrases",
            )
        phrases = {code: WordSequence(entry, code) for code in self._languages}
        titled = self._view.collection.settings.title_weight > 0  # else the index has no titles either
        found = [
            document.number
            for document in document_texts(self._view, candidates.ids)
            if any(
                phrases[document.language] in WordSequence(text, document.language)
                for text in ((document.title, *document.parts) if titled else document.parts)
            )
        ]
        return Documents(np.sort(np.array(found, dtype=np.int64)))
