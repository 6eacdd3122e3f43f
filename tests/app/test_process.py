"""The command as users run it: a process of its own, in a pipe, with signals."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from tests.app.command import COMMAND, start


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory that a process of its own filled from standard input."""
    directory = tmp_path_factory.mktemp("process") / "data"
    process = start("add", "-", "-c", "goods", data_dir=directory, stdin=subprocess.PIPE)
    lines = (
        b'{"id": "c1", "text": "A console that plays games."}\n{"id": "r1", "text": "A radio: caf\\u00e9 \\u65e5."}\n'
    )
    out, err = process.communicate(lines, timeout=120)
    assert (process.returncode, out) == (0, b"goods: 2 created\n"), err.decode()
    assert b"\x1b" not in err
    return directory


def test_search_in_a_second_process(data_dir: Path) -> None:
    out, err = (process := start("search", "games", "-c", "goods", "--json", data_dir=data_dir)).communicate(
        timeout=120
    )
    assert (process.returncode, err) == (0, b"")
    assert json.loads(out)["hits"][0]["document_id"] == "c1"


def test_listing_loads_no_model_library(data_dir: Path) -> None:
    program = (
        "import sys\nfrom app.cli.main import run\n"
        "try:\n    run(['collections', 'list'])\nfinally:\n"
        "    print(sorted(sys.modules.keys() & {'torch', 'transformers', 'sentence_transformers', 'fastapi'}))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "SALIENCE_DATA_DIR": str(data_dir)}, capture_output=True, check=True,
    )  # fmt: skip
    assert done.stdout.decode().splitlines()[-1] == "[]"


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_leaves_is_no_error(data_dir: Path, unbuffered: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    process = subprocess.Popen(
        [*COMMAND, "collections", "list", "--json"],
        env={**os.environ, "SALIENCE_DATA_DIR": str(data_dir), "PYTHONUNBUFFERED": unbuffered},
        stdout=writing, stderr=subprocess.PIPE,
    )  # fmt: skip
    os.close(writing)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (1, b"")


@pytest.mark.parametrize(
    "arguments", [("list",), ("list", "--json"), ("show", "goods")], ids=["a table", "JSON", "by the line"]
)
def test_output_that_cannot_be_written_is_said_in_one_line(data_dir: Path, arguments: tuple[str, ...]) -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [*COMMAND, "collections", *arguments],
            env={**os.environ, "SALIENCE_DATA_DIR": str(data_dir)}, stdout=full, stderr=subprocess.PIPE, check=False,
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (1, b"error: cannot write: No space left on device\n")


@pytest.mark.parametrize(
    ("closed", "command", "code"),
    [(">&-", "collections list --json", 0), ("2>&-", "collections list", 0), ("<&-", "add - -c goods", 1)],
)
def test_standard_streams_may_be_closed(data_dir: Path, closed: str, command: str, code: int) -> None:
    done = subprocess.run(
        ["/bin/sh", "-c", f'exec "$@" {command} {closed}', "sh", *COMMAND],
        env={**os.environ, "SALIENCE_DATA_DIR": str(data_dir)}, capture_output=True, check=False,
    )  # fmt: skip
    assert (done.returncode, b"Traceback" in done.stderr) == (code, False)
    assert (b"the file is empty" in done.stderr) == (code == 1)


def test_an_encoding_that_lacks_characters(data_dir: Path) -> None:
    for options, shown in (((), "caf\\xe9 \\u65e5"), (("--json",), "caf\\u00e9 \\u65e5")):
        process = start("search", "radio", "-c", "goods", *options, data_dir=data_dir, PYTHONIOENCODING="ascii")
        out, err = process.communicate(timeout=120)
        assert (process.returncode, shown in out.decode("ascii")) == (0, True), err.decode()
        if options:
            assert "caf\u00e9 \u65e5" in json.loads(out)["hits"][0]["passage"]["text"]


def test_serve_answers_and_stops(data_dir: Path) -> None:
    process = start("serve", "--port", "0", data_dir=data_dir)
    try:
        assert process.stderr is not None
        line = next(line for line in process.stderr if b"listens at" in line).decode()
        found = re.search(r"http://[\d.]+:\d+", line)
        assert found
        request = urllib.request.Request(
            f"{found[0]}/v1/collections/goods/search", b'{"query": "games"}', {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60) as response:
            assert json.load(response)["hits"][0]["document_id"] == "c1"
    finally:
        process.send_signal(signal.SIGINT)
        _, rest = process.communicate(timeout=60)
    assert b"Traceback" not in rest
    logged = [json.loads(row) for row in rest.splitlines() if row.startswith(b"{")]
    requests = [row for row in logged if row["event"] == "request"]
    assert [(row["status"], row["route"]) for row in requests] == [(200, "/v1/collections/{collection}/search")]
    assert b"games" not in rest


@pytest.mark.parametrize("options", [("serve", "--port", "0"), ("serve", "--port", "0", "--workers", "2"), ("worker",)])
def test_in_json_every_line_is_a_line_of_the_log(data_dir: Path, options: tuple[str, ...]) -> None:
    process = start(*options, data_dir=data_dir, SALIENCE_LOG__FORMAT="json", SALIENCE_AUTH__TOKENS="short")
    lines = []
    try:
        assert process.stderr is not None
        for line in process.stderr:
            lines.append(line)
            if b"listens at" in line or b"works on the jobs" in line:
                break
    finally:
        process.send_signal(signal.SIGTERM)
        lines += process.communicate(timeout=60)[1].splitlines()
    logged = [json.loads(line) for line in lines]
    assert all({"event", "level", "logger", "timestamp"} <= line.keys() for line in logged)
    [said] = [line for line in logged if "data_dir" in line]
    assert (said["level"], said["data_dir"]) == ("info", str(data_dir))
    if "serve" in options:
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+", said["address"])
        assert any("can be guessed" in line["event"] and line["level"] == "warning" for line in logged)


def test_for_people_it_says_in_plain_words_where_it_listens(data_dir: Path) -> None:
    process = start("serve", "--port", "0", data_dir=data_dir, SALIENCE_LOG__FORMAT="console")
    try:
        assert process.stderr is not None
        line = next(line for line in process.stderr if b"listens at" in line)
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
    assert line.startswith(b"Salience listens at http://127.0.0.1:")


def test_a_port_in_use_is_said_at_once(data_dir: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        # Before the model is loaded, which takes seconds: this one cannot be.
        process = start("serve", "--port", str(port), data_dir=data_dir, SALIENCE_MODEL=str(tmp_path))
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (1, b"")
    assert f"port {port} is in use".encode() in err


def test_ctrl_c_says_that_nothing_is_lost(data_dir: Path) -> None:
    process = start("add", "-", "-c", "interrupted", data_dir=data_dir, stdin=subprocess.PIPE)
    assert process.stderr is not None
    assert b"created the collection" in process.stderr.readline()
    process.send_signal(signal.SIGINT)  # while it waits for its input
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, b"")
    assert b"run the command again" in err
    assert b"Traceback" not in err
