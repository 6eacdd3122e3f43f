"""salience restore: restores a backup into an empty data directory."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from app.cli.checking import described, note_in_audit_log, steps
from app.cli.options import DataDir, settings
from indexer.recheck import recheck
from store.audit import DONE
from store.backup import restore as restore_backup


def restore(
    backup: Annotated[Path, typer.Argument(help="The backup's directory.")],
    data_dir: DataDir = None,
) -> None:
    """Restore a backup into a new or an empty data directory.

    The backup is verified first, and what was restored afterwards. Nothing is ever written over.

    [bold]Example[/bold]

      salience restore /mnt/backups/2024-05-01 -d /var/lib/salience
    """
    chosen = settings(data_dir)
    directory = chosen.data_dir
    with steps() as shown:
        done = restore_backup(backup, directory, recheck=recheck, on_copy=shown.copying, on_verify=shown.verifying)
    allow_network = chosen.allow_network_file_system
    note_in_audit_log(directory, "restore", backup.absolute(), DONE, allow_network=allow_network)
    typer.echo(f"{directory} was restored from {backup}, and verified: {described(done)}")
