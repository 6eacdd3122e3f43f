"""What a language makes of a word: nothing for a stop word, else its stem.

Stems come from the Snowball algorithms (https://snowballstem.org) by PyStemmer. A language without an algorithm keeps
its words whole; one without a stop list keeps all its words, and BM25's inverse document frequency weighs them down.
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
CACHED_WORDS = 1 << 17  # spellings whose terms are remembered, per language: about 30 MB when full

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
UNSPACED = ("zh", "ja", "ko")  # split into pairs of characters, whatever the language of the text around them
_SAME_AS = {"nb": "no", "nn": "no", "wuu": "zh", "yue": "zh"}  # written alike, so analysed alike


class LanguageRules:
    """Words of one language to terms. Thread-safe."""

    def __init__(self, code: str) -> None:
        self.code = code
        self.stop_words = STOP_WORDS.get(code, frozenset())
        self.function_words = FUNCTION_WORDS.get(code, frozenset())
        self._stemmer = Stemmer.Stemmer(STEMMERS[code], 0) if code in STEMMERS else None  # 0: our cache is enough
        self._lock = Lock()  # a PyStemmer object keeps state while it stems
        self.term = lru_cache(maxsize=CACHED_WORDS)(self._term)
        self.is_function_word = lru_cache(maxsize=CACHED_WORDS)(self._is_function_word)

    def query_terms(self, word: str) -> tuple[str, ...]:
        """The terms that texts may have a word of a query under; of a stop word none."""
        terms = [self.term(reading) for reading in (_turkish_readings(word) if self.code == "tr" else (word,))]
        return tuple(dict.fromkeys(term for term in terms if term))

    def key(self, word: str) -> str:
        """What a word of a text, or of a phrase that is looked for in one, is compared by: its term, if it has one.

        In Turkish without the dots, as the case of a word decides over them in one of the readings.
        """
        if self.code != "tr":
            return self.term(word) or normalize(word)
        dotless = _turkish_readings(word)[0]
        return (self.term(dotless) or normalize(dotless)).replace("ı", "i")

    def _term(self, word: str) -> str | None:
        """The term of a word as it is written, or None for a stop word."""
        normal = normalize(word)
        if normal in self.stop_words:
            return None
        stem = self._stem(normal)
        # Stemmers drop what an apostrophe glues on, which can bare a stop word: "it's", "c'est".
        return None if "'" in normal and stem in self.stop_words else stem

    def _is_function_word(self, word: str) -> bool:
        """Whether a word, as it is written, says little about what a query is about; documents are indexed with it."""
        normal = normalize(word)
        return normal in self.function_words or ("'" in normal and self._stem(normal) in self.function_words)

    def _stem(self, word: str) -> str:
        if self._stemmer is None:
            return word
        with self._lock:
            return str(self._stemmer.stemWord(word)) or word


def _turkish_readings(word: str) -> tuple[str, ...]:
    """A word, and as case folding leaves it in texts that have it in capitals: there I, the capital of ı, becomes i.

    Texts are indexed by i, too: they have names such as IBM, which are looked for in either case.
    """
    dotless = unicodedata.normalize("NFC", word).replace("I", "ı")
    capitalized = "i" + dotless[1:] if dotless.startswith("ı") else dotless
    return dotless, capitalized, dotless.replace("ı", "i")


@cache
def rules_for(code: str) -> LanguageRules:
    """The rules of a language that `check_language` accepts, built once."""
    return LanguageRules(code)


def canonical(code: str) -> str:
    """The code under which a language is analysed: "nb" is "no", others are themselves."""
    return _SAME_AS.get(code, code)


def detected_language(text: str) -> str | None:
    """The language of `text` if it can be told and has rules of its own, else None.

    A language without a stemmer is not answered. It would gain nothing, and the few texts mistaken for it would keep
    whole words, which are so rare in a collection of stems that BM25 would rank them first.
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
