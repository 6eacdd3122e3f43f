"""Spelling suggestions ("did you mean"): similar words of the collection for query words that are rare or missing.

The query is not rewritten. The allowed edit distance grows with the word's length, as in Lucene's fuzzy queries. The
index contains stems; the suggested word is the most frequent form of the stem in a few passages that contain it.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from embedder.lexical import Analyzer, QueryWord
from embedder.lexical.words import forms, normalize, units
from retriever.stopwatch import Stopwatch
from retriever.terms import QueryTerms
from store.documents import StoredPassage
from store.view import View
from store.vocabulary import Vocabularies, distances

MAX_WORDS = 5  # suggestions are made for the first few words that have any
MAX_TRIED = 20  # words that are tried: each requires a scan of all terms, and a query may have 100,000 words
PER_WORD = 3
RARE = 2  # passages: a word that no more hold may be a mistake, where another one is far more frequent
FAR_MORE = 50  # times
_ABBREVIATION = 5  # letters: short words in capitals are names, which many words are near to (AMI, TET, GATA)
_LOOKED_AT = 12  # terms of a word whose passages are read
_SAMPLED = 6  # passages of a term
_POINTS = re.compile("[\u0640\u064b-\u065f\u0670]")  # Arabic vowel points, and the line that words are drawn out by


@dataclass(frozen=True, kw_only=True, slots=True)
class Suggestion:
    """A word of the query, and words that may have been meant, the likeliest first."""

    word: str  # as typed
    start: int  # span in the query's text, of its first occurrence
    end: int
    passages: int  # that contain it
    meant: tuple[Meant, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Meant:
    text: str
    passages: int  # that contain it, in any form
    edits: int  # edit distance from the typed word


def suggestions(
    view: View, text: str, terms: QueryTerms, analyzer: Analyzer, vocabularies: Vocabularies, watch: Stopwatch
) -> tuple[Suggestion, ...] | None:
    """The suggestions for the words of the query `text`, whose terms are `terms`; words without any are left out.

    None: the time was over before all words were tried.
    """
    found: list[Suggestion] = []
    typed = terms.words[: terms.typed]
    df = view.term_statistics([term for word in typed for term in word.terms]).df
    tried: set[str] = set()
    for word in typed:
        passages = sum(df[term] for term in word.terms)
        if len(found) == MAX_WORDS or len(tried) == MAX_TRIED:
            break
        if word.text in tried or word.stopped or passages > RARE or not edits_allowed(word.text):
            continue  # what one of the languages stops is no mistake, though texts in it are indexed without
        if _is_abbreviation(text[word.start : word.end]) and not text.isupper():
            continue
        if watch.late:
            return None
        tried.add(word.text)
        meant = _meant(view, word, passages, analyzer, vocabularies)
        if meant:
            found.append(
                Suggestion(
                    word=text[word.start : word.end], start=word.start, end=word.end, passages=passages, meant=meant
                )
            )
    return tuple(found)


def edits_allowed(word: str) -> int:
    """The allowed edit distance, 0 to 2. It is 0 for words with digits, and for words of one or two letters."""
    if len(word) < 3 or any(character.isdigit() for character in word) or len(list(units(word))) > 1:
        return 0
    return 1 if len(word) <= 5 else 2


def corrected(text: str, found: Sequence[Suggestion]) -> str:
    """`text` with every occurrence of the words replaced by the likeliest suggestion."""
    meant = {normalize(suggestion.word): suggestion.meant[0].text for suggestion in found}
    parts: list[str] = []
    done = 0
    for word in units(text):
        if word.text in meant:
            parts += [text[done : word.start], meant[word.text]]
            done = word.end
    return "".join([*parts, text[done:]])


def _meant(
    view: View, word: QueryWord, passages: int, analyzer: Analyzer, vocabularies: Vocabularies
) -> tuple[Meant, ...]:
    edits = edits_allowed(word.text)
    away: dict[str, int] = {}
    for typed in {word.text, *word.terms}:  # the stem of a mistyped word may be wrong as well
        for term, apart in vocabularies.near(view, typed, edits).items():
            if _begins_alike(term, typed):
                away[term] = min(apart, away.get(term, apart))
    # An ending with a mistake is not taken off. Then the stem is near to a beginning of the word, but for that mistake.
    for typed in word.terms:
        for term, apart in vocabularies.beginnings(view, typed, edits - 1).items():
            away[term] = min(apart + 1, away.get(term, apart + 1))
    df = view.term_statistics(list(away)).df
    likely = [term for term in away if term not in word.terms and df[term] > passages * FAR_MORE]
    likely.sort(key=lambda term: (-df[term], term))
    found: dict[str, Meant] = {}
    for far in (False, True):  # terms two edits away are used only if none is written one edit away
        terms = [term for term in likely if (away[term] > 1) is far]
        for term, (written, apart) in _written(view, terms[:_LOOKED_AT], word.text, edits, analyzer).items():
            if written not in found:
                found[written] = Meant(text=written, passages=df[term], edits=apart)
        if any(meant.edits <= 1 for meant in found.values()):
            break
    return tuple(sorted(found.values(), key=lambda meant: (meant.edits, -meant.passages, meant.text)))[:PER_WORD]


def _written(
    view: View, terms: Sequence[str], typed: str, edits: int, analyzer: Analyzer
) -> dict[str, tuple[str, int]]:
    """For each term, its written form in passages and the edit distance: the most frequent of the nearest forms.

    Terms whose forms are all further than `edits` away are left out.
    """
    ids = {term: view.matching({term: 1.0}, _SAMPLED).ids for term in terms}
    passages = view.fetch(np.unique(np.concatenate(list(ids.values())))) if ids else []
    words = {passage.id: _near(passage, typed, edits, analyzer) for passage in passages}
    found: dict[str, tuple[str, int]] = {}
    for term in terms:
        counts: Counter[tuple[int, str]] = Counter()
        for passage in ids[term].tolist():
            for form, apart, one, count in words[passage]:
                if one == term:
                    counts[apart, form] += count
        if counts:
            apart, form = min(counts, key=lambda one: (one[0], -counts[one], one[1]))
            found[term] = form, apart
    return found


def _near(passage: StoredPassage, typed: str, edits: int, analyzer: Analyzer) -> list[tuple[str, int, str, int]]:
    """Form, distance, term and count of the passage's words near the typed one; only these are analysed."""
    typed = _plain(typed)
    least, most = len(typed) - edits, len(typed) + edits
    counts = Counter(forms(f"{passage.title}\n{passage.text}"))
    likely = [form for form in counts if least <= len(form) <= most or not form.isascii() or "'" in form]
    spelled = [(form, *spelling) for form in likely for spelling in _spellings(form)]
    spelled = [one for one in spelled if least <= len(one[2]) <= most]
    apart = distances(typed, [plain for _, _, plain in spelled]).tolist()
    near = [
        (*one, distance)
        for one, distance in zip(spelled, apart, strict=True)
        if distance <= edits and _begins_alike(one[2], typed)
    ]
    found = [(part, distance, analyzer.analyze(part, passage.language), form) for form, part, _, distance in near]
    return [(part, distance, terms[0].text, counts[form]) for part, distance, terms, form in found if terms]


def _is_abbreviation(typed: str) -> bool:
    return typed.isupper() and len(typed) <= _ABBREVIATION


def _begins_alike(word: str, typed: str) -> bool:
    """By the same letter, with any accents, or by two that changed places: few mistakes are made in the first letter.

    "rickets" is no mistyped "pockets", though only two letters differ. Lucene's spell checkers do likewise.
    """
    first, second = (unicodedata.normalize("NFD", one[:2]) for one in (word, typed))
    return first[:1] == second[:1] or sorted(word[:2]) == sorted(typed[:2])


@lru_cache(maxsize=1 << 14)
def _spellings(form: str) -> tuple[tuple[str, str], ...]:
    """A form as shown and as compared; for a form with an apostrophe ("l'été"), its parts as well."""
    if form.isascii() and "'" not in form:
        return ((form, form),)  # nearly all forms
    whole = unicodedata.normalize("NFC", form.replace("i\u0307", "i")).replace("\u2019", "'")  # of a Turkish capital
    parts = dict.fromkeys((whole, *whole.split("'")))
    return tuple((part, _plain(part)) for part in parts if part)


def _plain(word: str) -> str:
    """The word in normal form, without marks that are optional in Arabic: both spellings have the same stem."""
    return _POINTS.sub("", normalize(word))
