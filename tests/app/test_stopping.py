"""A server that stops waits for what works beside it, and not for longer than it says."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
from starlette.testclient import TestClient

import app.main
from app.settings import load_settings
from app.wiring import Wiring
from embedder.local import LocalEncoder


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
