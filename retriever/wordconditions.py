"""Words and phrases that a document must have, or must not have, to be found by any leg.

A condition holds for a document: any of its passages, or its title, may fulfil it. A word is compared as the sparse leg
does it, by what the language of the document makes of it: "plays" is in a document that says "play". A phrase is words
one behind the other, stop words among them. Documents that could hold a phrase, by the terms of its words, are read:
the answer is exact, or it is refused.
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
MAX_CHARACTERS = 1000  # of one
MAX_READ = 20_000  # documents that are read to find a phrase in


@dataclass(frozen=True, kw_only=True, slots=True)
class WordConditions:
    """Entries of several words are phrases. Raises InvalidQuery for one without a word, and for too many."""

    must: tuple[str, ...] = ()
    must_not: tuple[str, ...] = ()
    phrases: tuple[str, ...] = ()  # required, as those in `must`

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
    """Of the passages `allowed` (None: all) those whose document fulfils the conditions, sorted; None: all.

    Raises InvalidQuery for a phrase that too many documents would have to be read for.
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
        """The documents of `among` that hold the word or phrase; of a word perhaps others that hold it, too."""
        words = self._analyzer.analyze_query(entry, self._languages)
        by_language = {code: self._analyzer.analyze_query(entry, [code]) for code in self._languages}
        plain = len(words) == 1 and not is_character(words[0].text) and len(list(units(entry))) == 1
        if plain and all(word.terms for (word,) in by_language.values()):
            return self._word({code: word.terms for code, (word,) in by_language.items()})
        candidates = reduce(or_, (self._candidates(words, code) for code, words in by_language.items())) & among
        return self._read(entry, candidates)

    def _word(self, terms: Mapping[str, tuple[str, ...]]) -> Documents:
        """The documents that hold a word's terms in their own language: one language's stem is another one's word."""
        if len(set(terms.values())) == 1:
            return documents_with_terms(self._view, next(iter(terms.values())))
        held = [documents_with_terms(self._view, own) & self._view.documents_in(code) for code, own in terms.items()]
        return reduce(or_, held)

    def _candidates(self, words: Sequence[QueryWord], language: str) -> Documents:
        """All documents of the language that may hold the phrase, and others."""
        held = [self._with(word) for word in words if word.terms]
        return reduce(and_, held) if held else self._view.documents_in(language)

    def _with(self, word: QueryWord) -> Documents:
        within = self._vocabularies.containing(self._view, word.text) if is_character(word.text) else word.terms
        return documents_with_terms(self._view, within)

    def _read(self, entry: str, candidates: Documents) -> Documents:
        """Those of the candidates in which the phrase stands."""
        if len(candidates.ids) > MAX_READ:
            raise InvalidQuery(
                f"{entry!r:.80} may stand in {len(candidates.ids)} documents, by the words that are indexed; at most "
                f"{MAX_READ} are read to make sure. Add a rarer word to it, require another one, or filter",
                param="phrases",
            )
        phrases = {code: WordSequence(entry, code) for code in self._languages}
        titled = self._view.collection.settings.title_weight > 0  # else the index has no titles, either
        found = [
            document.number
            for document in document_texts(self._view, candidates.ids)
            if any(
                phrases[document.language] in WordSequence(text, document.language)
                for text in ((document.title, *document.parts) if titled else document.parts)
            )
        ]
        return Documents(np.sort(np.array(found, dtype=np.int64)))
