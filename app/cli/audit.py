"""salience audit: shows the log of what administrators did."""

from __future__ import annotations

from typing import Annotated

import typer

from app.cli.options import DataDir, Json, open_existing
from app.cli.terminal import note, out, plain, print_json, table
from app.schemas.keys import ActionBody
from store.audit import list_actions


def audit(
    limit: Annotated[int, typer.Option("--limit", "-n", help="How many at most.", min=1, max=10_000)] = 20,
    as_json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Show what was done to keys and collections, by whom, and what came of it.

    The newest comes first.

    [bold]Example[/bold]

      salience audit --limit 100
    """
    with open_existing(data_dir) as parts, parts.database.read() as session:
        bodies = [ActionBody.of(action) for action in list_actions(session, limit=limit)]
    if as_json:
        print_json([body.model_dump(mode="json") for body in bodies])
        return
    if not bodies:
        note("nothing was done yet")
        return
    rows = table("when", "who", "action", "target", "outcome")
    for body in bodies:
        rows.add_row(body.at, body.who, body.action, plain(body.target), body.outcome)
    out.print(rows)
