"""Options shared by several commands, and the parsing of their values."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from core.errors import InvalidControl, InvalidFilter, InvalidQuery, InvalidSettings, StorageError
from core.prompts import MAX_FACTOR, MIN_FACTOR
from core.records import DECLARABLE, FieldKind, SparseScoring

if TYPE_CHECKING:  # not imported for a command's --help
    from pydantic import ValidationError

    from app.settings import Settings
    from app.wiring import Wiring

DEFAULT_COLLECTION = "default"

DataDir = Annotated[
    Path | None,
    typer.Option(
        "--data-dir", "-d", help="Where everything is kept. Default: $SALIENCE_DATA_DIR, or ./salience-data.",
        show_default=False,
    ),
]  # fmt: skip
Model = Annotated[
    str | None,
    typer.Option(
        help="The embedding model: a name of the settings, or a folder. Default: $SALIENCE_MODEL, or 'default'.",
        show_default=False,
    ),
]
SparseModel = Annotated[
    str | None,
    typer.Option(
        "--sparse-model", metavar="NAME", show_default=False,
        help="A model of the settings that makes sparse vectors (SPLADE, BGE-M3), in place of BM25 or beside it.",
    ),
]  # fmt: skip
Sparse = Annotated[
    str | None,
    typer.Option(
        "--sparse", show_default=False,
        help="bm25, learned (by --sparse-model) or both. Default: learned where a sparse model is named, else bm25.",
    ),
]  # fmt: skip
Device = Annotated[
    str | None,
    typer.Option(help="auto, cpu, cuda or cuda:N. Default: $SALIENCE_DEVICE, or auto.", show_default=False),
]
Collection = Annotated[str, typer.Option("--collection", "-c", help="The collection's name.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
Emphasis = Annotated[
    list[str] | None,
    typer.Option(
        "--emphasis", "-e", metavar="WORD=FACTOR", show_default=False,
        help="Steer by a word of the query: above 1 emphasises it, below 1 suppresses it, below 0 pushes away from it. "
        "May be repeated.",
    ),
]  # fmt: skip
Filter = Annotated[
    str | None,
    typer.Option(
        metavar="FILTER",
        show_default=False,
        help='Conditions on metadata, as text or JSON: \'price < 20 and brand in ("HP", "Xerox")\'.',
    ),
]
Fields = Annotated[
    list[str] | None,
    typer.Option(
        "--field",
        metavar="NAME=KIND",
        show_default=False,
        help="Declare a metadata field as text, number, boolean, date or geo. May be repeated. Others are found.",
    ),
]
Fusion = Annotated[
    str, typer.Option(help="How the legs are combined: auto (weights are chosen for the query), convex or rrf.")
]
Alpha = Annotated[
    float | None,
    typer.Option(
        help="Weight of the dense leg, 0 to 1: of convex, or where auto starts from.", show_default="the collection's"
    ),
]
Leg = Annotated[
    list[str] | None,
    typer.Option(
        "--leg", show_default=False,
        help="Search by this leg alone: dense, sparse or learned. May be repeated. Default: all.",
    ),
]  # fmt: skip
Rerank = Annotated[
    str | None,
    typer.Option(
        metavar="MODEL", show_default=False, help="A reranker of the settings judges the first documents anew."
    ),
]
RerankDepth = Annotated[
    int | None, typer.Option(help="Documents that the reranker judges, 1 to 200.", show_default="50")
]
RerankWeight = Annotated[
    float | None,
    typer.Option(
        help="Weight of its judgement in their scores, 0 to 1; the fused score has the rest.", show_default="1.0"
    ),
]
Target = Annotated[str, typer.Option(help="Where emphasis acts in the model: auto, attention, pool or both.")]


def open_parts(data_dir: Path | None, model: str | None = None, device: str | None = None) -> Wiring:
    """The parts for these options, with other settings from the environment. Raises InvalidSettings."""
    from app.wiring import Wiring

    return Wiring(settings(data_dir, model, device))


def open_existing(data_dir: Path | None, model: str | None = None, device: str | None = None) -> Wiring:
    """As `open_parts`, for commands that create nothing. Raises StorageError if there is no data directory yet."""
    parts = open_parts(data_dir, model, device)
    if not parts.settings.data_dir.exists():
        raise StorageError(
            f"there is no data directory {parts.settings.data_dir}; "
            "name another with --data-dir, or make it with: salience add PATH"
        )
    return parts


def settings(data_dir: Path | None, model: str | None = None, device: str | None = None, **given: Any) -> Settings:
    from app.settings import load_settings

    return load_settings(data_dir=data_dir, model=model, device=device, **given)


def sparse_scoring(sparse: str | None, sparse_model: str | None) -> SparseScoring:
    """The scoring of the sparse leg that the two options ask for. Raises InvalidSettings."""
    if sparse is None:
        return SparseScoring.meant_by(sparse_model)
    if sparse not in tuple(SparseScoring):
        raise InvalidSettings(f"--sparse {sparse!r}: must be one of {', '.join(SparseScoring)}", param="sparse")
    return SparseScoring(sparse)


def rerank_option(model: str | None, depth: int | None, weight: float | None) -> dict[str, Any] | None:
    """The three options as the JSON of a search. Raises InvalidQuery for depth or weight without a model."""
    given = {name: value for name, value in (("depth", depth), ("weight", weight)) if value is not None}
    if model is None:
        for name in given:
            raise InvalidQuery(f"--rerank-{name} needs --rerank", param=f"rerank.{name}")
        return None
    return {"model": model, **given}


def parse_emphasis(given: list[str] | None) -> dict[str, float]:
    """{"play": 7.0} for "play=7". Raises InvalidControl."""
    emphasis: dict[str, float] = {}
    for item in given or []:
        word, _, factor = item.rpartition("=")
        try:
            value = float(factor)
        except ValueError:
            value = float("nan")
        if not word or not MIN_FACTOR <= value <= MAX_FACTOR:
            raise InvalidControl(
                f"emphasis {item!r}: write it as WORD=FACTOR, a factor from {MIN_FACTOR:g} to {MAX_FACTOR:g}, "
                "such as play=7",
                param="emphasis",
            )
        if word in emphasis:
            raise InvalidControl(f"emphasis names {word!r} twice", param="emphasis")
        emphasis[word] = value
    return emphasis


def parse_fields(given: list[str] | None) -> dict[str, FieldKind]:
    """{"released": FieldKind.DATE} for "released=date". Raises InvalidSettings."""
    fields: dict[str, FieldKind] = {}
    for item in given or []:
        name, _, kind = item.rpartition("=")
        if not name or kind not in DECLARABLE:
            raise InvalidSettings(
                f"field {item!r}: write it as NAME=KIND, a kind of {', '.join(DECLARABLE)}, such as released=date",
                param="fields",
            )
        if name in fields:
            raise InvalidSettings(f"field {name!r} is declared twice", param="fields")
        fields[name] = FieldKind(kind)
    return fields


def parse_filter_option(given: str | None) -> dict[str, Any] | str | None:
    """A filter that begins with a brace is parsed as JSON, any other stays text. Raises InvalidFilter for bad JSON."""
    if given is None or not given.lstrip().startswith("{"):
        return given
    try:
        value = json.loads(given)
    except (ValueError, RecursionError) as error:
        raise InvalidFilter(f'--filter is not JSON ({error}); an example: \'{{"price": {{"lt": 20}}}}\'') from None
    return dict(value)


def first_problem(error: ValidationError) -> InvalidQuery:
    """The first problem that pydantic found in a request, as an InvalidQuery."""
    from app.schemas.base import field_path

    problem = error.errors(include_url=False)[0]
    place = field_path(problem["loc"])
    return InvalidQuery(f"{place}: {problem['msg']}", param=place)
