"""salience replay: computes saved explanations again, and says whether they still hold."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from app.cli.options import DataDir, Device, Json, Model, open_existing
from app.cli.terminal import out, print_json
from core.errors import InvalidInput

_CHANGED = {
    "model": "the model has changed",
    "generation": "the collection was embedded anew",
    "document": "the document was replaced or deleted",
    "collection": "other documents came or went, or the collection's settings were changed",
}


def replay(
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="JSON of explain or search, with --json; - reads standard input.")
    ],
    as_json: Json = False,
    data_dir: DataDir = None,
    model: Model = None,
    device: Device = None,
) -> None:
    """Compute saved explanations again, and say whether they still hold, or what has changed.

    An explanation holds where all its numbers are within 1e-5 of what they were. Exit code 1: one does not.

    [bold]Example[/bold]

      salience explain "I want to play on my TV." --json > why.json

      salience replay why.json
    """
    from app.schemas.explanations import ReplayResponse
    from retriever.replay import explanations_in
    from retriever.replay import replay as replay_explanation

    saved = list(explanations_in(_read(file)))
    if not saved:
        raise InvalidInput(f"{file} holds no explanation; make one with: salience explain QUERY --json", param="file")
    with open_existing(data_dir, model, device) as parts:
        replayed = [replay_explanation(parts.searcher, parts.views, explanation) for explanation in saved]
    for one in replayed:
        if as_json:
            print_json(ReplayResponse.of(one).model_dump(mode="json", exclude={"request_id"}))
            continue
        verdict = "holds" if one.agrees else "does not hold"
        apart = "" if one.difference is None else f", largest difference {one.difference:.1e}"
        why = "".join(f"; {_CHANGED[change]}" for change in one.changed)
        out.print(f"#{one.id}: {verdict}{apart}{why}")
    if not all(one.agrees for one in replayed):
        raise typer.Exit(1)


def _read(file: str) -> Any:
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
        return json.loads(text)
    except (OSError, ValueError, RecursionError) as error:
        raise InvalidInput(f"{file} is no JSON that can be read: {error}", param="file") from None
