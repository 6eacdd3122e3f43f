"""Guess the legacy encoding of a text, where exactly one makes sense of its bytes; otherwise guess none.

charset-normalizer finds the code pages that can decode the text, and how well each result matches a language (its
coherence). Code pages of one script give texts that differ in a few letters, which it does not take into account. So a
guess must also use only the letters of one language, or of one script where that is not Latin, and be the only such
text.
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections import Counter

import charset_normalizer

# The legacy encodings still found in files; a wider choice makes guesses on short texts worse.
_LEGACY = [
    "cp1252", "cp1250", "cp1251", "cp1253", "cp1254", "cp1255", "cp1256", "cp1257", "koi8_r", "iso8859_2",
    "gb18030", "big5", "cp932", "euc_jp", "cp949",
]  # fmt: skip
_MULTIBYTE = {"gb18030", "big5", "cp932", "euc_jp", "cp949"}
_ALPHABETS = [  # non-ASCII letters of languages in Latin script, one set per language
    frozenset(letters)
    for letters in (
        "äöüß àâçéèêëîïôœùûüÿæ áéíñóúüªº àèéìíîòóùú áâãàçéêíóôõúªº åäöé æøåé áéèëïóöü áéíóúýþæöð àèéíïòóúüç "
        "ąćęłńóśźż áčďéěíňóřšťúůýž áäčďéíĺľňóôŕšťúýž áéíóöőúüű ăâîşţ čćđšž çğıiöşüâîû ąčęėįšųūž āčēģīķļņšūž äöõüšž"
    ).split()
]
_SCRIPTS = re.compile("([\u0370-\u03ff]+)|([\u0400-\u04ff]+)|([\u05d0-\u05ea]+)|([\u0600-\u06ff]+)")
_LETTERS = 12  # letters needed in a non-Latin script; fewer could as well be bytes of yet another script
_COHERENCE_GAP = 0.1  # by which the best guess must exceed any other
_FOREIGN = 0.05  # share of letters that may be of other languages, in names and quotations
_ODD = 0.01  # share of the letters: allowed matches of _HARDLY_EVER, rare even in names and quotations
_IMPLAUSIBLE = re.compile(
    "|".join(
        (
            r"[^\W\d_a-zA-Zªº]\d|\d[^\W\d_a-zA-Zªº]",  # a letter next to a digit: "Ł5"
            r"[^\W\d_][^\x00-\x7f\w\s‘’–—…·\xad][^\W\d_]",  # a sign within a word: "le¿y", "f”r"
            r"[^\W\d_][‚„•‡]",  # an opening quote, a bullet or a dagger right after a letter: "hyv„", "pu•"
            r"[¢¦¨¯²³´¸¹¼½¾][^\W\d_]",  # a sign that no word starts with: "¸anr", "¹umu"
        )
    )
)
_CAPITALS = "".join(filter(str.isupper, map(chr, range(0xC0, 0x530))))
_SMALL = "".join(filter(str.islower, map(chr, range(0x61, 0x530))))
_HARDLY_EVER = re.compile(
    "|".join(
        (
            f"[{_SMALL}][{_CAPITALS}]",  # a capital within a word: "БузАБ", "krŠvs"
            r"ς[^\W\d_]",  # a final sigma inside a word
            r"[\x80-\x9f]",  # control characters
            r"[¨¯¸ˆˇ˘-˝]",  # accents without a letter: "Exce¨‹o"
            r"[\u2500-\u259f]",  # box-drawing characters: "5─"
        )
    )
)


def guess(sample: bytes) -> str | None:
    """The encoding of this sample of a text; None where none or more than one makes sense."""
    found = [
        (-match.coherence, min(map(_LEGACY.index, match.could_be_from_charset)))
        for match in charset_normalizer.from_bytes(sample, cp_isolation=_LEGACY, preemptive_behaviour=False)
        if _plausible(str(match), match.encoding, match.coherence)
    ]  # code pages that give the same text are one match
    if not found:
        return None
    best, *others = sorted(found)
    if others and others[0][0] - best[0] < _COHERENCE_GAP:
        return None
    return _LEGACY[best[1]]


def _plausible(text: str, encoding: str, coherence: float) -> bool:
    """Whether `text` looks like something a person wrote."""
    letters = Counter(character for character in text if character.isalpha() and not character.isascii())
    if encoding in _MULTIBYTE:
        return coherence > 0 and letters.total() >= _LETTERS
    if len(_IMPLAUSIBLE.findall(text)) > _FOREIGN * letters.total():
        return False
    if len(_HARDLY_EVER.findall(text)) > _ODD * letters.total():
        return False
    if not letters:
        return all(unicodedata.category(sign)[0] in "PSZ" for sign in set(text) if not sign.isascii())
    small = sum(count for letter, count in letters.items() if letter == letter.lower())
    if letters.total() >= _LETTERS and small * 2 < letters.total():
        return False  # mostly capitals: small letters of one code page are capitals of another
    allowed = letters.total() * (1 - _FOREIGN)
    folded: Counter[str] = Counter()
    for letter, count in letters.items():
        folded[letter.lower()[0]] += count
    plain = sum(map(text.count, string.ascii_lowercase))
    if plain * 2 >= letters.total():
        return any(sum(map(folded.__getitem__, alphabet)) >= allowed for alphabet in _ALPHABETS)
    scripts = [sum(map(len, runs)) for runs in zip(*_SCRIPTS.findall(text), strict=True)]
    return coherence > 0 and max(scripts, default=0) >= max(_LETTERS, allowed)
