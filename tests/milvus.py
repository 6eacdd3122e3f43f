"""A Milvus to test against: milvus-lite, in a process of its own."""

from __future__ import annotations

import random
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from core.errors import IndexUnavailable
from store.passageindex.milvus import Milvus
from tests.waiting import stop, until


class MilvusServer:
    """Serves one folder at one address; can be ended and started again."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._log = folder.with_suffix(".log")
        self.port = _free_port()
        self.process: subprocess.Popen[bytes]
        self.start()

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Returns when it answers."""
        command = [sys.executable, "-m", "milvus_lite", "server", "--data-dir", str(self._folder)]
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [*command, "--host", "127.0.0.1", "--port", str(self.port)], stdout=log, stderr=log
            )
        index = Milvus(self.uri, timeout_seconds=2.0)
        until(lambda: self._answers(index), 60.0)
        index.close()

    def kill(self) -> None:
        """As a power cut would end it."""
        self.process.kill()
        self.process.wait()

    def freeze(self) -> None:
        """It takes what it is asked, and answers when it is told to go on."""
        stop(self.process)

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def _answers(self, index: Milvus) -> bool:
        assert self.process.poll() is None, self._log.read_text()
        try:
            return bool(index.check())
        except IndexUnavailable:
            return False


@pytest.fixture(scope="session")
def milvus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MilvusServer]:
    """One that all tests share, each with names of its own: it is not to be ended."""
    yield from _served(tmp_path_factory.mktemp("milvus"))


@pytest.fixture
def mortal_milvus(tmp_path: Path) -> Iterator[MilvusServer]:
    """One that a test may end and start again."""
    yield from _served(tmp_path / "milvus")


def _served(folder: Path) -> Iterator[MilvusServer]:
    server = MilvusServer(folder)
    try:
        yield server
    finally:
        server.kill()


def _free_port() -> int:
    """Below those that the system gives to clients: one that asks for a server that is away might get its port."""
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as listener, suppress(OSError):
            listener.bind(("127.0.0.1", port))
            return port
