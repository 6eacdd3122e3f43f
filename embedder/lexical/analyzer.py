"""Text to terms: what documents are indexed by and what queries look up.

Writing and reading share this one analysis: where they differed, words would be indexed under terms that no query asks
for.
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
    """A word of a query and the distinct terms that the languages searched make of it, in the languages' order.

    Score them as synonyms, with one document frequency for all: were each term weighed by its own, the few documents
    in a rare language would outrank all others.
    Without terms nothing is looked up for it: it is a stop word in every one of them, which documents were indexed
    without, or a function word that a query was not to be searched by.
    """

    text: str  # normal form
    start: int
    end: int
    terms: tuple[str, ...]
    stopped: bool = False  # whether any of the languages stops it
    function: bool = False  # whether any of them has it for a function word, as "how" is in English


class Analyzer:
    """Splits texts into terms by the rules of their language. Thread-safe.

    `default_language` is assumed of a text whose language "auto" cannot tell or has no stemmer for. Raises
    InvalidSettings where it is no known language, or "auto".
    """

    def __init__(self, default_language: str = "en") -> None:
        self.default_language = _concrete(default_language)

    def language_of(self, text: str, language: str = AUTO) -> str:
        """The code of the language that `text` is analysed in: `language` unless that is "auto", else as detected.

        Detect once for a whole document and analyse its passages by the answer. Raises InvalidSettings for an
        unknown `language`.
        """
        if language != AUTO:
            return _concrete(language)
        return detected_language(text) or self.default_language

    def analyze(self, text: str, language: str = AUTO, words: Iterable[Word] | None = None) -> list[Term]:
        """The terms of `text` from left to right, stop words dropped. InvalidSettings for an unknown language.

        `words`: its `units`, where the caller has them.
        """
        term_of = rules_for(self.language_of(text, language)).term
        if text.isascii():  # the same words, found far faster
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
        """The words of a query, stop words included, that is put to documents in `languages`.

        Those are codes that `language_of` gave, not "auto". A document is indexed under the terms of its own
        language, so a word stands for the terms of all of them. A word that only some of the languages stop is kept
        through the others ("die" in English and German texts). Function words have their terms, as in documents;
        one in capitals is a name, unless all words are in capitals: "WHO report".
        Without languages the default language is taken. Raises InvalidSettings for an unknown language.
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
