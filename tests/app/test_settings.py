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
    monkeypatch.setenv("SALIENCE_MODELS", "[")
    monkeypatch.setenv("SALIENCE_ALIASES", "3")
    monkeypatch.setenv("SALIENCE_METRICS", "public")
    with pytest.raises(InvalidSettings) as raised:
        load_settings()
    lines = raised.value.message.splitlines()
    named = [line.partition(":")[0].removeprefix("SALIENCE_") for line in lines]
    assert sorted(named) == ["ALIASES", "LIMITS__HITS", "LOG__LEVEL", "METRICS", "MODELS", "SERVER__PROT"]
    assert any("did you mean SALIENCE_SERVER__PORT?" in line for line in lines)
    assert sum("must be a JSON object" in line for line in lines) == 2


def test_tokens_are_secret_and_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SALIENCE_AUTH__TOKENS", "0123456789abcdef, fedcba9876543210")
    settings = load_settings()
    assert settings.auth.accepted == ("0123456789abcdef", "fedcba9876543210")
    assert "0123456789abcdef" not in repr(settings)
    assert not settings.auth.weak
    monkeypatch.setenv("SALIENCE_AUTH__TOKENS", "short-secret")
    assert load_settings().auth.weak
    monkeypatch.setenv("SALIENCE_AUTH__TOKENS", "sécret")
    with pytest.raises(InvalidSettings, match="SALIENCE_AUTH__TOKENS: a token may hold ASCII") as raised:
        load_settings()
    assert "sécret" not in raised.value.message


def test_signing_keys_are_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SALIENCE_AUTH__HMAC_KEYS", "AKEXAMPLE:SKEXAMPLE, other:se:cret")
    settings = load_settings()
    assert settings.auth.secret_keys == {"AKEXAMPLE": "SKEXAMPLE", "other": "se:cret"}
    assert "SKEXAMPLE" not in repr(settings)
    monkeypatch.setenv("SALIENCE_AUTH__HMAC_KEYS", "AKEXAMPLE")
    with pytest.raises(InvalidSettings, match="every pair must be ACCESS_KEY:SECRET_KEY") as raised:
        load_settings()
    assert "AKEXAMPLE" not in raised.value.message


def test_models_by_name_come_from_the_file_and_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "salience.toml"
    file.write_text(
        "[models.e5]\nfolder = '/models/e5'\n[models.up]\napi = 'openai'\nurl = 'http://up'\n[aliases]\nsmall = 'e5'\n"
    )
    monkeypatch.setenv("SALIENCE_CONFIG", str(file))
    monkeypatch.setenv("SALIENCE_MODELS__E5__DEVICE", "cpu")
    settings = load_settings()
    assert settings.models["e5"].folder == Path("/models/e5")
    assert settings.models["e5"].device == "cpu"
    assert settings.models["up"].api == "openai"
    assert settings.aliases == {"small": "e5"}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[models.e5]\nfolder = 'x'\napi = 'openai'", "SALIENCE_MODELS__E5: give either folder"),
        ("[models.e5]\napi = 'openai'", "SALIENCE_MODELS__E5: a model behind an api needs its url"),
        ("[models.e5]\nfolder = 'x'\nurl = 'http://y'", "url: only for a model behind an api"),
        ("[models.e5]\nfodler = 'x'", "models.e5.fodler: there is no such setting; did you mean models.*.folder?"),
        ("[modles.e5]\nfolder = 'x'", "modles: there is no such setting; did you mean model"),
        ("[models", "SALIENCE_CONFIG: "),
    ],
)
def test_a_wrong_file_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str, problem: str) -> None:
    file = tmp_path / "salience.toml"
    file.write_text(text)
    monkeypatch.setenv("SALIENCE_CONFIG", str(file))
    with pytest.raises(InvalidSettings) as raised:
        load_settings()
    assert problem in raised.value.message


@pytest.mark.parametrize("name", ["SALIENCE_ALIASES", "SALIENCE_MODELS", "SALIENCE_VIKINGDB__MODELS"])
def test_a_variable_that_is_not_json_is_named(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "small=e5")
    with pytest.raises(InvalidSettings, match=f"^{name}: must be a JSON object"):
        load_settings()


def test_a_missing_file_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SALIENCE_CONFIG", str(tmp_path / "nowhere.toml"))
    with pytest.raises(InvalidSettings, match=r"SALIENCE_CONFIG: .*nowhere.toml"):
        load_settings()


def test_a_file_in_another_encoding_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "salience.toml"
    file.write_bytes("model = 'mod\u00e8le'".encode("latin-1"))
    monkeypatch.setenv("SALIENCE_CONFIG", str(file))
    with pytest.raises(InvalidSettings, match="SALIENCE_CONFIG: TOML is UTF-8"):
        load_settings()


def test_settings_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load_settings().device = "cuda"


def test_every_variable_name_is_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    assert {"SALIENCE_LIMITS__BODY_BYTES", "SALIENCE_MODELS__*__FOLDER"} <= set(variable_names())
    chosen = (
        "CONFIG",
        "ALLOW_NETWORK_FILE_SYSTEM",
        "PRECISION",
        "MODELS",
        "ALIASES",
        "LOG__LEVEL",
        "LOG__FORMAT",
        "METRICS__PUBLIC",
        "MILVUS__DATABASE",
        "MILVUS__URI",
        "SERVER__ALLOW_ANONYMOUS",
        "TRACING__ENDPOINT",
        "TRACING__SHARE",
        "VIKINGDB__MODELS",
    )
    plain = [name for name in variable_names() if "*" not in name and not name.endswith(("KEYS", "FALLBACK"))]
    for name in plain:
        if name.removeprefix("SALIENCE_") not in chosen:
            monkeypatch.setenv(name, "9000" if name.endswith(("PORT", "BYTES")) else "100")
    settings = load_settings()
    assert settings.limits.bulk_bytes == 9000
    assert settings.limits.hits == 100
