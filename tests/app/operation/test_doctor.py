"""What the doctor finds, and what it says to do."""

from __future__ import annotations

import json
import os
import socket
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.operation import doctor as module
from app.operation.doctor import Level, diagnose
from app.operation.doctor_data import access
from app.settings import load_settings
from app.wiring import Wiring
from core.records import CollectionSettings
from embedder.local import LocalEncoder
from store.processes import register
from tests.embedder.tiny import save_tiny_model

Salience = Callable[..., tuple[int, str, str]]


def checks(salience: Salience, *more: str, probe: bool = False) -> tuple[int, dict[str, list[dict[str, Any]]]]:
    """Exit code, and what was found by name."""
    code, out, err = salience("doctor", "--json", *([] if probe else ["--no-model-probe"]), *more)
    assert err == ""
    body = json.loads(out)
    assert body["ok"] is (code == 0)
    found: dict[str, list[dict[str, Any]]] = {}
    for one in body["checks"]:
        found.setdefault(one["name"], []).append(one)
        assert one["level"] == "ok" or one["advice"] or one["text"]
    return code, found


def added(salience: Salience, tmp_path: Path) -> Path:
    lines = tmp_path / "some.ndjson"
    lines.write_text('{"id": "a", "text": "A console that plays games."}\n', "utf-8")
    code, _, err = salience("add", str(lines), "-c", "goods")
    assert code == 0, err
    return tmp_path / "data"


def test_a_sound_machine_has_nothing_to_do(salience: Salience, tmp_path: Path) -> None:
    code, found = checks(salience)
    assert code == 0
    assert "holds no data yet" in found["data directory"][0]["text"]
    added(salience, tmp_path)
    code, found = checks(salience, probe=True)
    assert code == 0
    for name in ("settings", "processor", "memory", "open files", "clock", "disk", "write-ahead log", "maintenance"):
        assert [one["level"] for one in found[name]] in (["ok"], ["warn"])
    [model] = found["model"]
    assert (model["level"], "384 dimensions" in model["text"]) == ("ok", True)


def test_lines_for_people_say_the_level_first(salience: Salience) -> None:
    code, out, _ = salience("doctor", "--no-model-probe")
    assert code == 0
    assert all(line.split()[0] in ("ok", "warn", "fail") for line in out.splitlines() if not line.startswith(" "))


def test_settings_that_are_wrong_are_told_all_at_once(salience: Salience, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SALIENCE_SERVER__PORT", "70000")
    monkeypatch.setenv("SALIENCE_LOG__LEVL", "info")
    monkeypatch.setenv("SALIENCE_TRACING__ENDPOINT", "localhost")
    code, found = checks(salience)
    assert code == 1
    texts = " ".join(one["text"] for one in found["settings"])
    assert len(found["settings"]) == 3
    for variable in ("SERVER__PORT", "LOG__LEVL", "LOG__LEVEL", "TRACING__ENDPOINT"):
        assert variable in texts


def test_too_little_room_fails(salience: Salience, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SALIENCE_LIMITS__FREE_BYTES", str(2**60))
    code, found = checks(salience)
    assert (code, found["disk"][0]["level"]) == (1, "fail")
    assert "make room" in found["disk"][0]["advice"]


@pytest.mark.parametrize(("version", "level"), [("0001", "warn"), ("9999", "fail")])
def test_another_schema_is_told_and_left_alone(salience: Salience, tmp_path: Path, version: str, level: str) -> None:
    database = added(salience, tmp_path) / "salience.db"
    with sqlite3.connect(database) as connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", [version])
    connection.close()
    code, found = checks(salience, probe=True)
    assert (code, found["data directory"][0]["level"]) == (int(level == "fail"), level)
    with sqlite3.connect(database) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchone() == (version,)
    connection.close()


def test_a_damaged_database_fails_and_the_rest_is_looked_at(salience: Salience, tmp_path: Path) -> None:
    (added(salience, tmp_path) / "salience.db").write_bytes(b"no database at all" * 1000)
    code, found = checks(salience)
    assert code == 1
    assert [one["level"] for one in found["data directory"]] == ["fail"]
    assert "port" in found


def test_a_clock_that_was_set_back_is_noticed(salience: Salience, tmp_path: Path) -> None:
    later = time.time() + 3600
    os.utime(added(salience, tmp_path) / "salience.db", (later, later))
    _, found = checks(salience)
    assert (found["clock"][0]["level"], "set back" in found["clock"][0]["text"]) == ("warn", True)


def test_a_port_in_use_is_told(salience: Salience, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        monkeypatch.setenv("SALIENCE_SERVER__PORT", str(taken.getsockname()[1]))
        code, found = checks(salience)
    assert (code, found["port"][0]["level"]) == (0, "warn")


def test_processes_that_do_not_go_together_fail(salience: Salience, tmp_path: Path) -> None:
    data = added(salience, tmp_path)
    with register(data, kind="serve", version="0.0.1", schema="0001", address="http://127.0.0.1:1"):
        code, found = checks(salience)
    assert code == 1
    assert found["process"][0]["level"] == "fail"
    assert found["maintenance"][0]["text"] == "nobody maintains the data directory"


def test_a_model_that_cannot_be_loaded_fails(
    salience: Salience, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SALIENCE_MODEL", str(tmp_path / "nothing"))
    code, found = checks(salience, probe=True)
    assert (code, found["model"][0]["level"]) == (1, "fail")


def test_a_collection_of_another_model_is_named(salience: Salience, tmp_path: Path) -> None:
    database = added(salience, tmp_path) / "salience.db"
    with sqlite3.connect(database) as connection:
        connection.execute("UPDATE generation SET fingerprint = 'another'")
    connection.close()
    code, found = checks(salience, probe=True)
    assert (code, [one["level"] for one in found["model"]]) == (0, ["ok", "warn"])
    assert "collection goods" in found["model"][1]["text"]


def test_a_collection_of_another_model_that_is_there_is_sound(
    salience: Salience, tmp_path: Path, encoder: LocalEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    added(salience, tmp_path)
    folder = save_tiny_model(tmp_path / "tiny")
    models = {"tiny": {"folder": folder, "precision": "fp32"}}
    with Wiring(load_settings(data_dir=tmp_path / "data", models=models), encoder=encoder) as parts:
        parts.create_collection("small", CollectionSettings(), model="tiny")
    _, found = checks(salience, probe=True)
    assert [one["level"] for one in found["model"]] == ["ok", "warn"]
    assert "collection small" in found["model"][1]["text"]
    monkeypatch.setenv("SALIENCE_MODELS__TINY__FOLDER", str(folder))
    monkeypatch.setenv("SALIENCE_MODELS__TINY__PRECISION", "fp32")
    _, found = checks(salience, probe=True)
    assert [one["level"] for one in found["model"]] == ["ok"]


def test_a_remote_that_is_down_keeps_no_other_model_from_being_looked_at(
    salience: Salience, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = added(salience, tmp_path) / "salience.db"
    assert salience("collections", "create", "other")[0] == 0
    with sqlite3.connect(database) as connection:
        connection.execute("UPDATE generation SET fingerprint = 'another'")
        connection.execute("UPDATE generation SET model = 'far' WHERE id = (SELECT min(id) FROM generation)")
    connection.close()
    monkeypatch.setenv("SALIENCE_MODELS__FAR__API", "openai")
    monkeypatch.setenv("SALIENCE_MODELS__FAR__URL", "http://127.0.0.1:1")
    code, found = checks(salience, probe=True)
    main, down, other = found["model"]
    assert (code, main["level"], down["level"], other["level"]) == (1, "ok", "fail", "warn")
    assert down["text"].startswith("collection goods cannot be searched: ")
    assert "models.NAME.url" in down["advice"]
    assert "collection other" in other["text"]


def test_with_a_key_the_doors_are_closed(salience: Salience, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SALIENCE_SERVER__HOST", "0.0.0.0")
    added(salience, tmp_path)
    code, found = checks(salience)
    assert (code, found["access"][0]["level"]) == (1, "fail")
    assert "serve refuses" in found["access"][0]["text"]
    assert salience("key", "create", "operator", "--role", "admin")[0] == 0
    _, found = checks(salience)
    assert "access" not in found


def test_tokens_and_open_doors_are_judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load_settings(data_dir=tmp_path / "data", server={"host": "0.0.0.0"}, auth={"tokens": ""})
    names = {one.name: one for one in diagnose(settings, access)}
    assert names["access"].level is Level.FAIL
    opened = load_settings(data_dir=tmp_path / "data", server={"host": "0.0.0.0", "allow_anonymous": True})
    names = {one.name: one for one in diagnose(opened, access)}
    assert names["access"].level is Level.WARN
    weak = load_settings(data_dir=tmp_path / "data", server={"host": "0.0.0.0"}, auth={"tokens": "short"})
    names = {one.name: one for one in diagnose(weak, access)}
    assert ("access" in names, names["tokens"].level) == (False, Level.WARN)


def test_few_files_and_little_memory_are_warnings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "open_files_allowed", lambda: 1024)
    monkeypatch.setattr(module, "_available_memory", lambda: 2**28)
    names = {one.name: one for one in diagnose(load_settings(data_dir=tmp_path / "data"))}
    assert (names["open files"].level, names["memory"].level) == (Level.WARN, Level.WARN)
    assert "LimitNOFILE" in names["open files"].advice


@pytest.mark.parametrize(
    ("flags", "level", "named"),
    [
        ("fp asimd evtstrm aes", "ok", "; asimd"),  # a 64-bit ARM kernel
        ("half thumb neon vfpv4", "ok", "; neon"),
        ("fpu avx avx2 avx512f amx_bf16", "ok", "; avx2, avx512f, amx_bf16"),
        ("fpu sse4_2 avx", "warn", "no vector instructions"),
        ("", "ok", "no vector instructions"),
    ],
)
def test_vector_instructions_are_named_as_the_kernel_has_them(
    monkeypatch: pytest.MonkeyPatch, flags: str, level: str, named: str
) -> None:
    monkeypatch.setattr(module, "_processor_flags", lambda: set(flags.split()))
    [found] = module._processor(load_settings())
    assert (found.level.value, named in found.text) == (level, True)
