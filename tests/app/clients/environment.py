"""Public client packages, each in a virtual environment of its own, as their users have them.

An environment is made once, of a requirements file beside this module, and kept in `.cache/clients` below the
repository root. Where pip reaches no package index the test is skipped, and says so; anything else that pip dislikes
is a failure.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import venv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

HERE = Path(__file__).resolve().parent
CACHE = HERE.parents[2] / ".cache" / "clients"
INSTALL_SECONDS = 600
_UNREACHABLE = ("NewConnectionError", "NameResolutionError", "ProxyError", "ConnectTimeoutError", "from versions: none")


def client_python(name: str) -> Path:
    """The interpreter of an environment that holds exactly what `<name>.txt` beside this module pins."""
    requirements = HERE / f"{name}.txt"
    folder = CACHE / name
    python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    wanted = hashlib.sha256(requirements.read_bytes() + sys.version.encode()).hexdigest()
    stamp = folder / "installed.sha256"  # written last: what a broken-off installation left is made anew
    CACHE.mkdir(parents=True, exist_ok=True)
    with FileLock(CACHE / f"{name}.lock"):
        if not (stamp.is_file() and stamp.read_text() == wanted):
            venv.create(folder, clear=True)  # the pip that is here installs into it: to set another up takes longer
            _install(python, requirements)
            stamp.write_text(wanted)
    return python


def drive(name: str, script: str, *arguments: str, environment: Mapping[str, str] | None = None) -> Any:
    """Runs `script` (a file beside this module) in the environment `name`; the JSON that it prints."""
    done = run_client(name, str(HERE / script), *arguments, environment=environment)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def run_client(
    name: str, *arguments: str, environment: Mapping[str, str] | None = None, timeout: float = 120
) -> subprocess.CompletedProcess[str]:
    """Runs the environment's interpreter with `arguments`; outputs are captured as text."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("SALIENCE_", "PYTHON"))}
    return subprocess.run(
        [client_python(name), *arguments],
        env={**inherited, "PYTHONUTF8": "1", **(environment or {})},
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=timeout,
        check=False,
    )


def _install(python: Path, requirements: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pip", "--python", python, "install", "--disable-pip-version-check", "--no-input",
         "--no-deps", "--no-compile", "--quiet", "--only-binary", ":all:", "--retries", "2", "--timeout", "20",
         "-r", requirements],
        capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False,
    )  # fmt: skip
    if done.returncode == 0:
        return
    if any(sign in done.stderr for sign in _UNREACHABLE):
        pytest.skip(f"pip reaches no package index, so {requirements.name} cannot be installed")
    raise AssertionError(f"pip could not install {requirements.name}:\n{done.stderr}")
