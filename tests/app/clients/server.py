"""`salience serve` as a process of its own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

COMMAND = [sys.executable, "-c", "from app.cli.main import run; run()", "serve", "--port", "0"]
LOG = "log.jsonl"
START_SECONDS = 120
STOP_SECONDS = 30


@contextmanager
def serving(folder: Path, environment: Mapping[str, str]) -> Iterator[str]:
    """The address of a server with these settings; its data, and what it logs (LOG), lie in `folder`.

    It computes in fp32, as the fixture `encoder` does, whose vectors are the oracle.
    """
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("SALIENCE_")}
    own = {"SALIENCE_DATA_DIR": str(folder / "data"), "SALIENCE_LOG__FORMAT": "json", "SALIENCE_PRECISION": "fp32"}
    with (folder / LOG).open("wb") as log:
        process = subprocess.Popen(
            COMMAND,
            env={**inherited, **own, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=log,
        )
    try:
        yield _address(process, folder / LOG)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(STOP_SECONDS)


def _address(process: subprocess.Popen[bytes], log: Path) -> str:
    """What the server says that it listens at, once it does."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        if found := re.search(r"listens at (http://\S+)", log.read_text(encoding="utf-8")):
            return found[1]
        time.sleep(0.05)
    raise AssertionError(f"the server did not start:\n{log.read_text(encoding='utf-8')}")
