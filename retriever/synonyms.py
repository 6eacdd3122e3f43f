"""A query's terms and those of the collection's synonyms for its words: the BM25 leg alone looks for them.

A single word's single-word synonyms count as that word: its factor, and one document frequency for all of them, so
that a rare synonym does not outrank the word that was typed. Where either side has several words, the synonym is words
of its own, which share the factor of what they stand for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from threading import Lock

import numpy as np

from core.synonyms import Synonyms
from embedder.lexical import Analyzer, QueryWord
from retriever.terms import QueryTerms, assembled
from store.view import View

_KEPT = 16  # collections
_Key = tuple[str, ...]  # a word's terms, or the word itself where it has none


class SynonymReader:
    """Thread-safe; remembers what the analysis made of the collections' synonyms."""

    def __init__(self, analyzer: Analyzer) -> None:
        self._analyzer = analyzer
        self._lock = Lock()
        self._read: dict[int, _Index] = {}

    def expanded(self, view: View, terms: QueryTerms) -> QueryTerms:
        """`terms` and the synonyms of their words. Where a longer sequence of words has synonyms, shorter have none."""
        synonyms = view.collection.settings.synonyms
        return self._index(view, synonyms).expand(terms) if synonyms else terms

    def _index(self, view: View, synonyms: Synonyms) -> _Index:
        collection, languages = view.collection.id, view.languages
        with self._lock:
            known = self._read.get(collection)
        if known is not None and known.languages == languages and known.synonyms == synonyms:
            return known
        fresh = _Index.of(synonyms, languages, self._analyzer)
        with self._lock:
            if len(self._read) >= _KEPT:
                self._read.clear()
            self._read[collection] = fresh
        return fresh


@dataclass(frozen=True, kw_only=True, slots=True)
class _Rule:
    said: tuple[_Key, ...]
    synonyms: tuple[tuple[QueryWord, ...], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Index:
    synonyms: Synonyms
    languages: tuple[str, ...]
    rules: dict[_Key, list[_Rule]]  # by the first word, the longest first

    @classmethod
    def of(cls, synonyms: Synonyms, languages: tuple[str, ...], analyzer: Analyzer) -> _Index:
        rules: dict[_Key, list[_Rule]] = {}
        for said, others in synonyms.items():
            words = analyzer.analyze_query(said, languages).words
            found = [analyzer.analyze_query(other, languages).words for other in others]
            if words:
                rule = _Rule(said=tuple(map(_key, words)), synonyms=tuple(each for each in found if each))
                rules.setdefault(rule.said[0], []).append(rule)
        for listed in rules.values():
            listed.sort(key=lambda rule: -len(rule.said))
        return cls(synonyms=synonyms, languages=languages, rules=rules)

    def expand(self, terms: QueryTerms) -> QueryTerms:
        words, factors = list(terms.words), terms.word_factors.tolist()
        keys = [_key(word) for word in words]
        origins: dict[str, str] = {}
        place = 0
        while place < len(keys):
            rule = next((r for r in self.rules.get(keys[place], ()) if _stands(r.said, keys, place)), None)
            if rule is None:
                place += 1
                continue
            end = place + len(rule.said)
            said = " ".join(word.text for word in terms.words[place:end])
            for synonym in rule.synonyms:
                origins |= {term: said for word in synonym for term in word.terms}
                if len(synonym) == len(rule.said) == 1:
                    own = words[place]
                    words[place] = replace(own, terms=tuple(dict.fromkeys((*own.terms, *synonym[0].terms))))
                    continue
                share = float(np.mean(factors[place:end])) / len(synonym)
                start, stop = words[place].start, words[end - 1].end
                words += [replace(word, start=start, end=stop) for word in synonym]
                factors += [share] * len(synonym)
            place = end
        typed = {term for word in terms.words for term in word.terms}
        return assembled(
            words,
            np.array(factors, dtype=np.float64),
            typed=len(terms.words),
            origins={term: said for term, said in origins.items() if term not in typed},
        )


def _key(word: QueryWord) -> _Key:
    return word.terms or (word.text,)


def _stands(said: Sequence[_Key], keys: Sequence[_Key], place: int) -> bool:
    return tuple(keys[place : place + len(said)]) == said
