"""salience backup: makes a verified copy of the data directory, even while others write to it."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from app.cli.checking import described, note_in_audit_log, steps
from app.cli.options import DataDir, open_existing
from core.errors import SalienceError
from indexer.recheck import recheck
from store.audit import DONE
from store.backup import backup as make_backup


def backup(
    target: Annotated[Path, typer.Argument(help="The backup's directory, which must not be there yet.")],
    data_dir: DataDir = None,
) -> None:
    """Copy the data directory as it is at this moment, and verify the copy.

    Others may go on searching and adding. The copy is a data directory itself: verify and stats read it, and restore
    puts it back.

    [bold]Example[/bold]

      salience backup /mnt/backups/2024-05-01
    """
    settings = open_existing(data_dir).settings
    source = settings.data_dir
    noted = partial(
        note_in_audit_log, source, "backup", target.absolute(), allow_network=settings.allow_network_file_system
    )
    try:
        with steps() as shown:
            done = make_backup(source, target, recheck=recheck, on_copy=shown.copying, on_verify=shown.verifying)
    except SalienceError as error:
        noted(error.code)
        raise
    noted(DONE)
    typer.echo(f"{target} is a verified backup of {source}: {described(done)}")
