"""salience collections: lists, shows, creates, changes and deletes collections."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from app.access.auditing import audited, audited_write
from app.cli.options import (
    DataDir,
    Device,
    Fields,
    Json,
    Model,
    Sparse,
    SparseModel,
    open_existing,
    open_parts,
    parse_fields,
    sparse_scoring,
)
from app.cli.terminal import note, out, print_json, table
from app.schemas.collections import NEW_COLLECTION, CollectionBody
from core.errors import InvalidInput, InvalidSettings, UnreadableFile
from core.naming import check_name
from core.records import CollectionSettings, IndexKind
from core.synonyms import of_lines
from store.audit import LOCAL
from store.catalog import change_settings, counts, delete_collection, get_collection, list_collections
from store.reindex.dropping import drop_deleted

app = typer.Typer(help="List, show, create, change and delete collections.", no_args_is_help=True, add_completion=False)
Name = Annotated[str, typer.Argument(help="The collection's name.")]
Synonym = Annotated[
    list[str] | None,
    typer.Option(
        show_default=False,
        help="'tv, television' (each for the other) or 'pc => computer' (one way). May be repeated.",
    ),
]
Synonyms = Annotated[
    Path | None, typer.Option(help="A file of such lines; # begins a line of comment.", show_default=False)
]
Alpha = Annotated[float | None, typer.Option(help="Weight of the dense leg in searches that name none, 0 to 1.")]
K1 = Annotated[float | None, typer.Option(help="BM25 term frequency saturation, 0 to 10.")]
B = Annotated[float | None, typer.Option(help="BM25 length normalisation, 0 to 1.")]


@app.command("list")
def list_all(as_json: Json = False, data_dir: DataDir = None) -> None:
    """Every collection with what it holds."""
    with open_existing(data_dir) as parts:
        with parts.database.read() as session:
            bodies = [CollectionBody.held(session, found) for found in list_collections(session)]
        folder = parts.settings.data_dir
    if as_json:
        print_json([body.model_dump(mode="json") for body in bodies])
        return
    if not bodies:
        note(f"there are no collections in {folder}; add documents with: salience add PATH")
        return
    rows = table("collection", "documents", "passages", "model", "language", numbers=("documents", "passages"))
    for body in bodies:
        rows.add_row(body.name, f"{body.documents:,}", f"{body.passages:,}", body.model, body.settings.language)
    out.print(rows)


@app.command()
def show(name: Name, as_json: Json = False, data_dir: DataDir = None) -> None:
    """One collection with its settings."""
    with open_existing(data_dir) as parts, parts.database.read() as session:
        body = CollectionBody.held(session, get_collection(session, name)).model_dump(mode="json")
    if as_json:
        print_json(body)
        return
    settings = body.pop("settings")
    for key, value in {**body, **settings}.items():
        out.print(f"{key:16} {'-' if value is None else value}")


@app.command()
def create(
    name: Name,
    language: Annotated[str, typer.Option(help="ISO 639-1 code, or auto: detected for each document.")] = "auto",
    passage_tokens: Annotated[
        int | None, typer.Option(help="Tokens of a passage at most.", show_default="what the model reads")
    ] = None,
    overlap_tokens: Annotated[
        int, typer.Option(help="Tokens that a passage repeats from the one before.")
    ] = NEW_COLLECTION.overlap_tokens,
    whole_documents: Annotated[bool, typer.Option(help="One passage a document, cut by the model.")] = False,
    title_weight: Annotated[
        int, typer.Option(help="How often BM25 counts a word of a title, 0 to 10.")
    ] = NEW_COLLECTION.title_weight,
    k1: K1 = NEW_COLLECTION.k1,
    b: B = NEW_COLLECTION.b,
    alpha: Alpha = NEW_COLLECTION.alpha,
    synonym: Synonym = None,
    synonyms: Synonyms = None,
    fields: Fields = None,
    sparse_model: SparseModel = None,
    sparse: Sparse = None,
    index: Annotated[
        str,
        typer.Option(
            help="How the nearest vectors are found: auto, exact (all are read), hnsw (a graph); or milvus: a Milvus "
            "elsewhere finds passages for both legs (SALIENCE_MILVUS__URI)."
        ),
    ] = IndexKind.AUTO.value,
    data_dir: DataDir = None,
    model: Model = None,
    device: Device = None,
) -> None:
    """Create an empty collection.

    [bold]Examples[/bold]

      salience collections create produkte --language de

      salience collections create articles --sparse-model splade

      salience collections create products --alpha 0.3 --synonym "tv, television"
    """
    if index not in tuple(IndexKind):
        raise InvalidSettings(f"--index {index!r}: must be one of {', '.join(IndexKind)}", param="index")
    settings = CollectionSettings(
        language=language,
        passage_tokens=passage_tokens,
        overlap_tokens=overlap_tokens,
        whole_documents=whole_documents,
        title_weight=title_weight,
        fields=parse_fields(fields),
        sparse=sparse_scoring(sparse, sparse_model),
        index=IndexKind(index),
        **_changeable(synonym, synonyms, alpha=alpha, k1=k1, b=b),
    )
    with open_parts(data_dir, model, device) as parts:
        check_name(name)
        with audited(parts.database, LOCAL, "collection.create", name):
            created = parts.create_collection(name, settings, sparse_model=sparse_model)
    learned = f", with learned weights by {created.active.sparse_model}" if created.active.sparse_model else ""
    typer.echo(f"created {created.name}, embedded by {created.active.model}{learned}")


@app.command("set")
def change(
    name: Name,
    synonym: Synonym = None,
    synonyms: Synonyms = None,
    no_synonyms: Annotated[bool, typer.Option("--no-synonyms", help="Remove all synonyms.")] = False,
    alpha: Alpha = None,
    k1: K1 = None,
    b: B = None,
    data_dir: DataDir = None,
) -> None:
    """Change settings of a collection that nothing stored depends on; the next search goes by them.

    Synonyms take the place of all that there were.

    [bold]Examples[/bold]

      salience collections set products --synonym "tv, television" --synonym "pc => computer"

      salience collections set products --b 0.4
    """
    if no_synonyms and (synonym or synonyms):
        raise InvalidInput("--no-synonyms removes what --synonym and --synonyms set; give one or the other")
    changes = _changeable(synonym, synonyms, alpha=alpha, k1=k1, b=b) | ({"synonyms": {}} if no_synonyms else {})
    if not changes:
        raise InvalidInput("nothing to change; give --synonym, --synonyms, --no-synonyms, --alpha, --k1 or --b")
    with (
        open_existing(data_dir) as parts,
        audited_write(parts.database, LOCAL, "collection.change", name) as session,
    ):
        change_settings(session, name, changes)
    typer.echo(f"changed {', '.join(changes)} of {name}")


def _changeable(synonym: list[str] | None, synonyms: Path | None, **numbers: float | None) -> dict[str, Any]:
    """The settings that were given as options. Raises InvalidSettings and UnreadableFile."""
    given: dict[str, Any] = {name: number for name, number in numbers.items() if number is not None}
    if synonym or synonyms:
        given["synonyms"] = of_lines([*_lines(synonyms), *(synonym or ())])
    return given


def _lines(file: Path | None) -> list[str]:
    if file is None:
        return []
    try:
        return file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UnreadableFile(f"{file}: {error}") from None


@app.command()
def delete(
    name: Name,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Delete a collection and everything in it."""
    with open_existing(data_dir) as parts:
        with parts.database.read() as session:
            held = counts(session, get_collection(session, name).id)
        if not yes and not typer.confirm(f"Delete {name} with {held.documents:,} documents?", err=True):
            raise InvalidInput("nothing was deleted")
        with audited_write(parts.database, LOCAL, "collection.delete", name) as session:
            delete_collection(session, name)
        drop_deleted(parts.database)
    typer.echo(f"deleted {name} with {held.documents:,} documents")
