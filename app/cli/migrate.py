"""salience migrate: upgrades a data directory of an older version, with a backup at a place of the user's choice."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from app.cli.options import DataDir, open_existing
from store import Database
from store.migrate import SCHEMA_VERSION


def migrate(
    backup: Annotated[
        Path | None,
        typer.Option(
            help="Where the backup goes that is made first. Default: below backups/ in the data directory.",
            show_default=False,
        ),
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Bring a data directory of an older version up to date, after a backup.

    Every command does so by itself. This one lets the backup lie elsewhere, on a larger disk for instance.

    [bold]Example[/bold]

      salience migrate --backup /mnt/backups/before-upgrade
    """
    settings = open_existing(data_dir).settings
    directory = settings.data_dir
    Database.open(directory, migration_backup=backup, allow_network=settings.allow_network_file_system).close()
    typer.echo(f"{directory} has the schema {SCHEMA_VERSION}, which is that of this program")
