"""salience search: hits in the terminal, their words coloured by what they did."""

from __future__ import annotations

from typing import Annotated, Any

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
    parse_emphasis,
    parse_filter_option,
)
from app.cli.terminal import out, print_json


def search(
    query: Annotated[str, typer.Argument(help='Words; "play^7" emphasises, "play^0.2" suppresses.')],
    collection: Collection = DEFAULT_COLLECTION,
    k: Annotated[int, typer.Option("--k", "-k", help="Hits to show.")] = 5,
    emphasis: Emphasis = None,
    filter: Filter = None,
    fusion: Fusion = "auto",
    alpha: Alpha = None,
    leg: Leg = None,
    target: Target = "auto",
    boosts: Annotated[bool, typer.Option(help="Read boosts such as play^7 in the query.")] = True,
    full: Annotated[bool, typer.Option("--full", help="Show passages in full.")] = False,
    min_seq: Annotated[
        int | None,
        typer.Option(help="See at least this change: the seq that a write was answered with.", show_default=False),
    ] = None,
    timeout: Annotated[float, typer.Option(help="Seconds to wait for --min-seq at most.")] = 2.0,
    as_json: Json = False,
    data_dir: DataDir = None,
    model: Model = None,
    device: Device = None,
) -> None:
    """Search a collection.

    A hit's line: rank, score, document, # and its number, and of each leg the raw score and the rank.

    In a terminal the words of each passage are coloured: green ones pulled it up, red ones pulled it down.

    [bold]Examples[/bold]

      salience search "I want to play on my TV."

      salience search "I want to play^7 on my TV." -c products

      salience search "play on my TV" --emphasis play=7 --filter 'price < 400'
    """
    asked = request(query, emphasis, filter, fusion, alpha, leg, target, boosts)
    coloured = out.is_terminal and not as_json

    from app.search_request import SearchRequest
    from app.search_response import SearchResponse

    try:
        body = SearchRequest(
            **asked, k=k, explain="words" if coloured else "none", min_seq=min_seq, timeout_seconds=timeout
        )
    except ValidationError as error:
        raise first_problem(error) from None
    with open_existing(data_dir, model, device) as parts:
        found = body.to_search(most=parts.settings.limits.hits)
        parts.wait_for(collection, min_seq, timeout)
        result = parts.searcher.search(collection, found)
    if as_json:
        print_json(SearchResponse.of(result).model_dump(mode="json"))
        return

    from app.cli.rendering import print_result

    print_result(result, full=full)


def request(
    query: str,
    emphasis: list[str] | None,
    filter: str | None,
    fusion: str,
    alpha: float | None,
    leg: list[str] | None,
    target: str,
    boosts: bool,
) -> dict[str, Any]:
    """The options as the JSON of a search. Raises InvalidControl, InvalidFilter."""
    return {
        "query": query,
        "boosts": boosts,
        "emphasis": parse_emphasis(emphasis),
        "filter": parse_filter_option(filter),
        "fusion": {"method": fusion, "alpha": alpha},
        "legs": leg,
        "steering": {"target": target},
    }
