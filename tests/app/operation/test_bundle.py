"""The debug bundle holds what helps, and nothing that is anybody's."""

from __future__ import annotations

import errno
import json
import socket
import tarfile
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from app.operation.bundle import Names, write_bundle
from app.operation.doctor import Diagnosis, Level
from app.settings import load_settings
from core.errors import Conflict, UnwritableFile
from store import Database
from store.processes import register
from store.schema import metadata

Salience = Callable[..., tuple[int, str, str]]
MARK = "Zauberwort"


@pytest.fixture
def stocked(salience: Salience, tmp_path: Path) -> Path:
    lines = tmp_path / "some.ndjson"
    document = {"id": f"{MARK}-id", "title": MARK, "text": f"A {MARK} radio.", "metadata": {MARK: MARK}}
    lines.write_text(json.dumps(document), "utf-8")
    for name in (f"{MARK}-first", f"{MARK}-second"):
        code, _, err = salience("add", str(lines), "-c", name)
        assert code == 0, err
    return tmp_path / "data"


def contents(bundle: Path) -> dict[str, str]:
    with tarfile.open(bundle) as file:
        names = file.getnames()
        return {name.rpartition("/")[2]: file.extractfile(name).read().decode() for name in names}  # type: ignore[union-attr]


def test_it_holds_everything_and_no_marked_word(
    salience: Salience, stocked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SALIENCE_AUTH__TOKENS", f"{MARK}-a-long-token")
    monkeypatch.setenv("SALIENCE_AUTH__HMAC_KEYS", f"AK:{MARK}")
    monkeypatch.setenv("SALIENCE_TRACING__ENDPOINT", f"http://me:{MARK}@collector:4318/v1/traces")
    target = tmp_path / "bundle.tar.gz"
    code, out, err = salience("debug-bundle", str(target))
    assert (code, str(target) in out, err) == (0, True, "")
    found = contents(target)
    assert not [name for name, text in found.items() if MARK.lower() in text.lower()]
    assert {one["name"] for one in json.loads(found["stats.json"])["collections"]} == {"c1", "c2"}
    assert {"settings", "disk", "model"} <= {one["name"] for one in json.loads(found["doctor.json"])}
    assert json.loads(found["settings.json"])["tracing"]["endpoint"] == "http://***@collector:4318/v1/traces"
    assert json.loads(found["versions.json"])["packages"]["torch"]
    assert all(f"CREATE TABLE {name}" in found["schema.sql"].replace('"', "") for name in metadata.tables)
    assert found["metrics.txt"] == "# no server is running\n"


def test_what_the_doctor_says_of_an_address_leaves_its_password_out(tmp_path: Path) -> None:
    text = f"Milvus does not answer at http://me:{MARK}@index:19530: refused"
    found = Diagnosis(name="index", level=Level.FAIL, text=text)
    settings = load_settings(data_dir=tmp_path / "data")
    write_bundle(tmp_path / "bundle", settings, [found], Names(tmp_path / "data"), lambda *_: "")
    [said] = json.loads(contents(tmp_path / "bundle")["doctor.json"])
    assert said["text"] == "Milvus does not answer at http://***@index:19530: refused"


def test_metrics_of_a_server_are_there_under_the_bundles_names(stocked: Path, tmp_path: Path) -> None:
    asked: list[tuple[str, str | None]] = []

    def ask(address: str, token: str | None, seconds: float) -> str:
        asked.append((address, token))
        return f'searches{{collection="{MARK}-second"}} 3\nsearches{{collection="other"}} 4\nup 1\n'

    settings = load_settings(data_dir=stocked, auth={"tokens": "a-token-of-the-tests"})
    target = tmp_path / "bundle.tar.gz"
    with _registered(stocked):
        write_bundle(target, settings, [], Names(stocked), ask)
    assert asked == [("http://127.0.0.1:1/metrics", "a-token-of-the-tests")]
    assert contents(target)["metrics.txt"] == 'searches{collection="c2"} 3\nsearches{collection="other"} 4\nup 1\n'


def test_a_server_is_asked_directly_whatever_proxy_the_environment_names(
    salience: Salience, stocked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy would be shown the token. Here nothing listens at the server's address, and a program does at the proxy's
    that does not speak HTTP: as one may that has got the port of a server that died."""
    came: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as other:
        threading.Thread(target=_answering, args=(other, came), daemon=True).start()
        address = f"http://127.0.0.1:{other.getsockname()[1]}"
        monkeypatch.setenv("SALIENCE_AUTH__TOKENS", "a-token-of-the-tests")
        for name in ("http_proxy", "HTTP_PROXY"):
            monkeypatch.setenv(name, address)
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
        for asked, reason in (("http://127.0.0.1:1", "refused"), (address, "BadStatusLine")):
            target = tmp_path / f"{reason}.tar.gz"
            with _registered(stocked, asked):
                assert salience("debug-bundle", str(target), "--no-model-probe")[0] == 0
            assert reason in contents(target)["metrics.txt"]
            assert bool(came) == (asked == address)


def _answering(listener: socket.socket, came: list[bytes]) -> None:
    connection, _ = listener.accept()
    with connection:
        came.append(connection.recv(4096))
        connection.sendall(b"220 mail ready\r\n")


def test_what_cannot_be_had_is_a_reason_and_the_rest_is_there(stocked: Path, tmp_path: Path) -> None:
    def ask(address: str, token: str | None, seconds: float) -> str:
        raise OSError("it does not answer")

    target, names = tmp_path / "bundle.tar.gz", Names(stocked)
    with _registered(stocked):
        for file in stocked.glob("salience.db*"):
            file.unlink()
        write_bundle(target, load_settings(data_dir=stocked), [], names, ask)
    found = contents(target)
    assert "it does not answer" in found["metrics.txt"]
    assert found["stats.json"].startswith("cannot be had: ")
    assert json.loads(found["versions.json"])


def test_a_file_that_is_there_is_kept(salience: Salience, tmp_path: Path) -> None:
    target = tmp_path / "bundle.tar.gz"
    target.write_text("mine")
    code, _, err = salience("debug-bundle", str(target), "--no-model-probe")
    assert (code, "is there already" in err, target.read_text()) == (1, True, "mine")
    code, _, err = salience("debug-bundle", str(tmp_path / "none" / "b.tar.gz"), "--no-model-probe")
    assert (code, "cannot be written" in err) == (1, True)
    with pytest.raises(UnwritableFile):
        write(tmp_path / "none" / "b.tar.gz", tmp_path)


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_what_fails_or_is_interrupted_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def fails(bundle: tarfile.TarFile, name: str, content: bytes) -> None:
        assert list(tmp_path.glob(".b.tar.gz.unfinished-*"))
        raise error

    monkeypatch.setattr("app.operation.bundle._add", fails)
    expected = UnwritableFile if isinstance(error, OSError) else KeyboardInterrupt
    with pytest.raises(expected):
        write(tmp_path / "b.tar.gz", tmp_path / "data")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("links", [True, False])
def test_a_file_that_comes_meanwhile_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool) -> None:
    target = tmp_path / "b.tar.gz"

    def comes(bundle: tarfile.TarFile, name: str, content: bytes) -> None:
        target.write_text("another's")

    def refuses(*_: object) -> None:
        raise PermissionError(errno.EPERM, "this file system has no links")

    monkeypatch.setattr("app.operation.bundle._add", comes)
    if not links:
        monkeypatch.setattr("os.link", refuses)
    with pytest.raises(Conflict):
        write(target, tmp_path / "data")
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("b.tar.gz", "another's")]


def test_a_file_system_without_links_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(*_: object) -> None:
        raise PermissionError(errno.EPERM, "this file system has no links")

    monkeypatch.setattr("os.link", refuses)
    write(tmp_path / "b.tar.gz", tmp_path / "data")
    assert "versions.json" in contents(tmp_path / "b.tar.gz")
    assert [file.name for file in tmp_path.iterdir()] == ["b.tar.gz"]


def write(target: Path, directory: Path) -> None:
    write_bundle(target, load_settings(data_dir=directory), [], Names(directory), lambda *_: "")


def test_no_address_shows_what_lets_its_caller_in(tmp_path: Path) -> None:
    api = {"api": "openai", "url": f"https://me:{MARK}/x@far.example/v1?api_key={MARK}#{MARK}", "remote_model": "m"}
    tracing = {"endpoint": f'https://collector:4318/v1/traces?token={MARK}"{MARK}&a=b'}
    settings = load_settings(data_dir=tmp_path / "data", models={"far": api}, tracing=tracing)
    said = f"Max retries exceeded with url: /v1/traces?token={MARK} (Caused by ...) https://me:{MARK}@host/x?y={MARK}"
    found = [Diagnosis(name="tracing", level=Level.FAIL, text=said, advice="")]
    target = tmp_path / "b.tar.gz"
    write_bundle(target, settings, found, Names(tmp_path / "data"), lambda *_: "")
    inside = contents(target)
    assert [name for name, text in inside.items() if MARK in text] == []
    shown = json.loads(inside["settings.json"])
    assert shown["models"]["far"]["url"] == "https://***@far.example/v1?***"
    assert shown["tracing"]["endpoint"] == "https://collector:4318/v1/traces?***"
    assert "url: /v1/traces?*** (Caused by ...) https://***@host/x?***" in inside["doctor.json"]


def _registered(directory: Path, address: str = "http://127.0.0.1:1"):  # type: ignore[no-untyped-def]  # a context manager of the store's
    database = Database.open(directory)
    database.close()
    return register(directory, kind="serve", version="0.1.0", schema="0008", address=address)
