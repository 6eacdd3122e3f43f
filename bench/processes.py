"""Run Salience's commands, and others, as child processes."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from bench.memory import family

START_SECONDS = 180.0
_ENDS_SECONDS = 60.0
_COMMAND = [sys.executable, "-c", "from app.cli.main import run; run()"]
_ROOT = Path(__file__).resolve().parents[1]


@contextmanager
def started(
    *arguments: str, data_dir: Path, environment: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[str]]:
    """Run a Salience command during the block. Its output goes to a log file next to the data directory."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SALIENCE_")}
    own = {**kept, "SALIENCE_DATA_DIR": str(data_dir), **(environment or {})}
    with running([*_COMMAND, *arguments], _ROOT, own, _log(data_dir, arguments[0])) as process:
        yield process


@contextmanager
def running(
    command: Sequence[str | Path], folder: Path, environment: Mapping[str, str], log: Path, *, pipes: bool = False
) -> Iterator[subprocess.Popen[str]]:
    """Run any command in `folder` during the block, then end it with `end`. Its output is appended to `log`.

    `environment` is its whole environment. With `pipes`, its standard input and output are pipes, and only its standard
    error goes to `log`.
    """
    pipe = subprocess.PIPE if pipes else None
    with log.open("a") as file:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdin=pipe, stdout=pipe or file, stderr=file, text=True
        )
    try:
        yield process
    finally:
        end(process)


@contextmanager
def serving(
    *options: str, data_dir: Path, environment: Mapping[str, str] | None = None
) -> Iterator[tuple[int, subprocess.Popen[str]]]:
    """Run `salience serve` on a free port during the block; the port and the process.

    Within the block, each of the server's workers has loaded its model. Raises RuntimeError where it does not start.
    """
    log = _log(data_dir, "serve")
    before = len(log.read_text("utf-8")) if log.exists() else 0
    with started("serve", "--port", "0", *options, data_dir=data_dir, environment=environment) as process:
        until = time.monotonic() + START_SECONDS
        while not (found := re.search(r"listens at http://\S+:(\d+)", log.read_text("utf-8")[before:])):
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"the server did not start:\n{log.read_text('utf-8')[before:][-4000:]}")
            time.sleep(0.05)
        yield int(found[1]), process


def end(process: subprocess.Popen[str]) -> None:
    """Terminate the process. If it has not ended after a minute, kill it with all its descendants."""
    every = family(process.pid)
    process.terminate()
    try:
        process.wait(_ENDS_SECONDS)
    except subprocess.TimeoutExpired:
        for pid in every:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()


def end_when_told() -> None:
    """Make SIGTERM raise SystemExit, so that the processes that this one started end with it."""
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(1))


def free_port() -> int:
    """A free port, for a server that needs a fixed one or is restarted on it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _log(data_dir: Path, command: str) -> Path:
    return data_dir.parent / f"{command}.log"
