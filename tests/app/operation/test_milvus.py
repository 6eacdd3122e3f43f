"""A Milvus that the settings name: what is refused without one, and who says that it does not answer."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

import app.milvus
from app.settings import load_settings
from app.wiring import Wiring
from core.errors import IndexUnavailable, InvalidSettings
from core.records import CollectionSettings, IndexKind
from embedder.local import LocalEncoder
from tests.milvus import MilvusServer
from tests.waiting import until

Salience = Callable[..., tuple[int, str, str]]


def test_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_settings().milvus.uri is None
    monkeypatch.setenv("SALIENCE_MILVUS__URI", "https://milvus.example.org:443/")
    monkeypatch.setenv("SALIENCE_MILVUS__TOKEN", "root:a-secret")
    found = load_settings()
    assert found.milvus.uri == "https://milvus.example.org:443"
    assert (found.milvus.database, found.milvus.timeout_seconds) == ("default", 10.0)
    assert found.milvus.token.get_secret_value() == "root:a-secret"
    assert "a-secret" not in repr(found)
    monkeypatch.setenv("SALIENCE_MILVUS__URI", "")  # as a compose file passes on what is not set
    assert load_settings().milvus.uri is None


@pytest.mark.parametrize(
    "uri",
    [
        "milvus", "milvus:19530", "http://milvus", "tcp://milvus:19530", "http://:19530", "http://milvus:port",
        "http://milvus:99999", "http://milvus:19530/database", "http://root:secret@milvus:19530", "./milvus.db",
        "http://[::1]:19530", "http://milvus:19530?a=b", "unix:/run/milvus",
    ],
)  # fmt: skip
def test_addresses_that_are_none(monkeypatch: pytest.MonkeyPatch, uri: str) -> None:
    monkeypatch.setenv("SALIENCE_MILVUS__URI", uri)
    with pytest.raises(InvalidSettings, match="SALIENCE_MILVUS__URI: must be http://HOST:PORT") as caught:
        load_settings()
    assert "secret" not in caught.value.message


@pytest.mark.parametrize(("name", "value"), [("DATABASE", "a-b"), ("DATABASE", ""), ("TIMEOUT_SECONDS", "0")])
def test_other_settings_have_bounds(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"SALIENCE_MILVUS__{name}", value)
    with pytest.raises(InvalidSettings, match=f"SALIENCE_MILVUS__{name}"):
        load_settings()


def test_without_a_milvus_no_collection_asks_for_one(client: TestClient) -> None:
    response = client.post("/v1/collections", json={"name": "large", "settings": {"index": "milvus"}})
    assert response.status_code == 400
    error = response.json()["error"]
    assert (error["code"], error["param"]) == ("invalid_settings", "index")
    assert "SALIENCE_MILVUS__URI" in error["message"]
    assert client.get("/v1/collections/large").status_code == 404

    response = client.post("/v1/admin/collections/goods/reindex", json={"settings": {"index": "milvus"}})
    assert response.status_code == 400
    assert response.json()["error"]["code"] == "invalid_settings"
    assert client.get("/v1/admin/collections/goods/reindex").status_code == 404


def test_without_a_milvus_the_command_line_refuses_one(salience: Salience) -> None:
    code, _, err = salience("collections", "create", "large", "--index", "milvus")
    assert code != 0
    assert "SALIENCE_MILVUS__URI" in err
    code, out, _ = salience("collections", "list", "--json")
    assert (code, out) == (0, "[]\n") or json.loads(out) == []


def test_with_one_they_are_made(
    make_client: Callable[..., TestClient], milvus: MilvusServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = make_client(milvus={"uri": milvus.uri})
    response = client.post("/v1/collections", json={"name": "large", "settings": {"index": "milvus"}})
    assert response.status_code == 201
    assert response.json()["settings"]["index"] == "milvus"
    assert client.get("/v1/collections/large").json()["settings"]["index"] == "milvus"


def test_without_the_package_nothing_starts(
    tmp_path: Path, encoder: LocalEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pymilvus", None)
    settings = load_settings(data_dir=tmp_path, milvus={"uri": "http://127.0.0.1:19530"})
    with Wiring(settings, encoder=encoder) as parts, pytest.raises(InvalidSettings, match=r"\.\[milvus\]"):
        parts.build()


def test_the_connection_ends_with_the_parts(tmp_path: Path, milvus: MilvusServer, encoder: LocalEncoder) -> None:
    parts = Wiring(load_settings(data_dir=tmp_path, milvus={"uri": milvus.uri}), encoder=encoder)
    parts.create_collection("large", CollectionSettings(index=IndexKind.MILVUS))
    index = parts.passage_index
    assert index is not None
    assert index.check().startswith("Milvus ")
    parts.close()
    with pytest.raises(IndexUnavailable):
        index.check()


def test_readiness_follows_milvus(make_client: Callable[..., TestClient], mortal_milvus: MilvusServer) -> None:
    client = make_client(milvus={"uri": mortal_milvus.uri, "timeout_seconds": 60})

    def finding() -> dict[str, Any]:
        [found] = [one for one in client.get("/readyz").json()["checks"] if one["name"] == "index"]
        return dict(found)

    until(lambda: client.get("/readyz").status_code == 200)
    assert finding() == {"name": "index", "ok": True, "text": "Milvus milvus_lite-3.2.2"}
    mortal_milvus.freeze()
    began = time.monotonic()
    answer = client.get("/readyz")
    assert time.monotonic() - began < 30.0, "long before Milvus would be given up"
    assert answer.status_code == 200, "other collections are served"
    assert answer.json()["status"] == "ready"
    assert answer.json()["problems"] == [
        "index: Milvus does not answer: collections with the index milvus cannot be searched; "
        "salience doctor says where it was looked for"
    ]
    mortal_milvus.kill()
    assert finding()["ok"] is False
    assert client.get("/livez").status_code == 200
    mortal_milvus.start()
    until(lambda: bool(finding()["ok"]))
    assert client.get("/readyz").status_code == 200


def test_the_doctor_looks_at_it(
    salience: Salience, mortal_milvus: MilvusServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def index() -> tuple[int, list[dict[str, str]]]:
        code, out, _ = salience("doctor", "--json", "--no-model-probe")
        return code, [one for one in json.loads(out)["checks"] if one["name"] == "index"]

    assert index() == (0, [])
    monkeypatch.setenv("SALIENCE_MILVUS__URI", mortal_milvus.uri)
    monkeypatch.setenv("SALIENCE_MILVUS__TIMEOUT_SECONDS", "2")
    monkeypatch.setenv("SALIENCE_MILVUS__TOKEN", "root:a-secret")
    answers = {"name": "index", "level": "ok", "text": "Milvus milvus_lite-3.2.2 answers", "advice": ""}
    assert index() == (0, [answers])

    assert salience("collections", "create", "large", "--index", "milvus")[0] == 0
    mortal_milvus.kill()
    code, [found] = index()
    assert (code, found["level"]) == (1, "fail")
    assert mortal_milvus.uri in found["text"]
    assert "SALIENCE_MILVUS__URI" in found["advice"]
    assert "a-secret" not in str(found)

    monkeypatch.setenv("SALIENCE_MILVUS__DATABASE", "another")
    mortal_milvus.start()
    code, [found] = index()
    assert (code, found["level"]) == (1, "fail")
    assert "another" in found["text"]

    monkeypatch.delenv("SALIENCE_MILVUS__URI")
    code, [found] = index()
    assert (code, found["level"], found["advice"]) == (1, "fail", "set SALIENCE_MILVUS__URI")
    assert found["text"].startswith("1 collection(s) have the index milvus")


def test_the_doctor_misses_the_package(salience: Salience, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SALIENCE_MILVUS__URI", "http://127.0.0.1:19530")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    code, out, _ = salience("doctor", "--json", "--no-model-probe")
    [found] = [one for one in json.loads(out)["checks"] if one["name"] == "index"]
    assert (code, found["advice"]) == (1, "in a checkout of Salience: pip install '.[milvus]'")


FAILURE = """
import logging, os, sys
import numpy as np
from app.logs import configure_logs
from app.milvus import milvus
from app.settings import LogSettings, MilvusSettings
from core.errors import IndexMissing

configure_logs(LogSettings(format="json"))
handlers = logging.getLogger().handlers
index = milvus(MilvusSettings(uri=sys.argv[1]))
assert logging.getLogger().handlers == handlers
index.check()
try:
    index.remove("nowhere", np.array([1]))
except IndexMissing:
    assert "LEFT_ALONE" not in os.environ
    sys.exit(7)
"""


def test_a_failure_is_one_line_of_the_log(tmp_path: Path, milvus: MilvusServer) -> None:
    """pymilvus sets up logging of its own when it is loaded, and reads a file named .env that it finds."""
    (tmp_path / ".env").write_text("LEFT_ALONE=no\n", "utf-8")
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    done = subprocess.run(
        [sys.executable, "-c", FAILURE, milvus.uri],
        check=False,
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        encoding="utf-8",
        timeout=60,
    )
    assert done.returncode == 7, done.stderr
    [line] = [json.loads(line) for line in done.stderr.splitlines()]
    assert (line["level"], line["logger"]) == ("warning", "store.passageindex.milvus")
    assert "remove failed" in line["event"]


def test_nothing_is_loaded_where_none_is_named() -> None:
    program = "import app.main, app.wiring, sys; assert not {'pymilvus', 'grpc', 'pandas'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)


def test_the_library_is_quiet_afterwards() -> None:
    made = app.milvus.milvus(load_settings(milvus={"uri": "http://127.0.0.1:1"}).milvus)
    assert made is not None
    for name in ("pymilvus", "pymilvus.decorators", "pymilvus.milvus_client.milvus_client", "pymilvus.client"):
        assert not logging.getLogger(name).isEnabledFor(logging.ERROR)
    made.close()
