"""Salience's commands as processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

_COMMAND = [sys.executable, "-c", "from app.cli.main import run; run()"]
_ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def started(
    *arguments: str, data_dir: Path, environment: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[str]]:
    """Runs while the block does; its standard error goes to a file beside the data directory."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SALIENCE_")}
    with (data_dir.parent / f"{arguments[0]}.log").open("a") as log:
        process = subprocess.Popen(
            [*_COMMAND, *arguments],
            cwd=_ROOT,
            env={**kept, "SALIENCE_DATA_DIR": str(data_dir), **(environment or {})},
            stdout=log,
            stderr=log,
            text=True,
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class Memory:
    """The most memory that a process was seen with: `own`, and `mapped` files, which the system may take back."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.own = self.mapped = 0
        self._status = Path(f"/proc/{process.pid}/status")
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def end(self) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(0.2):
            try:
                lines = self._status.read_text().splitlines()
            except OSError:  # it is gone, or this system has no such file
                return
            sizes = {name: value for name, _, value in (line.partition(":") for line in lines)}
            if "RssAnon" not in sizes:
                return
            self.own = max(self.own, 1024 * int(sizes["RssAnon"].split()[0]))
            self.mapped = max(self.mapped, 1024 * int(sizes["RssFile"].split()[0]))
