"""The analyzer of lexical search: splits texts into the terms that documents are indexed by and queries look up.

Documents and queries share this analysis; otherwise words could be indexed under terms that no query asks for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple

from core.errors import InvalidSettings
from embedder.lexical.languages import AUTO, canonical, check_language, detected_language, rules_for
from embedder.lexical.words import WORD_PATTERN, Word, character_pairs, normalize, units


class Term(NamedTuple):
    """An occurrence of a term in a text. Pairs of characters overlap by one."""

    text: str
    start: int  # first character of the word, code points of the original text
    end: int  # one past its last character


@dataclass(frozen=True, kw_only=True, slots=True)
class QueryWord:
    """A word of a query and its distinct terms in the searched languages, in the order of the languages.

    Score the terms as synonyms, with one document frequency for all: if each term had its own, the few documents in a
    rare language would outrank all others.
    A word without terms is not looked up: it is a stop word in all of these languages, and so not indexed either, or a
    function word that the query is not to be searched by.
    """

    text: str  # normal form
    start: int
    end: int
    terms: tuple[str, ...]
    stopped: bool = False  # whether it is a stop word in any of the languages
    function: bool = False  # whether it is a function word in any of them, such as "how" in English


class Analyzer:
    """Splits texts into terms by the rules of their language. Thread-safe.

    `default_language` is used for texts whose language "auto" cannot detect or has no stemmer for. Raises
    InvalidSettings if it is unknown, or "auto".
    """

    def __init__(self, default_language: str = "en") -> None:
        self.default_language = _concrete(default_language)

    def language_of(self, text: str, language: str = AUTO) -> str:
        """The code of the language to analyse `text` in: `language`, or the detected one if that is "auto".

        Detect once for a whole document and analyse all its passages in that language. Raises InvalidSettings for an
        unknown `language`.
        """
        if language != AUTO:
            return _concrete(language)
        return detected_language(text) or self.default_language

    def analyze(self, text: str, language: str = AUTO, words: Iterable[Word] | None = None) -> list[Term]:
        """The terms of `text` from left to right, without stop words. Raises InvalidSettings for an unknown language.

        `words`: the `units` of the text, if the caller already has them.
        """
        term_of = rules_for(self.language_of(text, language)).term
        if text.isascii():  # finds the same words, far faster
            found = units(text) if words is None else words
            return [Term(term, start, end) for word, start, end in found if (term := term_of(word))]
        terms: list[Term] = []
        for match in WORD_PATTERN.finditer(text):
            if match.lastgroup == "unspaced":
                terms.extend(Term(*pair) for pair in character_pairs(match[0], match.start()))
            elif term := term_of(match[0]):
                terms.append(Term(term, *match.span()))
        return terms

    def term_frequencies(self, text: str, language: str = AUTO) -> Counter[str]:
        """How often each term occurs in `text`; the sum is the document length of BM25."""
        return Counter(term.text for term in self.analyze(text, language))

    def analyze_query(self, text: str, languages: Sequence[str]) -> tuple[QueryWord, ...]:
        """The words of a query to documents in `languages`, stop words included.

        `languages` are codes returned by `language_of`, not "auto"; without any, the default language is used. A
        document is indexed under the terms of its own language, so a word gets its terms in all of them. A word that
        is a stop word in only some of the languages keeps its terms in the others ("die" in English and German texts).
        Function words keep their terms, as in documents; a word in capitals counts as a name ("WHO report"), not as a
        function word, unless the whole query is in capitals or the word is a single letter.
        Raises InvalidSettings for an unknown language.
        """
        codes = dict.fromkeys(_concrete(code) for code in languages or (self.default_language,))
        rules = [rules_for(code) for code in codes]
        shouted = text.isupper() and sum(match[0].isupper() for match in WORD_PATTERN.finditer(text)) > 1
        found: list[QueryWord] = []
        for match in WORD_PATTERN.finditer(text):
            if match.lastgroup == "unspaced":
                found.extend(
                    QueryWord(text=pair.text, start=pair.start, end=pair.end, terms=(pair.text,))
                    for pair in character_pairs(match[0], match.start())
                )
            else:
                made = [rule.query_terms(match[0]) for rule in rules]
                terms = tuple(dict.fromkeys(chain.from_iterable(made)))
                start, end = match.span()
                named = match[0].isupper() and end - start > 1 and not shouted
                found.append(
                    QueryWord(
                        text=normalize(match[0]),
                        start=start,
                        end=end,
                        terms=terms,
                        stopped=not all(made),
                        function=not named and any(rule.is_function_word(match[0]) for rule in rules),
                    )
                )
        return tuple(found)


def _concrete(language: str) -> str:
    check_language(language)
    if language == AUTO:
        raise InvalidSettings("language 'auto' is no language of its own; name the language", param="language")
    return canonical(language)
