"""The rules of a language for turning words into terms: stop words are dropped, other words are stemmed.

Stems come from the Snowball algorithms (https://snowballstem.org) in PyStemmer. A language without an algorithm keeps
its words whole. A language without a stop list keeps all words, and BM25's inverse document frequency gives the common
ones little weight.
"""

from __future__ import annotations

import unicodedata
from functools import cache, lru_cache
from threading import Lock

import Stemmer

from core.errors import InvalidSettings
from embedder.lexical.detection import detect, detectable
from embedder.lexical.stopwords import FUNCTION_WORDS, STOP_WORDS
from embedder.lexical.words import normalize

AUTO = "auto"
CACHED_WORDS = 1 << 17  # spellings per language whose terms are cached: about 30 MB when full

STEMMERS = {
    "ar": "arabic",
    "ca": "catalan",
    "cs": "czech",
    "da": "danish",
    "de": "german",
    "el": "greek",
    "en": "english",
    "eo": "esperanto",
    "es": "spanish",
    "et": "estonian",
    "eu": "basque",
    "fa": "persian",
    "fi": "finnish",
    "fr": "french",
    "ga": "irish",
    "hi": "hindi",
    "hu": "hungarian",
    "hy": "armenian",
    "id": "indonesian",
    "it": "italian",
    "lt": "lithuanian",
    "ne": "nepali",
    "nl": "dutch",
    "no": "norwegian",
    "pl": "polish",
    "pt": "portuguese",
    "ro": "romanian",
    "ru": "russian",
    "sr": "serbian",
    "st": "sesotho",
    "sv": "swedish",
    "ta": "tamil",
    "tr": "turkish",
    "yi": "yiddish",
}
UNSPACED = ("zh", "ja", "ko")  # split into pairs of characters, in texts of any language
_SAME_AS = {"nb": "no", "nn": "no", "wuu": "zh", "yue": "zh"}  # written alike, so analysed by the same rules


class LanguageRules:
    """Maps the words of one language to terms. Thread-safe."""

    def __init__(self, code: str) -> None:
        self.code = code
        self.stop_words = STOP_WORDS.get(code, frozenset())
        self.function_words = FUNCTION_WORDS.get(code, frozenset())
        self._stemmer = Stemmer.Stemmer(STEMMERS[code], 0) if code in STEMMERS else None  # 0: our cache is enough
        self._lock = Lock()  # a PyStemmer object has internal state while it stems
        self.term = lru_cache(maxsize=CACHED_WORDS)(self._term)
        self.is_function_word = lru_cache(maxsize=CACHED_WORDS)(self._is_function_word)

    def query_terms(self, word: str) -> tuple[str, ...]:
        """The terms that a query's word may be indexed under: none for a stop word, several only in Turkish."""
        terms = [self.term(reading) for reading in (_turkish_readings(word) if self.code == "tr" else (word,))]
        return tuple(dict.fromkeys(term for term in terms if term))

    def key(self, word: str) -> str:
        """The key by which phrase matching compares words: the term, or the normal form of a stop word.

        In Turkish dotted and dotless i get the same key, because one of the readings of a word depends on its case.
        """
        if self.code != "tr":
            return self.term(word) or normalize(word)
        dotless = _turkish_readings(word)[0]
        return (self.term(dotless) or normalize(dotless)).replace("ı", "i")

    def _term(self, word: str) -> str | None:
        """The term of a word, in any spelling, or None for a stop word."""
        normal = normalize(word)
        if normal in self.stop_words:
            return None
        stem = self._stem(normal)
        # Stemmers drop what an apostrophe attaches, which can leave a stop word: "it's", "c'est".
        return None if "'" in normal and stem in self.stop_words else stem

    def _is_function_word(self, word: str) -> bool:
        """Whether a word, in any spelling, says little about a query's topic; documents are still indexed with it."""
        normal = normalize(word)
        return normal in self.function_words or ("'" in normal and self._stem(normal) in self.function_words)

    def _stem(self, word: str) -> str:
        if self._stemmer is None:
            return word
        with self._lock:
            return str(self._stemmer.stemWord(word)) or word


def _turkish_readings(word: str) -> tuple[str, ...]:
    """The spellings under which a Turkish word may be indexed.

    They are the word itself, with I read as the capital of ı, and the forms that case folding gives for capitals: it
    turns I into i, at the start of the word or throughout. The last form also covers names such as IBM, which are
    searched for in either case.
    """
    dotless = unicodedata.normalize("NFC", word).replace("I", "ı")
    capitalized = "i" + dotless[1:] if dotless.startswith("ı") else dotless
    return dotless, capitalized, dotless.replace("ı", "i")


@cache
def rules_for(code: str) -> LanguageRules:
    """The rules of a language that `check_language` accepts, built once."""
    return LanguageRules(code)


def canonical(code: str) -> str:
    """The code of the language whose rules apply: "no" for "nb" and so on; most codes stand for themselves."""
    return _SAME_AS.get(code, code)


def detected_language(text: str) -> str | None:
    """The language of `text` if it can be detected and has rules of its own, else None.

    Languages without a stemmer are not returned. They would gain nothing, and the few texts mistaken for one of them
    would keep whole words, which are so rare in a collection of stems that BM25 would rank them first.
    """
    code = canonical(detect(text) or "")
    return code if code in STEMMERS or code in UNSPACED else None


def check_language(code: str) -> None:
    """Raises InvalidSettings unless `code` is "auto" or a language that can be analysed."""
    if code == AUTO or code in STEMMERS or code in _SAME_AS or code in UNSPACED:
        return
    if code in detectable():  # asked last: the detector takes a second to load
        return
    named = next((known for known, name in STEMMERS.items() if name == code.lower()), None)
    hint = (
        f"; write {named!r}"
        if named
        else f"; write an ISO 639-1 code ({', '.join(STEMMERS)}, zh, ja, ko, ...) or 'auto'"
    )
    raise InvalidSettings(f"unknown language {code!r}{hint}", param="language")
