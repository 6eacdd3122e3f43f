"""The compose file's services without a container engine: the commands and variables that stand there, as processes."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
START_SECONDS = 120
_VARIABLE = re.compile(r"\$\{(\w+)(:[-?])?([^}]*)\}")


def environment_of(service: str, given: Mapping[str, str], dotenv: Mapping[str, str] | None = None) -> dict[str, str]:
    """What a container of the service is started with: the image's variables, those of `.env`, those of the file.

    Raises ValueError, as compose does, where one that must be `given` is not.
    """
    image = dict(re.findall(r"\b((?:SALIENCE|NUMBA)_\w+)=(\S+)", DOCKERFILE.partition("USER ")[0].replace("\\\n", "")))

    def value(found: re.Match[str]) -> str:
        name, operator, rest = found.groups()
        if given.get(name):
            return given[name]
        if operator == ":?":
            raise ValueError(f"{name}: {rest}")
        return rest

    own = COMPOSE["services"][service]["environment"]
    files = COMPOSE["services"][service].get("env_file", [])
    listed = dict(dotenv or {}) if {"path": ".env", "required": False} in files else {}
    given = listed | dict(given)
    return image | listed | {name: _VARIABLE.sub(value, str(said)) for name, said in own.items()}


class Service:
    """A container that is none: its data in `data`, its port a free one."""

    def __init__(self, name: str, given: Mapping[str, str], *, data: Path, port: int, log: Path) -> None:
        environment = environment_of(name, given)
        assert environment["SALIENCE_DATA_DIR"] == "/data"
        assert "data:/data" in COMPOSE["services"][name]["volumes"]
        own = {"SALIENCE_DATA_DIR": str(data), "SALIENCE_SERVER__PORT": str(port), "NUMBA_CACHE_DIR": str(log.parent)}
        inherited = {key: said for key, said in os.environ.items() if not key.startswith("SALIENCE_")}
        self._environment = {**inherited, **environment, **own}
        self._command = [sys.executable, "-c", "from app.cli.main import run; run()"]
        self._command += COMPOSE["services"][name]["command"]
        self._log = log
        self._port = port
        self._name = name
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Returns when it is healthy, as far as it has a way to say so."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, cwd=ROOT, env=self._environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        deadline = time.monotonic() + START_SECONDS
        while not self._healthy():
            assert self._process.poll() is None, self.said[-2000:]
            assert time.monotonic() < deadline, self.said[-2000:]
            time.sleep(0.05)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> float:
        """The seconds that it took to end."""
        assert self._process is not None
        began = time.monotonic()
        self._process.send_signal(how)
        self._process.wait(75)  # stop_grace_period
        code = self._process.returncode
        # The server ends by the signal itself once all is done; service managers take both for a clean end.
        assert how is signal.SIGKILL or code in (0, -how), f"{self._name} ended with {code}\n{self.said[-2000:]}"
        self._process = None
        return time.monotonic() - began

    def end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(30)

    @property
    def said(self) -> str:
        return self._log.read_text(encoding="utf-8")

    def _healthy(self) -> bool:
        if COMPOSE["services"][self._name].get("healthcheck", {}).get("disable"):
            return "works on the jobs" in self.said
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/readyz", timeout=2) as answer:
                return bool(json.load(answer)["status"] == "ready")
        except (urllib.error.URLError, TimeoutError, ConnectionError):
            return False
