"""salience verify: checks the integrity of everything stored in a data directory or backup."""

from __future__ import annotations

import typer

from app.cli.checking import print_verification, steps, verification_body
from app.cli.options import DataDir, Json, open_existing
from app.cli.terminal import print_json
from indexer.recheck import recheck
from store.verify import verify as verify_directory


def verify(as_json: Json = False, data_dir: DataDir = None) -> None:
    """Check that everything stored is what was written, and fits together.

    Checks every page, index, reference, checksum, vector, term and passage, the change log and the jobs, in a data
    directory or a backup; and what Milvus holds of collections with that index. Changes nothing; others may go on.
    Exit code 1: something is damaged.

    [bold]Example[/bold]

      salience verify -d /mnt/backups/2024-05-01
    """
    parts = open_existing(data_dir)
    directory = parts.settings.data_dir
    with steps() as shown:
        done = verify_directory(directory, recheck=recheck, index=parts.passage_index, on_progress=shown.verifying)
    if as_json:
        print_json(verification_body(directory, done))
    else:
        print_verification(directory, done)
    if not done.ok:
        raise typer.Exit(1)
