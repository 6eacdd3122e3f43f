"""The command as a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import IO

# As from a terminal: where a shell runs these tests in the background, they and their children ignore Ctrl-C.
_PROGRAM = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from app.cli.main import run
run()
"""
COMMAND = [sys.executable, "-c", _PROGRAM]


def start(
    *arguments: str, data_dir: Path, stdin: int | IO[bytes] | None = None, **settings: str
) -> subprocess.Popen[bytes]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SALIENCE_")}
    return subprocess.Popen(
        [*COMMAND, *arguments],
        env={**environment, "SALIENCE_DATA_DIR": str(data_dir), **settings},
        stdin=stdin or subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
