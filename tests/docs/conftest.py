"""A runner of pages, with the model loaded once."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Mapping
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

import app.wiring
from app.cli.main import run
from app.wiring import Wiring
from embedder.local import LocalEncoder
from tests.docs.pages import ROOT, page_of
from tests.docs.running import Runner


@pytest.fixture
def run_page(encoder: LocalEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Runs a page by its name."""
    original = Wiring.__init__
    monkeypatch.setattr(
        app.wiring.Wiring, "__init__", lambda self, settings, encoder=encoder: original(self, settings, encoder=encoder)
    )
    folder = tmp_path / "reader"
    folder.mkdir()

    def run_named(name: str) -> None:
        Runner(folder, _command).run(page_of(ROOT / name))

    return run_named


def _command(arguments: list[str], folder: str, environment: Mapping[str, str], standard: str) -> tuple[int, str, str]:
    """The command line, in this process: its exit code, and what it prints."""
    before, here = dict(os.environ), Path.cwd()
    out, error = (io.TextIOWrapper(io.BytesIO(), "utf-8", newline="") for _ in range(2))
    code: object = 0
    given, sys.stdin = sys.stdin, io.TextIOWrapper(io.BytesIO(standard.encode()), "utf-8")
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    try:
        with redirect_stdout(out), redirect_stderr(error):
            run(arguments)
    except SystemExit as exit:
        code = exit.code or 0
    finally:
        os.environ.clear()
        os.environ.update(before)
        os.chdir(here)
        sys.stdin = given
    printed = []
    for stream in (out, error):
        stream.flush()
        printed.append(stream.buffer.getvalue().decode())
    return int(str(code)), printed[0], printed[1]
