"""A server that stops waits for what works beside it, and not for longer than it says; signals that say so arrive."""

from __future__ import annotations

import signal
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from starlette.testclient import TestClient

import app.main
from app.operation.supervisor import Supervisor
from app.settings import load_settings
from app.wiring import Wiring
from embedder.local import LocalEncoder
from indexer.worker import Worker


def test_jobs_and_reindexes_are_waited_for_at_the_same_time(
    encoder: LocalEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    over = threading.Event()
    monkeypatch.setattr(app.main, "WORKER_STOP_SECONDS", 1.0)
    parts = Wiring(load_settings(data_dir=tmp_path / "data"), encoder=encoder)
    monkeypatch.setattr(parts.worker, "run", over.wait)
    monkeypatch.setattr(parts.reindexing, "run", over.wait)
    try:
        with TestClient(app.main.create_app(parts)):
            begun = time.monotonic()
        assert 1.0 <= time.monotonic() - begun < 1.8
    finally:
        over.set()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_a_worker_whatever_it_is_at(
    salience: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    """Also where it has just taken the lock that stopping it takes."""
    stopped: list[bool] = []

    def run(worker: Worker) -> None:
        with worker._wake._cond:  # type: ignore[attr-defined]
            signal.raise_signal(number)
        stopped.append(worker._stopping.wait(30))
        assert signal.getsignal(number) is signal.SIG_DFL  # a second one ends it

    monkeypatch.setattr(Worker, "run", run)
    before = signal.getsignal(number)
    assert salience("worker")[0] == 0
    assert stopped == [True]
    assert signal.getsignal(number) is before
    assert not [thread for thread in threading.enumerate() if thread.name == "signals"]


def test_a_signal_wakes_the_supervisor_before_any_handler_runs() -> None:
    with socket.socket() as listener:
        supervisor = Supervisor(print, listener, 1, threads=1)
        with supervisor._signals():
            signal.signal(signal.SIGTERM, lambda number, frame: None)  # as in the moment before it begins to wait
            signal.raise_signal(signal.SIGTERM)
            assert supervisor._waking.poll(30)
