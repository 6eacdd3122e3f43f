"""Runs a page: its blocks in order, in a folder of its own, as a reader would.

`salience` on the path is a small script that hands its arguments to this process, where the model is loaded already:
the same command line, without the seconds that loading takes. `salience serve` and `worker` are processes of their own.
The port that the pages name becomes a free one.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.docs.pages import ROOT, Block, Page, page_of
from tests.docs.promises import watched

PORT = "8080"
START_SECONDS = 120
_SPAWNED = ("serve", "worker")
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
_SHIM = """#!{python} -IS
import json, os, socket, sys
arguments = sys.argv[1:]
if arguments[:1] in {spawned!r}:
    os.execv({python!r}, [{python!r}, "-c", "from app.cli.main import run; run()", *arguments])
standard = sys.stdin.buffer.read().decode() if "-" in arguments else ""
said = {{"arguments": arguments, "folder": os.getcwd(), "environment": dict(os.environ), "standard": standard}}
with socket.socket(socket.AF_UNIX) as there:
    there.connect({address!r})
    there.sendall(json.dumps(said).encode())
    there.shutdown(socket.SHUT_WR)
    answer = json.loads(there.makefile("rb").read())
sys.stdout.write(answer["out"]); sys.stderr.write(answer["error"]); sys.exit(answer["code"])
"""
Command = Callable[[list[str], str, Mapping[str, str], str], tuple[int, str, str]]


class Runner:
    """One page in one folder."""

    def __init__(self, folder: Path, command: Command) -> None:
        """`command` runs the command line: arguments, folder, environment, standard input."""
        self.folder = folder
        self._tools = folder.parent / "tools"
        self._tools.mkdir()
        self._command = command
        self._servers: list[subprocess.Popen[bytes]] = []
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = str(free.getsockname()[1])
        self._environment = self._shell()
        self._last: dict[str, Any] = {}  # what the last request was answered with

    def run(self, page: Page) -> None:
        with self._hosting():
            try:
                if "products" in page.needs:
                    readme = page_of(ROOT / "README.md")
                    first = next(block for block in readme.blocks if "products.jsonl <<'END'" in block.content)
                    self._bash(first, first.content)
                if "server" in page.needs:
                    self._serve(f"salience serve --port {PORT}")
                for block in page.to_run:
                    printed = self._run(block)
                    if block.printed is not None:
                        same(printed, block.printed, where=f"{page.name}:{block.line}")
            finally:
                self._stop()

    def _run(self, block: Block) -> str:
        if block.kind == "http":
            return self._request(block)
        if block.kind == "python":
            file = self.folder / "example.py"
            file.write_text(self._here(block.content), encoding="utf-8")
            return self._bash(block, f"{shlex.quote(sys.executable)} {file.name}")
        *before, last = block.content.rstrip().split("\n")
        if last.startswith("salience serve"):
            self._bash(block, "\n".join(before))
            self._serve(last)
            return ""
        script, promises = watched(block.content, self._tools)
        printed = self._bash(block, script)
        for promise in promises:
            promise.check(where=f"line {block.line}")
        return printed

    def _bash(self, block: Block, script: str) -> str:
        state = self._tools / "environment.json"
        dump = f"{shlex.quote(sys.executable)} -IS -c 'import json, os; print(json.dumps(dict(os.environ)))' > {state}"
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", f"{self._here(script)}\n{dump}"],
            cwd=self.folder,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=START_SECONDS,
            check=False,
        )
        assert done.returncode == 0, f"line {block.line}:\n{block.content}\n{done.stdout}\n{done.stderr}"
        self._environment = json.loads(state.read_text(encoding="utf-8"))  # what was exported holds from here on
        return done.stdout

    def _request(self, block: Block) -> str:
        line, _, body = block.content.partition("\n")
        method, path = line.split()
        body = body.replace("<next>", str(self._last.get("next")))
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}",
            body.encode() if body.strip() else None,
            {"Content-Type": "application/json"},
            method=method,
        )
        try:
            with urllib.request.urlopen(request, timeout=START_SECONDS) as answer:
                text: str = answer.read().decode()
        except urllib.error.HTTPError as error:
            raise AssertionError(f"line {block.line}: {error.code}\n{block.content}\n{error.read().decode()}") from None
        self._last = json.loads(text)
        return text

    def _serve(self, command: str) -> None:
        log = self._tools / f"server-{len(self._servers)}.log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                ["bash", "-c", f"exec {self._here(command)}"],
                cwd=self.folder, env=self._environment, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
            )  # fmt: skip
        self._servers.append(process)
        deadline = time.monotonic() + START_SECONDS
        while "listens at" not in (said := log.read_text(encoding="utf-8")):
            assert process.poll() is None, f"{command}\n{said}"
            assert time.monotonic() < deadline, f"{command}\n{said}"
            time.sleep(0.05)

    def _stop(self) -> None:
        for process in self._servers:
            process.send_signal(signal.SIGTERM)
        for process in self._servers:
            process.wait(60)

    def _here(self, text: str) -> str:
        return text.replace(f":{PORT}", f":{self.port}").replace(f"--port {PORT}", f"--port {self.port}")

    def _shell(self) -> dict[str, str]:
        """The environment of a reader who has activated .venv."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("SALIENCE_")}
        return {
            **inherited,
            "PATH": f"{self._tools}:{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "PYTHONWARNINGS": "error",
            "SALIENCE_PRECISION": "fp32",  # as the model that is loaded here
        }

    @contextmanager
    def _hosting(self) -> Iterator[None]:
        """Answers the script that stands for the command."""
        address = str(self._tools / "s")
        shim = self._tools / "salience"
        spawned = [[name] for name in _SPAWNED]
        shim.write_text(_SHIM.format(python=sys.executable, spawned=spawned, address=address), encoding="utf-8")
        shim.chmod(stat.S_IRWXU)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(address)
            listener.listen()
            thread = threading.Thread(target=self._answer, args=(listener,), daemon=True)
            thread.start()
            try:
                yield
            finally:
                listener.shutdown(socket.SHUT_RDWR)
                thread.join(10)

    def _answer(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:  # it was shut down
                return
            with connection, connection.makefile("rwb") as stream:
                said = json.loads(stream.read())
                code, out, error = self._command(
                    said["arguments"], said["folder"], said["environment"], said["standard"]
                )
                stream.write(json.dumps({"code": code, "out": out, "error": error}).encode())


def same(printed: str, expected: str, *, where: str) -> None:
    """Line by line, but for spaces, numbers in the last digits, and what `...` stands for."""
    found = [line.split() for line in printed.strip().splitlines() if line.strip()]
    wanted = [line.split() for line in expected.strip().splitlines() if line.strip()]
    assert _matches(found, wanted), f"{where} shows\n{expected}\nand the program prints\n{printed}"


def _matches(found: list[list[str]], wanted: list[list[str]]) -> bool:
    if not wanted:
        return not found
    if wanted[0] == ["..."]:
        return any(_matches(found[skipped:], wanted[1:]) for skipped in range(len(found) + 1))
    return bool(found) and _alike(" ".join(found[0]), " ".join(wanted[0])) and _matches(found[1:], wanted[1:])


def _alike(found: str, wanted: str) -> bool:
    parts = [map(re.escape, _NUMBER.split(part)) for part in wanted.split("...")]
    match = re.fullmatch(".*".join(f"({_NUMBER.pattern})".join(part) for part in parts), found)
    if match is None:
        return False
    pairs = zip(match.groups(), _NUMBER.findall(wanted), strict=True)
    return all(a == b or ("." in b and abs(float(a) - float(b)) <= 0.02) for a, b in pairs)
