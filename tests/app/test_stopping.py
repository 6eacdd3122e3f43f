"""A server that stops waits for what works beside it, and not for longer than it says; signals that say so arrive."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, cast

import pytest
from starlette.testclient import TestClient

import app.main
from app.operation.supervisor import STOP_SECONDS, Supervisor
from app.settings import load_settings
from app.wiring import Wiring
from embedder.local import LocalEncoder

ROOT = Path(__file__).resolve().parents[2]


def test_jobs_and_reindexes_are_waited_for_at_the_same_time(
    encoder: LocalEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    over = threading.Event()
    monkeypatch.setattr(app.main, "WORKER_STOP_SECONDS", 3.0)
    parts = Wiring(load_settings(data_dir=tmp_path / "data"), encoder=encoder)
    monkeypatch.setattr(parts.worker, "run", over.wait)
    monkeypatch.setattr(parts.reindexing, "run", over.wait)
    try:
        with TestClient(app.main.create_app(parts)):
            begun = time.monotonic()
        assert 3.0 <= time.monotonic() - begun < 5.8  # one after the other, 6.0
    finally:
        over.set()


_WORKER = """
import signal, sys, threading
from app.cli.main import run
from indexer.worker import Worker

number = int(sys.argv[1])

def serve(worker):
    assert [thread for thread in threading.enumerate() if thread.name == "preloader"]
    with worker._wake._cond:
        signal.raise_signal(number)
    assert worker._stopping.wait(30)
    assert signal.getsignal(number) is signal.SIG_DFL  # a second one ends it
    print("stopped")

Worker.run, before = serve, signal.getsignal(number)
try:
    run(["worker"])
except SystemExit as exit:
    assert not exit.code
assert signal.getsignal(number) is before
assert not [thread for thread in threading.enumerate() if thread.name == "signals"]
print("ended")
"""

_SUPERVISOR = """
import signal, socket
from app.operation.supervisor import Supervisor

with socket.socket() as listener:
    supervisor = Supervisor(print, listener, 1, threads=1, drain_seconds=0.0)
    with supervisor._signals():
        signal.signal(signal.SIGTERM, lambda number, frame: None)  # as in the moment before it begins to wait
        signal.raise_signal(signal.SIGTERM)
        assert supervisor._waking.poll(30)
print("woken")
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_a_worker_whatever_it_is_at(tmp_path: Path, number: signal.Signals) -> None:
    """Also where it has just taken the lock that stopping it takes."""
    assert said_by(_WORKER, str(number.value), data_dir=tmp_path / "data") == "stopped\nended\n"


def test_a_signal_wakes_the_supervisor_before_any_handler_runs(tmp_path: Path) -> None:
    assert said_by(_SUPERVISOR, data_dir=tmp_path / "data") == "woken\n"


def test_what_is_begun_has_its_time_from_the_end_of_the_port_on() -> None:
    """However long the port stays open: a balancer may need longer to see that /readyz says no."""
    patience: list[float] = []

    class Ending:
        pid = None

        def is_alive(self) -> bool:
            return False

        def join(self, seconds: float) -> None:
            patience.append(seconds)

    with socket.socket() as listener:
        supervisor = Supervisor(print, listener, 1, threads=1, drain_seconds=100.0)
        supervisor._places[0].process = cast(Any, Ending())
        supervisor._stop()
    port, rest = patience
    assert 99 < port <= 100
    assert 99 + STOP_SECONDS < rest <= 100 + STOP_SECONDS


def said_by(script: str, *arguments: str, data_dir: Path) -> str:
    """By a process of its own: a signal that is not caught must not end this one."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SALIENCE_")}
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        cwd=ROOT,
        env=environment | {"SALIENCE_DATA_DIR": str(data_dir)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
