"""What is shown of a remote's error never holds a key or a text."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedder.remote.redaction import MAX_LENGTH, TEXT_WINDOW, error_text


def shown(body: object, secrets: list[str] | None = None, texts: list[str] | None = None) -> str:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return error_text(raw, secrets=secrets or [], texts=texts or [])


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"error": "no such model", "code": "UNKNOWN_MODEL"}, "no such model"),
        ({"error": {"message": "no such model", "type": "invalid_request_error"}}, "no such model"),
        ({"code": 1000025, "message": "no such model", "request_id": "7"}, "no such model"),
        ({"detail": "no such model"}, "no such model"),
        ({"detail": [{"loc": ["body"], "msg": "missing"}]}, '[{"loc": ["body"], "msg": "missing"}]'),
        ("no such model", "no such model"),
        (b"<h1>Bad\n\n  Gateway</h1>", "<h1>Bad Gateway</h1>"),
        (b"", ""),
        (b"\xff\xfe", "\ufffd\ufffd"),
        (b"[" * 50_000, ("[" * 297) + "..."),
    ],
)
def test_the_message_in_a_body(body: object, message: str) -> None:
    assert shown(body) == message


def test_it_is_cut() -> None:
    assert shown({"error": "x" * 301}) == "x" * 297 + "..."
    assert shown({"error": "x" * 300}) == "x" * 300


def test_parts_of_a_key_are_taken_out() -> None:
    assert shown({"error": "key sk-abcdef*** is bad"}, secrets=["sk-abcdefgh"]) == "key [...]*** is bad"
    assert shown({"error": "key abc is bad"}, secrets=["abc"]) == "key [...] is bad"


def test_texts_are_taken_out_with_their_white_space_changed() -> None:
    text = "the\nquick   brown fox jumps over"
    assert shown({"error": "cannot read 'quick brown fox jumps' here"}, texts=[text]) == "cannot read '[...]' here"
    assert shown({"error": "unknown model"}, texts=["mod"]) == "unknown model"
    assert shown({"error": "cannot read fox!"}, texts=["fox!"]) == "cannot read [...]"


@given(
    text=st.text("abc \n", min_size=TEXT_WINDOW, max_size=400),
    before=st.text("xyz", max_size=400),
    start=st.integers(0, 300),
)
def test_no_stretch_of_a_text_is_left(text: str, before: str, start: int) -> None:
    message = shown({"error": before + text[start:] + before}, texts=[text])
    assert len(message) <= MAX_LENGTH
    plain = " ".join(text.split())
    if len(plain) >= TEXT_WINDOW:
        windows = {plain[i : i + TEXT_WINDOW] for i in range(len(plain) - TEXT_WINDOW + 1)}
        assert not any(window in message for window in windows)
