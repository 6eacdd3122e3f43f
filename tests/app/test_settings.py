from __future__ import annotations

from pathlib import Path

import pytest

from app.settings import load_settings, variable_names
from core.errors import InvalidSettings


def test_defaults_and_overrides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SALIENCE_SERVER__PORT", "9000")
    monkeypatch.setenv("SALIENCE_DATA_DIR", "/somewhere")
    settings = load_settings(model="folder", device=None)
    assert settings.server.port == 9000
    assert settings.server.host == "127.0.0.1"
    assert settings.data_dir == Path("/somewhere")
    assert (settings.model, settings.device) == ("folder", "auto")
    assert load_settings(data_dir=Path("here")).data_dir == Path("here")  # an option beats the environment


def test_every_problem_is_reported_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SALIENCE_SERVER__PROT", "9000")
    monkeypatch.setenv("SALIENCE_LOG__LEVEL", "loud")
    monkeypatch.setenv("SALIENCE_LIMITS__HITS", "0")
    with pytest.raises(InvalidSettings) as raised:
        load_settings()
    lines = raised.value.message.splitlines()
    assert len(lines) == 3
    assert "did you mean SALIENCE_SERVER__PORT?" in lines[0]
    assert {line.partition(":")[0] for line in lines[1:]} == {"SALIENCE_LOG__LEVEL", "SALIENCE_LIMITS__HITS"}


def test_tokens_are_secret_and_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SALIENCE_AUTH__TOKENS", "0123456789abcdef, fedcba9876543210")
    settings = load_settings()
    assert settings.auth.accepted == ("0123456789abcdef", "fedcba9876543210")
    assert "0123456789abcdef" not in repr(settings)
    monkeypatch.setenv("SALIENCE_AUTH__TOKENS", "short-secret")
    with pytest.raises(InvalidSettings, match="SALIENCE_AUTH__TOKENS: every token must have at least 16") as raised:
        load_settings()
    assert "short-secret" not in raised.value.message


def test_settings_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load_settings().device = "cuda"


def test_every_variable_name_is_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "SALIENCE_LIMITS__BODY_BYTES" in variable_names()
    for name in variable_names():
        monkeypatch.setenv(name, "9000" if name.endswith(("PORT", "BYTES")) else "100")
    for name in ("LOG__LEVEL", "LOG__FORMAT", "AUTH__TOKENS"):
        monkeypatch.delenv(f"SALIENCE_{name}")
    settings = load_settings()
    assert settings.limits.bulk_bytes == 9000
    assert settings.limits.hits == 100
