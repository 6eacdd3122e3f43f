"""What a remote says of an error, fit to be shown and logged: short, one line, without keys and without texts."""

from __future__ import annotations

import json
from collections.abc import Iterable

MAX_LENGTH = 300  # characters
SECRET_WINDOW = 6  # so many characters of a key in a row give it away
TEXT_WINDOW = 16
SHORTEST_TEXT = 4  # a shorter text is not looked for: it would be found in any sentence
REMOVED = "[...]"


def error_text(body: bytes, *, secrets: Iterable[str], texts: Iterable[str]) -> str:
    """The message in the body of an error: at most 300 characters, pieces of secrets and of sent texts taken out."""
    printable = "".join(character if character.isprintable() else " " for character in _message(body))
    # What is taken out can be longer than what is put in its place: look a little further than is shown.
    message = " ".join(printable.split())[: 4 * MAX_LENGTH]
    for secret in secrets:
        message = _without(message, secret, SECRET_WINDOW)
    for text in texts:
        if len(text) >= SHORTEST_TEXT:
            message = _without(message, " ".join(text.split()), TEXT_WINDOW)
    return message if len(message) <= MAX_LENGTH else message[: MAX_LENGTH - 3] + "..."


def _message(body: bytes) -> str:
    """The sentence in an error body, in the shapes of the three APIs and of common frameworks; else the body itself."""
    text = body[: 64 * MAX_LENGTH].decode("utf-8", errors="replace")
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    for name in ("error", "message", "detail"):
        if isinstance(value, dict) and value.get(name):
            value = value[name]
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _without(message: str, hidden: str, window: int) -> str:
    """The message, each stretch of it replaced that is made of windows which occur in `hidden`."""
    window = min(window, len(hidden))
    if not window:
        return message
    covered = [False] * len(message)
    for start in range(len(message) - window + 1):
        if message[start : start + window] in hidden:
            covered[start : start + window] = [True] * window
    parts: list[str] = []
    for character, drop in zip(message, covered, strict=True):
        if not drop:
            parts.append(character)
        elif not parts or parts[-1] != REMOVED:
            parts.append(REMOVED)
    return "".join(parts)
