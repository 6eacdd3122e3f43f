"""salience delete: documents out of a collection."""

from __future__ import annotations

from typing import Annotated

import typer

from app.cli.options import DEFAULT_COLLECTION, Collection, DataDir, open_existing


def delete(
    ids: Annotated[list[str], typer.Argument(help="Ids of documents.", metavar="ID")],
    collection: Collection = DEFAULT_COLLECTION,
    data_dir: DataDir = None,
) -> None:
    """Delete documents by id. Ids that are not there are reported, and the exit code is then 1.

    [bold]Example[/bold]

      salience delete manual.pdf notes/old.md
    """
    from indexer.pipeline import delete as delete_documents

    wanted = list(dict.fromkeys(ids))
    with open_existing(data_dir) as parts:
        deleted = delete_documents(parts.database, collection, wanted).deleted
    missing = len(wanted) - deleted
    typer.echo(f"{collection}: {deleted:,} deleted" + (f", {missing:,} not there" if missing else ""))
    if missing:
        raise typer.Exit(1)
