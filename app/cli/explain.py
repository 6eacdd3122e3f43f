"""salience explain: the ledger of one hit as a tree, and its words."""

from __future__ import annotations

from typing import Annotated

import typer
from pydantic import ValidationError

from app.cli.options import (
    DEFAULT_COLLECTION,
    Alpha,
    Collection,
    DataDir,
    Device,
    Emphasis,
    Filter,
    Fusion,
    Json,
    Leg,
    Model,
    Target,
    first_problem,
    open_existing,
)
from app.cli.search import request
from app.cli.terminal import note, print_json


def explain(
    query: Annotated[str, typer.Argument(help="The query, with boosts if any.")],
    hit: Annotated[
        int | None, typer.Argument(help="The hit's number, as search shows it behind #.", show_default="the best hit")
    ] = None,
    collection: Collection = DEFAULT_COLLECTION,
    emphasis: Emphasis = None,
    filter: Filter = None,
    fusion: Fusion = "auto",
    alpha: Alpha = None,
    leg: Leg = None,
    target: Target = "auto",
    boosts: Annotated[bool, typer.Option(help="Read boosts such as play^7 in the query.")] = True,
    full: Annotated[bool, typer.Option("--full", help="Show every word in the tree.")] = False,
    as_json: Json = False,
    data_dir: DataDir = None,
    model: Model = None,
    device: Device = None,
) -> None:
    """Explain why a hit has its score: a tree of numbers that add up.

    [bold]Examples[/bold]

      salience explain "I want to play^7 on my TV."

      salience explain "I want to play^7 on my TV." 42 -c products
    """
    from app.search_request import QueryBody
    from app.search_response import SearchResponse

    asked = request(query, emphasis, filter, fusion, alpha, leg, target, boosts)
    try:
        asked_for = QueryBody(**asked).to_query(k=1, explain="words")
    except ValidationError as error:
        raise first_problem(error) from None
    with open_existing(data_dir, model, device) as parts:
        if hit is None:
            result = parts.searcher.search(collection, asked_for)
        else:
            result = parts.searcher.explain(collection, asked_for, hit)
    if not result.hits:
        note("nothing found, so there is nothing to explain")
        raise typer.Exit(1)
    if as_json:
        print_json(SearchResponse.of(result).model_dump(mode="json"))
        return

    from app.cli.rendering import print_explanation

    print_explanation(result, full=full)
