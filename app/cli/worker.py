"""salience worker: serves the jobs in a process of its own."""

from __future__ import annotations

import signal
from types import FrameType
from typing import Annotated

import typer

from app.cli.options import DataDir, Device, Model, open_parts
from app.cli.terminal import note


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
    with open_parts(data_dir, model, device) as parts, parts.register("worker"), parts.maintenance.running():
        from app.logs import configure_logs

        configure_logs(parts.settings.log)
        serving, reindexing = parts.worker, parts.reindexing

        def stop(number: int, frame: FrameType | None) -> None:
            serving.stop()
            reindexing.stop()
            signal.signal(number, signal.SIG_DFL)

        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, stop)
        note(f"Salience works on the jobs in {parts.settings.data_dir}; stop it with Ctrl-C")
        if once:
            serving.drain()
            reindexing.drain()
            parts.maintain_once()
        else:
            with reindexing.running():
                serving.run()
