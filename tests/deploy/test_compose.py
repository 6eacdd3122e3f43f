"""The services of docker-compose.yml, in their order, restarted in turn under load, over an upgrade."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import yaml

from app.access.rules import RULES, Scope
from core.access import Role
from salience.client import Client, Retries, errors
from store.migrate import SCHEMA_VERSION
from tests.deploy.composed import COMPOSE, DOCKERFILE, ROOT, Service, environment_of
from tests.store.versions import version_of, write_version

TOKEN = "a-token-of-the-compose-file"
GIVEN = {"SALIENCE_AUTH__TOKENS": TOKEN}
PREVIOUS = f"{int(SCHEMA_VERSION) - 1:04}"
Make = Callable[[str], Service]


@pytest.fixture
def port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


@pytest.fixture
def make(tmp_path: Path, port: int) -> Iterator[Make]:
    made: list[Service] = []

    def service(name: str) -> Service:
        made.append(Service(name, GIVEN, data=tmp_path / "data", port=port, log=tmp_path / f"{name}.log"))
        return made[-1]

    yield service
    for one in made:
        one.end()


class Load:
    """Searches and writes without end, until it is told to stop; remembers what failed, and what was acknowledged."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._stopped = threading.Event()
        self._threads = [
            threading.Thread(target=work) for work in (self._search, self._search, self._write, self._bulk)
        ]
        self.searches = 0
        self.failures: list[tuple[float, float, errors.SalienceError]] = []  # begun, failed
        self.acknowledged: set[str] = set()
        self.jobs: list[int] = []
        self.broken: list[Exception] = []

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join(90)

    def _search(self) -> None:
        def once(client: Client, number: int) -> None:
            begun = time.monotonic()
            try:
                assert client.search("goods", f"a lamp number {number}", k=3).hits
                self.searches += 1
            except errors.SalienceError as error:
                self.failures.append((begun, time.monotonic(), error))
                time.sleep(0.02)

        self._repeat(once, Retries(tries=1))

    def _write(self) -> None:
        def once(client: Client, number: int) -> None:
            client.put_document("goods", f"put-{number}", f"A lamp number {number} on a desk.")
            self.acknowledged.add(f"put-{number}")

        self._repeat(once, Retries(tries=100, base_seconds=0.1, longest_seconds=0.5))

    def _bulk(self) -> None:
        def once(client: Client, number: int) -> None:
            ids = [f"bulk-{number}-{n}" for n in range(30)]
            job = client.add_bulk("goods", [{"id": id, "text": f"A lamp of the lot {id}."} for id in ids])
            self.jobs.append(job.id)
            self.acknowledged.update(ids)
            self._stopped.wait(0.4)

        self._repeat(once, Retries(tries=100, base_seconds=0.1, longest_seconds=0.5))

    def _repeat(self, once: Callable[[Client, int], None], retries: Retries) -> None:
        number = 0
        with Client(self._address, key=TOKEN, retries=retries) as client:
            try:
                while not self._stopped.is_set():
                    number += 1
                    once(client, number)
            except (errors.SalienceError, AssertionError) as error:  # told by the test, not by the thread
                self.broken.append(error)


def test_restarts_in_turn_under_load_lose_nothing(tmp_path: Path, make: Make, port: int) -> None:
    write_version(tmp_path / "data", PREVIOUS)
    api, worker = make("api"), make("worker")
    api.start()
    assert version_of(tmp_path / "data") == SCHEMA_VERSION
    assert f"its schema goes from {PREVIOUS} to {SCHEMA_VERSION}" in api.said
    worker.start()
    address = f"http://127.0.0.1:{port}"
    away: list[tuple[float, float]] = []
    with Client(address, key=TOKEN) as client:
        assert {document.id for document in client.iter_documents("books")} == {"d1", "d2"}
        client.create_collection("goods")
        client.put_document("goods", "first", "A lamp number 0.")
        with Load(address) as load:
            time.sleep(1)
            assert worker.stop() < 75
            worker.start()
            begun = time.monotonic()
            assert api.stop() < 75
            api.start()
            away.append((begun, time.monotonic()))
            worker.stop(signal.SIGKILL)
            worker.start()
            begun = time.monotonic()
            api.stop(signal.SIGKILL)
            api.start()
            away.append((begun, time.monotonic()))
            time.sleep(1)
        assert load.broken == []
        outside = [
            error
            for begun, failed, error in load.failures
            if not any(begun <= back and failed >= gone for gone, back in away)
        ]
        assert outside == []
        assert {type(error) for _, _, error in load.failures} <= {errors.ConnectionFailed, errors.Unavailable}
        assert load.searches > 10
        for job in load.jobs:
            client.wait_for_job(job, timeout=60)
        stored = {document.id for document in client.iter_documents("goods")}
    assert len(load.jobs) > 3
    assert load.acknowledged <= stored
    assert (worker.stop() < 75, api.stop() < 75) == (True, True)


def test_without_a_token_it_does_not_start() -> None:
    with pytest.raises(ValueError, match=r"SALIENCE_AUTH__TOKENS: write it into the file \.env"):
        environment_of("api", {})
    assert environment_of("api", GIVEN)["SALIENCE_SERVER__HOST"] == "0.0.0.0"
    assert environment_of("api", GIVEN)["SALIENCE_AUTH__TOKENS"] == TOKEN


def test_an_address_for_all_is_refused_without_authentication(tmp_path: Path, port: int) -> None:
    service = Service("api", GIVEN, data=tmp_path / "data", port=port, log=tmp_path / "log")
    service._environment["SALIENCE_AUTH__TOKENS"] = ""
    with pytest.raises(AssertionError, match="allow-anonymous"):
        service.start()


def test_a_token_in_the_file_serves_every_command() -> None:
    """A variable of one shell would be missing in the next one, where logs are to be read or all is to be stopped."""
    assert environment_of("api", {}, GIVEN)["SALIENCE_AUTH__TOKENS"] == TOKEN
    for file in ("docker-compose.yml", "docs/deploy.md"):
        text = (ROOT / file).read_text(encoding="utf-8")
        assert re.search(r'umask 077; echo "SALIENCE_AUTH__TOKENS=\$\(openssl rand -hex 24\)" >> \.env', text), file
        assert "export SALIENCE_AUTH__TOKENS" not in text
        assert "export METRICS_TOKEN" not in text


def test_a_backup_has_a_place_beside_the_data(tmp_path: Path) -> None:
    """Within the data directory it is refused."""
    text = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
    found = re.search(r"docker compose exec api salience backup (/\w+)/", text)
    assert found
    volumes = dict(reversed(volume.split(":")) for volume in COMPOSE["services"]["api"]["volumes"])
    assert volumes[found[1]] in COMPOSE["volumes"]
    assert found[1] != "/data"
    assert re.search(rf"install -d -o salience -g salience -m 0750 .*{found[1]}\b", DOCKERFILE), "it is the user's"


def test_logs_do_not_fill_the_disk() -> None:
    for name, service in COMPOSE["services"].items():
        logging = service["logging"]
        assert logging["driver"] == "json-file", name
        assert logging["options"].keys() == {"max-size", "max-file"}, name
        assert all(isinstance(value, str) for value in logging["options"].values()), "docker takes no numbers there"


def test_containers_are_kept_small() -> None:
    for name in ("api", "worker"):
        service = COMPOSE["services"][name]
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["stop_grace_period"] == "75s"
    assert COMPOSE["services"]["api"]["ports"] == ["127.0.0.1:8080:8080"]
    assert "USER 10001:10001" in DOCKERFILE
    assert DOCKERFILE.count("\nFROM ") + DOCKERFILE.startswith("FROM") == 2
    assert "--require-hashes" in DOCKERFILE


def test_settings_of_a_dotenv_reach_both_but_for_what_the_file_goes_by() -> None:
    dotenv = {
        "SALIENCE_MODEL": "e5",
        "SALIENCE_LIMITS__BULK_BYTES": "5000000",
        "SALIENCE_AUTH__TOKENS": TOKEN,
        "SALIENCE_SERVER__PORT": "9000",
        "SALIENCE_SERVER__HOST": "127.0.0.1",
        "SALIENCE_DATA_DIR": "elsewhere",
    }
    for name in ("api", "worker"):
        environment = environment_of(name, {}, dotenv)
        assert {key: environment[key] for key in list(dotenv)[:3]} == {key: dotenv[key] for key in list(dotenv)[:3]}
        assert [environment[key] for key in list(dotenv)[3:]] == ["8080", "0.0.0.0", "/data"], "as the file maps them"
    for file in (".dockerignore", ".gitignore"):
        assert ".env" in (ROOT / file).read_text(encoding="utf-8").splitlines()


def test_the_health_check_asks_at_the_port_that_is_set(port: int) -> None:
    command = json.loads(DOCKERFILE.partition("HEALTHCHECK")[2].partition("CMD")[2].replace("\\\n", "").splitlines()[0])
    assert command[0] == "python"
    asked = []

    class Ready(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # as the library calls it
            asked.append(self.path)
            self.send_response(200 if len(asked) == 1 else 503)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", port), Ready) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            environment = os.environ | {"SALIENCE_SERVER__PORT": str(port)}
            ends = [
                subprocess.run([sys.executable, *command[1:]], env=environment, check=False, capture_output=True)
                for _ in range(2)
            ]
        finally:
            server.shutdown()
            thread.join()
    assert (asked, [end.returncode for end in ends]) == (["/readyz", "/readyz"], [0, 1])


def test_prometheus_has_a_key_of_its_own_that_may_read_metrics() -> None:
    advice = "key create metrics --role search"
    for file in ("docker-compose.yml", "docs/deploy.md"):
        assert advice in (ROOT / file).read_text(encoding="utf-8")
    rule = RULES["metrics.*"]
    assert (rule.role, rule.scope) == (Role.SEARCH, Scope.OPERATOR)


def test_a_milvus_is_told_to_all_who_need_it() -> None:
    """Nobody has to be told of one; whoever maintains the data directory brings it what is new: an API or a worker."""
    told = {"SALIENCE_MILVUS__URI": "http://milvus:19530", "SALIENCE_MILVUS__TOKEN": "root:Milvus"}
    for name in ("api", "worker"):
        assert {environment_of(name, GIVEN)[key] for key in told} == {""}
        environment = environment_of(name, GIVEN | told)
        assert {key: environment[key] for key in told} == told
        assert environment["SALIENCE_LOG__FORMAT"] == "json"
    service = COMPOSE["services"]["milvus"]
    assert service["profiles"] == ["milvus"]
    assert re.fullmatch(r"milvusdb/milvus:v2\.[5-9]\d*\.\d+", service["image"])
    assert "ports" not in service  # it asks nobody who they are
    for volume in service["volumes"]:
        source, target, *_ = volume.split(":")
        if source.startswith("."):
            assert yaml.safe_load((ROOT / source).read_text(encoding="utf-8"))["listen-client-urls"]
            assert service["environment"]["ETCD_CONFIG_PATH"] == target
        else:
            assert source in COMPOSE["volumes"]
            assert service["environment"]["ETCD_DATA_DIR"].startswith(target)


def test_the_image_has_the_library_of_milvus() -> None:
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    assert re.search(r"^pymilvus==3\.", lock, re.MULTILINE)
    assert "--extra milvus" in (ROOT / "Makefile").read_text(encoding="utf-8")
