"""Parses search operators in a query text, if the request enables them: `+word`, `-word`, `"a phrase"`.

    +console        the document must contain this word
    -kids           it must not contain it; the word is removed from the query
    "tv show"       it must contain these words in sequence; the same as +"tv show"
    -"tv show"      it must not contain this phrase

A sign counts at the beginning of a word, a quote where no word directly precedes it. A phrase with a boost
("tv show"^2) is only emphasised, as without operators. A backslash in front makes a sign or a quote literal. The
variants that keyboards and word processors insert are accepted too: a minus sign, full-width signs, and the quotation
marks of several languages.
Operators are opt-in, because quotes and dashes mean other things in plain language, and an unintended exclusion would
silently hide documents.
"""

from __future__ import annotations

import regex

from core.errors import InvalidQuery
from embedder.lexical.words import units
from retriever.syntax import only_marks, parse
from retriever.wordconditions import WordConditions

_PLUS, _MINUS = r"+\uFF0B", r"\-\u2212\uFF0D"
_QUOTES = {  # opening quotes, and the quotes that close them
    "\u201c\u201d\u201e": '\u201c\u201d"',
    "\u00ab": "\u00bb",
    "\u00bb": "\u00ab",
    "\u300c": "\u300d",
    "\u300e": "\u300f",
    "\u301d": "\u301e\u301f",
    "\uff02": "\uff02",
}
_PHRASES = [f'[{opens}](?P<phrase>[^"{opens}{closes}]++)[{closes}]' for opens, closes in _QUOTES.items()]
_PHRASE = "|".join([r'"(?P<phrase>(?:\\[\\^"]|[^"])++)"', *_PHRASES])
_TOKEN = regex.compile(
    rf'(?P<space>\s++)|\\(?P<literal>[{_PLUS}{_MINUS}{"".join(_QUOTES)}][^\s"]*+)'
    rf"|(?P<sign>[{_PLUS}]|(?P<minus>[{_MINUS}])|)"
    rf'(?:(?:{_PHRASE})(?P<tail>[^\s"]*+)|(?P<word>(?:\\[\\^"]|[^\s"])++))|(?P<quote>")'
)


def read_operators(text: str, *, boosts: bool = True) -> tuple[str, WordConditions]:
    """Split a query into the text to search for, which keeps its boost marks, and the conditions.

    `boosts`: whether boost marks will be parsed. Raises InvalidQuery if there are only exclusions, and the errors of
    WordConditions and `parse`.
    """
    kept: list[str] = []
    must: list[str] = []
    must_not: list[str] = []
    for token in _TOKEN.finditer(text):
        if token["space"]:
            kept.append("" if kept and not kept[-1] else token[0])  # a removed word leaves one space, not two
            continue
        leading = token.start() == 0 or text[token.start() - 1].isspace()
        said, tail = token["phrase"] or token["word"] or "", token["tail"] or ""
        as_text = boosts and (tail.startswith("^") or only_marks(said))
        if leading and token["literal"]:
            kept.append(token["literal"])
        elif (
            leading
            and (token["sign"] or token["phrase"])
            and not as_text
            and _has_words(meant := parse(said)[0] if boosts else said)
        ):
            excluded = token["minus"] is not None
            (must_not if excluded else must).append(meant)
            if not excluded:
                kept.append(said + tail)
            else:  # removed together with punctuation behind it, but not with a word
                kept.append(tail if _has_words(tail) else "")
        elif leading and boosts and token["phrase"] and tail.startswith("^"):  # `parse` knows only these quotes
            kept.append(f'{token["sign"]}"{said}"{tail}')
        else:
            kept.append(token[0])
    clean = "".join(kept)
    if must_not and not clean.strip():
        raise InvalidQuery(
            "the query only says what is not wanted; say what to look for as well, or use a filter", param="query"
        )
    return clean, WordConditions(must=tuple(must), must_not=tuple(must_not))


def _has_words(text: str) -> bool:
    return any(True for _ in units(text))
