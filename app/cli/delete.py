"""salience delete: deletes documents from a collection."""

from __future__ import annotations

from typing import Annotated

import typer

from app.cli.options import DEFAULT_COLLECTION, Collection, DataDir, Filter, open_existing, parse_filter_option
from core.errors import InvalidInput


def delete(
    ids: Annotated[list[str] | None, typer.Argument(help="Ids of documents.", metavar="ID", show_default=False)] = None,
    collection: Collection = DEFAULT_COLLECTION,
    filter: Filter = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say how many documents the filter would delete.")
    ] = False,
    data_dir: DataDir = None,
) -> None:
    """Delete documents by id, or by filter. Ids that are not there are reported, and the exit code is then 1.

    [bold]Examples[/bold]

      salience delete manual.pdf notes/old.md

      salience delete -c products --filter 'price < 20 and not exists(brand)' --dry-run
    """
    if (filter is None) == (not ids):
        raise InvalidInput("name ids, or a --filter, and not both")
    if filter is not None:
        _delete_where(collection, filter, dry_run, data_dir)
        return
    if dry_run:
        raise InvalidInput("--dry-run counts what a --filter would delete; it does not go with ids")
    from indexer.pipeline import delete as delete_documents

    wanted = list(dict.fromkeys(ids or ()))
    with open_existing(data_dir) as parts:
        deleted = delete_documents(parts.database, collection, wanted).deleted
        parts.maintain_once()
    missing = len(wanted) - deleted
    typer.echo(f"{collection}: {deleted:,} deleted" + (f", {missing:,} not there" if missing else ""))
    if missing:
        raise typer.Exit(1)


def _delete_where(collection: str, filter: str, dry_run: bool, data_dir: DataDir) -> None:
    from core.filters import parse_filter
    from indexer.deletion import delete_where
    from store.catalog import get_collection
    from store.filters.sql import count_where

    tree = parse_filter(parse_filter_option(filter))
    with open_existing(data_dir) as parts:
        if dry_run:
            with parts.database.read() as session:
                count = count_where(session, get_collection(session, collection).id, tree)
            typer.echo(f"{collection}: {count:,} would be deleted")
            return
        deleted = delete_where(parts.database, collection, tree).deleted
        parts.maintain_once()
    typer.echo(f"{collection}: {deleted:,} deleted")
