"""Parses and checks the synonyms of a collection: a mapping from a query word to other words to search for as well."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from core.errors import InvalidSettings

MAX_WORDS = 2_000  # words that have synonyms
MAX_SYNONYMS = 50  # of one word
MAX_CHARACTERS = 100  # of a word or phrase

_COMMENT = re.compile(r"\s#(?!\S)")

Synonyms = Mapping[str, tuple[str, ...]]


def of_groups(groups: Iterable[Sequence[str]]) -> dict[str, tuple[str, ...]]:
    """Synonyms from groups of words with the same meaning: each word maps to the others of its groups.

    Raises InvalidSettings for a group of fewer than two words.
    """
    found: dict[str, list[str]] = {}
    for group in groups:
        members = list(dict.fromkeys(word.strip() for word in group))
        if len(members) < 2:
            raise InvalidSettings(
                f"synonyms: {', '.join(members)!r:.80} is one word; a group has two or more", param="synonyms"
            )
        for word in members:
            found.setdefault(word, []).extend(other for other in members if other != word)
    return {word: tuple(dict.fromkeys(others)) for word, others in found.items()}


def of_lines(lines: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Synonyms from lines in Solr's format: `tv, television` is a group, `pc => computer` is one-way.

    A `#` at the beginning of a line, or with white space on both sides, begins a comment; `c#` is a word.
    Raises InvalidSettings for a malformed line.
    """
    groups: list[list[str]] = []
    one_way: dict[str, list[str]] = {}
    for number, line in enumerate(lines, start=1):
        said = "" if line.lstrip().startswith("#") else _COMMENT.split(line, maxsplit=1)[0].strip()
        if not said:
            continue
        left, arrow, right = said.partition("=>")
        sides = [[word.strip() for word in side.split(",") if word.strip()] for side in (left, right)]
        if arrow and all(sides):
            for word in sides[0]:
                one_way.setdefault(word, []).extend(sides[1])
        elif not arrow and len(sides[0]) > 1:
            groups.append(sides[0])
        else:
            raise InvalidSettings(
                f"synonyms, line {number}: {said!r:.80}; write 'tv, television' or 'pc => computer'", param="synonyms"
            )
    found = of_groups(groups)
    for word, others in one_way.items():
        found[word] = tuple(dict.fromkeys((*found.get(word, ()), *others)))
    return found


def check_synonyms(synonyms: Synonyms) -> None:
    """Raises InvalidSettings, which says what is allowed, unless the synonyms are within the limits."""
    if len(synonyms) > MAX_WORDS:
        raise InvalidSettings(
            f"{len(synonyms)} words have synonyms; at most {MAX_WORDS} are allowed in a collection", param="synonyms"
        )
    for word, others in synonyms.items():
        if not 0 < len(others) <= MAX_SYNONYMS:
            raise InvalidSettings(
                f"synonyms: {word!r:.80} has {len(others)}; 1 to {MAX_SYNONYMS} are allowed", param="synonyms"
            )
        for text in (word, *others):
            if not (len(text) <= MAX_CHARACTERS and any(character.isalnum() for character in text)):
                raise InvalidSettings(
                    f"synonyms: {text!r:.120} must have letters or digits, and at most {MAX_CHARACTERS} characters",
                    param="synonyms",
                )
            if any("\ud800" <= character <= "\udfff" or character == "\0" for character in text):
                raise InvalidSettings(f"synonyms: {text!r:.120} is no valid Unicode text", param="synonyms")
