"""salience explain: shows the score of one hit as a tree of numbers, and the effects of its words."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import typer

from app.cli.inputs import hit_or_document
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
    Rerank,
    RerankDepth,
    RerankWeight,
    Target,
    first_problem,
    open_existing,
    rerank_option,
)
from app.cli.search import request
from app.cli.terminal import note, print_json


def explain(
    query: Annotated[str, typer.Argument(help="The query, with boosts if any.")],
    hit: Annotated[
        str | None,
        typer.Argument(
            help="Its document's id, or its number as search shows it, in quotes: '#42'.", show_default="the best hit"
        ),
    ] = None,
    collection: Collection = DEFAULT_COLLECTION,
    emphasis: Emphasis = None,
    filter: Filter = None,
    fusion: Fusion = "auto",
    alpha: Alpha = None,
    leg: Leg = None,
    rerank: Rerank = None,
    rerank_depth: RerankDepth = None,
    rerank_weight: RerankWeight = None,
    target: Target = "auto",
    boosts: Annotated[bool, typer.Option(help="Read boosts such as play^7 in the query.")] = True,
    above: Annotated[
        str | None,
        typer.Option(metavar="HIT", help="Explain why it is above this other one, and what swaps them."),
    ] = None,
    advise: Annotated[bool, typer.Option("--advise", help="Try which emphasis would raise the hit.")] = False,
    method: Annotated[
        str,
        typer.Option(
            help="leave_one_out; atman (suppress part by part, in the whole network); or integrated_gradients."
        ),
    ] = "leave_one_out",
    granularity: Annotated[
        str | None,
        typer.Option(
            help="Parts of atman and integrated_gradients: token, word, sentence or paragraph.",
            show_default="what gives about 30",
        ),
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="Show every word in the tree.")] = False,
    as_json: Json = False,
    data_dir: DataDir = None,
    model: Model = None,
    device: Device = None,
) -> None:
    """Explain why a hit has its score: a tree of numbers that add up.

    [bold]Examples[/bold]

      salience explain "I want to play^7 on my TV."

      salience explain "I want to play^7 on my TV." console -c products

      salience explain "I want to play on my TV." console --above '#17' --advise
    """
    from pydantic import ValidationError

    from app.schemas.search_request import ExplainRequest
    from app.schemas.search_response import SearchResponse
    from retriever.query import Explain
    from retriever.reasons import explain_hit

    asked = request(query, emphasis, filter, fusion, alpha, leg, target, boosts)
    wished = None if hit is None else hit_or_document(hit)
    other = None if above is None else hit_or_document(above)
    try:
        body = ExplainRequest.model_validate(
            {
                **asked,
                "rerank": rerank_option(rerank, rerank_depth, rerank_weight),
                "id": 1 if wished is None else wished,
                "above": other,
                "advise": advise,
                "method": method,
                "granularity": granularity,
            }
        )
    except ValidationError as error:
        raise first_problem(error) from None
    wanted = body.to_explain()
    with open_existing(data_dir, model, device) as parts:
        if wished is None:
            found = parts.searcher.search(collection, replace(wanted, explain=Explain.NONE, units=None)).hits
            if not found:
                note("nothing found, so there is nothing to explain")
                raise typer.Exit(1)
            wished = found[0].id
        result = explain_hit(parts.searcher, collection, wanted, wished, above=other, advise=advise)
    if as_json:
        print_json(SearchResponse.of(result).model_dump(mode="json"))
        return

    from app.cli.reasons import print_reasons
    from app.cli.rendering import print_explanation

    print_explanation(result, full=full)
    print_reasons(result)
