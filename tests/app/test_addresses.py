"""Credentials in the addresses of a text: redacted, and the rest of the text left as it is."""

from __future__ import annotations

import json
import time

import pytest

from app.addresses import shown_text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("to http://me:pass@host:1/v1?key=s#f, then", "to http://***@host:1/v1?*** then"),
        ("url: /v1/traces?api_key=s (refused)", "url: /v1/traces?*** (refused)"),
        ("/v1?key=s&next=http://host/ failed", "/v1?*** failed"),
        ("address=https://a@b@host/x", "address=https://***@host/x"),
        (r"http://me:a\b@host/x", "http://***@host/x"),
        ("who? me@host or him/her?", "who? me@host or him/her?"),
    ],
)
def test_addresses_lose_what_may_be_a_credential(text: str, shown: str) -> None:
    assert shown_text(text) == shown


@pytest.mark.parametrize(
    "message",
    [
        'the call of "http://host/v1?key=secret" failed',
        'the call of "/v1?key=secret" failed',
        "the path C:\\x /v1?key=secret\\",
        'of "http://me:secret\\x\u00e4@host"',
    ],
)
def test_json_stays_json(message: str) -> None:
    line = shown_text(json.dumps({"event": message, "level": "error"}))
    assert json.loads(line)["level"] == "error"
    assert "secret" not in line


@pytest.mark.parametrize("part", ["/", "a", "a.", "http://", "\\", "://", "/a?", "@"])
def test_the_time_grows_with_the_length_of_the_text(part: str) -> None:
    text = part * 200_000 + " @ ?"
    began = time.monotonic()
    shown_text(text)
    assert time.monotonic() - began < 5.0
