"""What serving would refuse, the doctor finds first, and creates nothing."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path

import pytest

from app.operation import doctor_serving
from app.operation.doctor import Level
from app.operation.doctor_data import data_directory, others, permissions
from app.operation.doctor_serving import port
from app.settings import load_settings
from app.wiring import Wiring
from core.errors import StorageError
from core.records import CollectionSettings
from embedder.local import LocalEncoder
from store import Database, filesystem
from store.migrate import SCHEMA_VERSION
from store.processes import register
from tests.app.operation.test_doctor import Salience, added, checks
from tests.embedder.tiny import save_tiny_model

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
SOMEBODY = 54321


def refused(directory: Path) -> str:
    """The message that both have: the doctor and whoever opens the directory."""
    settings = load_settings(data_dir=directory)
    with pytest.raises(StorageError) as found:
        list(data_directory(settings))
    with pytest.raises(StorageError) as opened:
        Database.open(directory)
    assert type(found.value) is type(opened.value)
    return found.value.message


def test_a_log_without_its_database_fails(salience: Salience, tmp_path: Path) -> None:
    data = added(salience, tmp_path)
    (data / "salience.db").rename(tmp_path / "moved.db")
    (data / "salience.db-wal").write_bytes(b"x" * 100_000)
    assert "holds the write-ahead log" in refused(data)
    code, found = checks(salience)
    assert (code, found["data directory"][0]["level"]) == (1, "fail")


def test_a_file_and_a_directory_of_other_files_fail(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("mine")
    assert "is a file" in refused(tmp_path / "letter.txt")
    assert "holds other files (letter.txt)" in refused(tmp_path)
    assert "Not a directory" in refused(tmp_path / "letter.txt" / "below")
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs Linux")
def test_a_place_where_nothing_can_be_made_fails() -> None:
    assert "/proc/nowhere/x" in refused(Path("/proc/nowhere/x"))


def test_a_network_file_system_fails_unless_it_is_permitted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mountinfo").write_text("36 35 0:1 / / rw - nfs4 there:/x rw\n")
    monkeypatch.setattr(filesystem, "MOUNTS", tmp_path / "mountinfo")
    assert "nfs4" in refused(tmp_path / "data")
    permitted = load_settings(data_dir=tmp_path / "data", allow_network_file_system=True)
    assert [one.level for one in data_directory(permitted)] == [Level.OK]


def test_nothing_is_created(tmp_path: Path) -> None:
    settings = load_settings(data_dir=tmp_path / "some" / "data")
    assert [one.level for one in data_directory(settings)] == [Level.OK]
    assert list(tmp_path.iterdir()) == []


@AS_ROOT
def test_what_root_made_in_the_directory_of_another_user_is_named(salience: Salience, tmp_path: Path) -> None:
    data = added(salience, tmp_path)
    for path in (data, *data.rglob("*")):
        os.chown(path, SOMEBODY, SOMEBODY)
    [sound] = permissions(load_settings(data_dir=data))
    assert (sound.level, str(SOMEBODY) in sound.text) == (Level.OK, True)
    (data / "segments").mkdir(exist_ok=True)
    for name in ("salience.db", "segments", "maintenance.lock"):
        os.chown(data / name, 0, 0)
    code, found = checks(salience)
    [wrong] = found["permissions"]
    assert (code, wrong["level"]) == (1, "fail")
    assert all(f"{name} (of root)" in wrong["text"] for name in ("salience.db", "segments", "maintenance.lock"))
    assert f"chown -R {SOMEBODY}: {data}" in wrong["advice"]


@AS_ROOT
def test_a_group_that_may_write_is_no_fault(salience: Salience, tmp_path: Path) -> None:
    data = added(salience, tmp_path)
    for path in (data, *data.rglob("*")):
        os.chown(path, SOMEBODY, SOMEBODY)
    os.chown(data / "salience.db", 0, SOMEBODY)
    (data / "salience.db").chmod(0o660)
    assert [one.level for one in permissions(load_settings(data_dir=data))] == [Level.OK]
    (data / "salience.db").chmod(0o640)
    assert [one.level for one in permissions(load_settings(data_dir=data))] == [Level.FAIL]


def test_a_process_of_another_release_fails(salience: Salience, tmp_path: Path) -> None:
    data = added(salience, tmp_path)
    with register(data, kind="serve", version="0.9.3", schema=SCHEMA_VERSION):
        found = next(others(load_settings(data_dir=data)))
    assert (found.level, "0.9.3" in found.text, "version 0.1" in found.advice) == (Level.FAIL, True, True)


@pytest.mark.parametrize(
    ("code", "level", "advised"),
    [
        (errno.EADDRNOTAVAIL, Level.FAIL, "SALIENCE_SERVER__HOST"),
        (errno.EACCES, Level.FAIL, "1024"),
        (errno.EADDRINUSE, Level.WARN, "SALIENCE_SERVER__PORT"),
    ],
)
def test_an_address_that_cannot_be_listened_at_is_told_by_its_cause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, level: Level, advised: str
) -> None:
    def refuse(host: str, number: int) -> socket.socket:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(doctor_serving, "bound", refuse)
    [found] = port(load_settings(data_dir=tmp_path / "data"))
    assert (found.level, advised in found.advice) == (level, True)


def test_an_address_of_another_machine_fails(salience: Salience, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SALIENCE_SERVER__HOST", "192.0.2.1")
    code, found = checks(salience)
    assert (code, found["port"][0]["level"]) == (1, "fail")
    assert "access" not in found


def test_a_named_model_whose_folder_is_gone_fails(
    salience: Salience, tmp_path: Path, encoder: LocalEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = save_tiny_model(tmp_path / "tiny")
    monkeypatch.setenv("SALIENCE_MODELS__TINY__FOLDER", str(folder))
    added(salience, tmp_path)
    with Wiring(load_settings(data_dir=tmp_path / "data"), encoder=encoder) as parts:
        parts.create_collection("small", CollectionSettings(), model="tiny")
    folder.rename(tmp_path / "gone")
    code, found = checks(salience)
    assert (code, [one["level"] for one in found["model"]]) == (1, ["fail"])
    assert str(folder) in found["model"][0]["text"]
    code, found = checks(salience, probe=True)
    texts = [one["text"] for one in found["model"] if one["level"] == "fail"]
    assert (code, len(texts)) == (1, 2)
    assert "collection small cannot be searched" in texts[1]
    assert str(folder) in texts[1]
