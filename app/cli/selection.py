"""Search options for conditions, selection, groups and facets, and the printing of their results."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from app.cli.terminal import QUIET, note, out, plain
from core.errors import InvalidQuery

if TYPE_CHECKING:
    from retriever.result import SearchResult

Operators = Annotated[
    bool, typer.Option("--operators", help='Read +word, -word and "a phrase" in the query as conditions.')
]
Must = Annotated[
    list[str] | None,
    typer.Option(help="A word or phrase that documents must have. May be repeated.", show_default=False),
]
MustNot = Annotated[
    list[str] | None,
    typer.Option(help="A word or phrase that they must not have. May be repeated.", show_default=False),
]
MinScore = Annotated[
    list[str] | None,
    typer.Option(
        metavar="LEG=SCORE", help="The raw score that a hit reaches in a leg. May be repeated.", show_default=False
    ),
]
Diversity = Annotated[
    float, typer.Option(help="0 to 1: how much a hit loses by being like those above it.", show_default=False)
]
GroupBy = Annotated[
    str | None,
    typer.Option(metavar="FIELD", help="Show hits in groups that share a value of this field.", show_default=False),
]
HitsPerGroup = Annotated[int | None, typer.Option(help="Hits of a group at most.", show_default="3")]
Facet = Annotated[
    list[str] | None,
    typer.Option(
        metavar="FIELD", help="Count the values of this field over all matches. May be repeated.", show_default=False
    ),
]
Highlight = Annotated[bool, typer.Option("--highlight", help="Underline the query's words.")]


def selection(
    operators: bool,
    must: list[str] | None,
    must_not: list[str] | None,
    min_score: list[str] | None,
    diversity: float,
    group_by: str | None,
    hits_per_group: int | None,
    facet: list[str] | None,
    highlight: bool,
) -> dict[str, Any]:
    """The options as the JSON of a search. Raises InvalidQuery."""
    return {
        "operators": operators,
        "must": must or [],
        "must_not": must_not or [],
        "min_scores": _min_scores(min_score),
        "diversity": diversity,
        "group_by": group_by,
        "hits_per_group": hits_per_group,
        "facets": facet or [],
        "highlight": highlight,
    }


def print_suggestions(result: SearchResult) -> None:
    if result.suggestions:
        from retriever.suggestions import corrected

        words = ", ".join(plain(one.word) for one in result.suggestions)
        meant = plain(corrected(result.query.text, result.suggestions))
        note(f"hardly any passage has {words}; did you mean: {meant}")


def print_group(result: SearchResult, place: int) -> None:
    """Print the heading of a group."""
    assert result.groups is not None
    assert result.query.selection.group_by is not None
    value = result.groups[place].value
    field = result.query.selection.group_by.field
    out.print(Text(f"{plain(field)}: {'(none)' if value is None else plain(str(value.json))}", style="bold"))


def print_facets(result: SearchResult) -> None:
    if result.facets is None:
        return
    out.print(Text(f"{result.facets.documents:,} documents match", style=QUIET))
    for name, found in result.facets.fields.items():
        listed = [f"{plain(str(value.json))} ({count:,})" for value, count in found.counts]
        rest = found.distinct - len(listed)
        more = [f"{rest:,} more values"] if rest else []
        none = [f"without ({found.without:,})"] if found.without else []
        out.print(Text(f"{plain(name)}: {', '.join([*listed, *more, *none])}", style=QUIET))


def _min_scores(given: list[str] | None) -> dict[str, float]:
    found: dict[str, float] = {}
    for item in given or []:
        leg, _, score = item.partition("=")
        try:
            found[leg] = float(score)
        except ValueError:
            raise InvalidQuery(
                f"--min-score {item!r:.80}: write it as LEG=SCORE, such as dense=0.3", param="min_scores"
            ) from None
    return found
