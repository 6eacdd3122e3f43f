"""salience search: prints hits, with their words coloured by their effect on the score."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from app.cli.inputs import body_of, example_ids, field_names, image_prompt, vector_of
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
    parse_emphasis,
    parse_filter_option,
    rerank_option,
)
from app.cli.selection import (
    Diversity,
    Facet,
    GroupBy,
    Highlight,
    HitsPerGroup,
    MinScore,
    Must,
    MustNot,
    Operators,
    selection,
)
from app.cli.terminal import out, print_json
from core.errors import InvalidQuery

_BESIDE_BODY = frozenset(("body", "collection", "full", "as_json", "data_dir", "model", "device"))


def search(
    context: typer.Context,
    query: Annotated[
        str | None,
        typer.Argument(
            help='Words; "play^7" emphasises, "play^0.2" suppresses. May be left out with --like, --vector or --image.',
            show_default=False,
        ),
    ] = None,
    collection: Collection = DEFAULT_COLLECTION,
    k: Annotated[int, typer.Option("--k", "-k", help="Hits to show.")] = 5,
    offset: Annotated[int, typer.Option(help="Hits to skip.")] = 0,
    cursor: Annotated[
        str | None, typer.Option(help="Go on behind a page: `next` of its --json output.", show_default=False)
    ] = None,
    like: Annotated[
        list[str] | None,
        typer.Option(help="More like this document, or like the hit #NUMBER. May be repeated.", show_default=False),
    ] = None,
    unlike: Annotated[
        list[str] | None, typer.Option(help="And less like that one. May be repeated.", show_default=False)
    ] = None,
    vector: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            show_default=False,
            help="A vector for the dense leg: a JSON array or a .npy file; - reads standard input.",
        ),
    ] = None,
    image: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="An image in place of the query, with a model that reads images.", show_default=False
        ),
    ] = None,
    fields: Annotated[
        list[str] | None,
        typer.Option(
            help="Show these alone: title, text, metadata, metadata.PATH, separated by commas.", show_default=False
        ),
    ] = None,
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
    operators: Operators = False,
    must: Must = None,
    must_not: MustNot = None,
    min_score: MinScore = None,
    diversity: Diversity = 0.0,
    group_by: GroupBy = None,
    hits_per_group: HitsPerGroup = None,
    facet: Facet = None,
    highlight: Highlight = False,
    full: Annotated[bool, typer.Option("--full", help="Show passages in full.")] = False,
    min_seq: Annotated[
        int | None,
        typer.Option(help="See at least this change: the seq that a write was answered with.", show_default=False),
    ] = None,
    timeout_ms: Annotated[
        int | None,
        typer.Option(
            help="Milliseconds for the answer: what is not done by then is left out. --min-seq waits 2000 without it.",
            show_default=False,
        ),
    ] = None,
    reasons: Annotated[
        str | None,
        typer.Option(
            "--explain",
            help="none, scores, words or contrast (why each hit is above the next): of use with --json.",
            show_default="words in a terminal, else none",
        ),
    ] = None,
    profile: Annotated[bool, typer.Option("--profile", help="Show what the search had to do, and how long.")] = False,
    body: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            show_default=False,
            help="The search as JSON, as the API takes it, in place of the query and its options; - reads standard "
            "input.",
        ),
    ] = None,
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

      salience search --like television --unlike console -c products --fields title,metadata.price

      echo '{"query": "a radio", "must_not": ["car"], "facets": ["brand"]}' | salience search --body - -c products
    """
    coloured = out.is_terminal and not as_json
    explain = "words" if coloured else "none"
    if body is not None:
        _check_alone(context)
        asked = {"explain": explain, **body_of(body)}
    else:
        asked = {
            **request(query, emphasis, filter, fusion, alpha, leg, target, boosts),
            **selection(operators, must, must_not, min_score, diversity, group_by, hits_per_group, facet, highlight),
            "rerank": rerank_option(rerank, rerank_depth, rerank_weight),
            "k": k,
            "offset": offset,
            "cursor": cursor,
            "like": example_ids(like),
            "unlike": example_ids(unlike),
            "vector": vector_of(vector),
            "prompt": image_prompt(image),
            "fields": field_names(fields),
            "explain": reasons or explain,
            "min_seq": min_seq,
            "timeout_ms": timeout_ms,
            "profile": profile,
        }

    from pydantic import ValidationError

    from app.schemas.search_request import SearchRequest
    from app.schemas.search_response import SearchResponse
    from app.waiting import waited

    try:
        sent = SearchRequest.model_validate(asked)
    except ValidationError as error:
        raise first_problem(error) from None
    with open_existing(data_dir, model, device) as parts:
        found = sent.to_search(most=parts.settings.limits.hits)
        result = parts.searcher.search(collection, waited(parts, collection, sent, found))
    if as_json:
        print_json(SearchResponse.of(result).model_dump(mode="json"))
        return

    from app.cli.rendering import print_result

    print_result(result, full=full)


def _check_alone(context: typer.Context) -> None:
    """Raises InvalidQuery for an option that --body replaces, as it would be ignored."""
    for parameter in context.command.params:
        name = parameter.name or ""
        source = context.get_parameter_source(name)  # newer typers have a copy of click's enum
        if source is not None and source.name == "COMMANDLINE" and name not in _BESIDE_BODY:
            given = parameter.opts[0] if parameter.opts[0].startswith("-") else "the query"
            raise InvalidQuery(f"--body says all of the search: leave out {given}, and say it there", param=name)


def request(
    query: str | None,
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
