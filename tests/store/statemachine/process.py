"""A second process over the same data directory, that can be killed at any of its steps."""

from __future__ import annotations

import multiprocessing
import os
import signal
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from core.errors import SalienceError
from store import failpoints
from tests.store.statemachine.site import Site

_IMPATIENCE = 60.0  # seconds

# A server that has loaded everything once makes each process by a fork of itself, in milliseconds. It has run nothing,
# so there are no threads to lose.
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload([__name__])


class OtherProcess:
    """A Site in a process of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._begin()

    def do(self, name: str, *arguments: Any) -> Any:
        """Call a method of the Site there. Raises what it raises."""
        self._connection.send((name, arguments, None))
        return self._answer(name)

    def die_doing(self, name: str, *arguments: Any, step: int) -> Any:
        """Call a method, and kill the process at its `step`th step, or when it has answered: with that, or None.

        Another process takes its place.
        """
        self._connection.send((name, arguments, step))
        try:
            return self._answer(name)
        except (EOFError, ConnectionResetError):
            return None
        finally:
            self.kill()
            self._begin()

    def kill(self) -> None:
        """SIGKILL: nothing is flushed, closed or given back."""
        self._process.kill()
        self._process.join()
        self._process.close()
        self._connection.close()

    def _begin(self) -> None:
        self._connection, there = _context.Pipe()
        self._process = _context.Process(target=_serve, args=(there, self._folder), daemon=True)
        self._process.start()
        there.close()
        self._answer("begin")

    def _answer(self, name: str) -> Any:
        assert self._connection.poll(_IMPATIENCE), f"no answer to {name}"
        answer = self._connection.recv()
        if isinstance(answer, Exception):
            raise answer
        return answer


def _serve(connection: Connection, folder: Path) -> None:
    site = Site(folder)
    connection.send(None)
    while True:
        name, arguments, deadly = connection.recv()
        failpoints.observer = None if deadly is None else _killer(deadly)
        try:
            answer = getattr(site, name)(*arguments)
        except (SalienceError, AssertionError) as error:
            answer = error
        connection.send(answer)


def _killer(count: int) -> Any:
    left = count

    def observe(step: str) -> None:
        nonlocal left
        left -= 1
        if left <= 0:
            os.kill(os.getpid(), signal.SIGKILL)

    return observe
