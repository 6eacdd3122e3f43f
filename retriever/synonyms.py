"""Synonym expansion: adds the collection's synonyms to a query's terms, for the BM25 leg only.

Single-word synonyms of a single word count as that word: they have its factor, and one document frequency for all of
them, so that a rare synonym does not outrank the typed word. If either side has several words, the synonym is added as
separate words, which divide the factor of the original among themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from threading import Lock

import numpy as np

from core.synonyms import Synonyms
from embedder.lexical import Analyzer, QueryWord
from retriever.terms import QueryTerms, assembled, without_function_words
from store.view import View

_KEPT = 16  # collections
_Key = frozenset[str]  # a word's terms in all languages, or the word itself if queries do not search for it


class SynonymReader:
    """Expands queries by synonyms. Thread-safe; caches the analysed synonyms of collections."""

    def __init__(self, analyzer: Analyzer) -> None:
        self._analyzer = analyzer
        self._lock = Lock()
        self._read: dict[int, _Index] = {}

    def expanded(self, view: View, terms: QueryTerms) -> QueryTerms:
        """`terms` with the synonyms of their words. Longer sequences of words take precedence over shorter ones."""
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
    said: tuple[_Key, ...]  # the words that have the synonyms
    own: tuple[str, ...]  # the terms of `said`, if it is one word
    synonyms: tuple[tuple[QueryWord, ...], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Index:
    synonyms: Synonyms
    languages: tuple[str, ...]
    rules: dict[str, list[_Rule]]  # by each term of the first word

    @classmethod
    def of(cls, synonyms: Synonyms, languages: tuple[str, ...], analyzer: Analyzer) -> _Index:
        found: dict[tuple[_Key, ...], list[tuple[QueryWord, ...]]] = {}
        own: dict[tuple[_Key, ...], tuple[str, ...]] = {}
        for said, others in synonyms.items():
            words = [analyzer.analyze_query(text, languages) for text in (said, *others)]
            if words[0]:  # "TV" and "tvs" are the same word, by their terms
                key = tuple(map(_key, words[0]))
                own[key] = words[0][0].terms if len(key) == 1 else ()
                others_of = found.setdefault(key, [])
                others_of.extend(without_function_words(each, [1.0] * len(each)) for each in words[1:] if each)
        rules: dict[str, list[_Rule]] = {}
        for key, listed in found.items():
            for term in key[0]:
                rules.setdefault(term, []).append(_Rule(said=key, own=own[key], synonyms=tuple(listed)))
        return cls(synonyms=synonyms, languages=languages, rules=rules)

    def expand(self, terms: QueryTerms) -> QueryTerms:
        words, factors = list(terms.words), terms.word_factors.tolist()
        keys = [_key(word) for word in words]
        origins: dict[str, str] = {}
        place = 0
        while place < len(keys):
            rule = self._rule(keys, place)
            if rule is None:
                place += 1
                continue
            end = place + len(rule.said)
            if rule.own and not words[place].terms:  # a function word with synonyms has a meaning, so it is kept
                words[place] = replace(words[place], terms=rule.own, stopped=False)
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

    def _rule(self, keys: Sequence[_Key], place: int) -> _Rule | None:
        """The longest rule that matches the words from `place` on. Words match if they do in any language."""
        standing = [
            rule
            for term in sorted(keys[place])
            for rule in self.rules.get(term, ())
            if len(rule.said) <= len(keys) - place
            and all(said & key for said, key in zip(rule.said, keys[place:], strict=False))
        ]
        return max(standing, key=lambda rule: len(rule.said), default=None)


def _key(word: QueryWord) -> _Key:
    return frozenset((word.text,) if word.function else word.terms or (word.text,))
