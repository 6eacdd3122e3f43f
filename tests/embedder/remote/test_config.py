"""Settings that do not go together are refused by name, and secrets stay out of sight."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from core.errors import InvalidSettings
from core.records import Representation
from embedder.remote.loading import load_remote
from tests.embedder.remote.conftest import KEYS, TOKEN, config


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"api": "cohere"}, "api"),
        ({"url": "api.example.com"}, "url"),
        ({"url": "ftp://h"}, "url"),
        ({"url": "https://"}, "url"),
        ({"url": "https://h:port"}, "url"),
        ({"url": "https://user:pass@h"}, "url"),
        ({"url": "https://h/?key=1"}, "url"),
        ({"model": ""}, "model"),
        ({"batch_items": 1}, "batch_items"),
        ({"batch_items": 101, "api": "aleph_alpha"}, "batch_items"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"concurrency": 0}, "concurrency"),
        ({"attempts": 0}, "attempts"),
        ({"requests_per_minute": 0}, "requests_per_minute"),
        ({"tokens_per_minute": -1}, "tokens_per_minute"),
        ({"timeout_seconds": 0}, "timeout_seconds"),
        ({"deadline_seconds": float("nan")}, "deadline_seconds"),
        ({"token": "line\nbreak"}, "token"),
        ({"token": "schlüssel"}, "token"),
        ({"sparse": True}, "sparse"),
        ({"api": "vikingdb", "access_key": ""}, "access_key"),
        ({"api": "vikingdb", "compress_to": 128}, "compress_to"),
        ({"api": "aleph_alpha", "compress_to": 64}, "compress_to"),
        ({"api": "aleph_alpha", "prefixes": {Representation.QUERY: "query: "}}, "prefixes"),
        ({"ca_file": Path("/no/such/file.pem")}, "ca_file"),
        ({"max_tokens": 5, "prefixes": {Representation.QUERY: "search: "}}, "max_tokens"),
    ],
)
def test_settings_that_cannot_be(changes: dict[str, Any], param: str) -> None:
    settings = {**changes}
    with pytest.raises(InvalidSettings, match=param) as caught:
        load_remote(config(settings.pop("url", "https://h"), **settings), "mine")
    assert caught.value.param == param


def test_secrets_are_not_shown() -> None:
    shown = repr(config("https://h")) + repr(config("https://h", api="vikingdb"))
    assert not any(secret in shown for secret in (TOKEN, *KEYS.values()))
