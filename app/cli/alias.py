"""salience alias: lists, sets and deletes aliases."""

from __future__ import annotations

from typing import Annotated

import typer

from app.access.auditing import audited_write
from app.cli.options import DataDir, Json, open_existing
from app.cli.terminal import note, out, print_json, table
from app.schemas.reindexes import AliasBody
from store.aliases import delete_alias, list_aliases, set_alias
from store.audit import LOCAL

app = typer.Typer(
    help="Let a second name stand for a collection, and move it in one moment.",
    no_args_is_help=True,
    add_completion=False,
)
Alias = Annotated[str, typer.Argument(help="The alias.")]


@app.command("list")
def list_all(as_json: Json = False, data_dir: DataDir = None) -> None:
    """Every alias, and the collection that it stands for."""
    with open_existing(data_dir) as parts, parts.database.read() as session:
        bodies = [AliasBody.of(found) for found in list_aliases(session)]
    if as_json:
        print_json([body.model_dump() for body in bodies])
        return
    if not bodies:
        note("there are no aliases; make one with: salience alias set NAME COLLECTION")
        return
    rows = table("alias", "collection")
    for body in bodies:
        rows.add_row(body.alias, body.collection)
    out.print(rows)


@app.command("set")
def set_one(
    name: Alias,
    collection: Annotated[str, typer.Argument(help="The collection that it stands for from now on.")],
    data_dir: DataDir = None,
) -> None:
    """Make an alias, or move it: searches, reads and writes under this name go there from now on.

    [bold]Example[/bold]

      salience alias set products products-green
    """
    with (
        open_existing(data_dir) as parts,
        audited_write(parts.database, LOCAL, "alias.set", name) as session,
    ):
        found = set_alias(session, name, collection)
    typer.echo(f"{found.name} is {found.collection} from now on")


@app.command()
def delete(name: Alias, data_dir: DataDir = None) -> None:
    """Delete an alias; the collection stays."""
    with (
        open_existing(data_dir) as parts,
        audited_write(parts.database, LOCAL, "alias.delete", name) as session,
    ):
        found = delete_alias(session, name)
    typer.echo(f"deleted the alias {found.name}; the collection {found.collection} stays")
