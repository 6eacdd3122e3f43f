"""salience worker: works on jobs in a process of its own."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Annotated

import typer

from app.cli.options import DataDir, Device, Model, open_parts
from app.cli.terminal import announce


def worker(
    once: Annotated[bool, typer.Option("--once", help="End when no job is left that could be worked on now.")] = False,
    data_dir: DataDir = None,
    model: Model = None,
    device: Device = None,
) -> None:
    """Work on jobs until it is told to stop; any number of workers may run at once.

    Ctrl-C, or SIGTERM, lets it finish the documents at hand; a second one ends it at once, and nothing is lost either.

    [bold]Example[/bold]

      salience worker -d /var/lib/salience
    """
    from app.operation.allocator import share_arenas

    share_arenas()
    with open_parts(data_dir, model, device) as parts, parts.register("worker"), parts.maintenance.running():
        from app.logs import configure_logs

        configure_logs(parts.settings.log)
        serving, reindexing = parts.worker, parts.reindexing

        def stop() -> None:
            serving.stop()
            reindexing.stop()

        with _told(stop):
            message = f"Salience works on the jobs in {parts.settings.data_dir}; stop it with Ctrl-C"
            announce(message, parts.settings.log, data_dir=str(parts.settings.data_dir))
            if once:
                serving.drain()
                reindexing.drain()
                parts.maintain_once()
            else:
                with reindexing.running(), parts.preloader.watched(), parts.letting_go(outdated=True):
                    serving.run()


@contextmanager
def _told(stop: Callable[[], None]) -> Iterator[None]:
    """Within the block, the first SIGINT or SIGTERM calls `stop` in another thread, and a second one ends the process.

    Called in the signal handler, which interrupts this thread anywhere, `stop` could wait forever for a lock that this
    thread holds.
    """
    reading, writing = os.pipe()
    os.set_blocking(writing, False)

    def listen() -> None:
        with open(reading, "rb", buffering=0) as said:
            if said.read(1):
                stop()

    def once(number: int, frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)

    listening = threading.Thread(target=listen, name="signals", daemon=True)
    listening.start()
    woken = signal.set_wakeup_fd(writing)
    before = {number: signal.signal(number, once) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(woken)
        os.close(writing)
        listening.join()
