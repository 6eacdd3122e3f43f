"""Redacts the error messages of remotes for display and logs: one short line, without keys or texts that were sent."""

from __future__ import annotations

import json
from collections.abc import Iterable

MAX_LENGTH = 300  # characters
SECRET_WINDOW = 6  # characters of a key in a row that are removed; shorter matches are kept
TEXT_WINDOW = 16  # the same for texts
SHORTEST_TEXT = 4  # characters; shorter texts are not searched for, as they occur in any sentence
REMOVED = "[...]"


def error_text(body: bytes, *, secrets: Iterable[str], texts: Iterable[str]) -> str:
    """The message in the body of an error, at most 300 characters, with parts of secrets and sent texts replaced."""
    printable = "".join(character if character.isprintable() else " " for character in _message(body))
    # What is removed can be longer than its replacement, so more is kept at first than is shown.
    message = " ".join(printable.split())[: 4 * MAX_LENGTH]
    for secret in secrets:
        message = _without(message, secret, SECRET_WINDOW)
    for text in texts:
        if len(text) >= SHORTEST_TEXT:
            message = _without(message, " ".join(text.split()), TEXT_WINDOW)
    return message if len(message) <= MAX_LENGTH else message[: MAX_LENGTH - 3] + "..."


def _message(body: bytes) -> str:
    """The message in an error body in the formats of the three APIs and of common frameworks; else the body itself."""
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
    """The message with every passage replaced that consists of windows which occur in `hidden`."""
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
