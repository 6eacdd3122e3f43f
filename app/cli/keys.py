"""salience key: creates, lists, revokes and rotates API keys."""

from __future__ import annotations

import time
from dataclasses import fields
from typing import Annotated

import typer

from app.access import keys
from app.cli.options import DataDir, Filter, Json, open_existing, open_parts, parse_filter_option
from app.cli.terminal import note, out, plain, print_json, table
from app.schemas.keys import KeyBody, NewKeyBody, seconds_of
from core.access import ApiKey, Limits, Rights, Role
from core.errors import InvalidSettings
from core.filters import parse_filter
from store.audit import LOCAL
from store.keys import list_keys

app = typer.Typer(help="Create, list, rotate and revoke keys of the API.", no_args_is_help=True, add_completion=False)
KeyOf = Annotated[str, typer.Argument(help="The key's id, or its prefix.", metavar="KEY")]
_LIMITS = ", ".join(limit.name for limit in fields(Limits))


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="What you call it.")],
    role: Annotated[str, typer.Option(help=f"{', '.join(Role)}: each may do what those before it may.")],
    tenant: Annotated[
        str | None, typer.Option(help="Whose collections it sees; else the operator's.", show_default=False)
    ] = None,
    collection: Annotated[
        list[str] | None,
        typer.Option(
            "--collection", "-c", metavar="PATTERN", show_default=False,
            help="A name or pattern (docs-*) of the collections that it sees. May be repeated. Default: all.",
        ),
    ] = None,
    filter: Filter = None,
    limit: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=NUMBER", show_default=False, help=f"May be repeated. Names: {_LIMITS}."),
    ] = None,
    expires: Annotated[
        str | None,
        typer.Option(metavar="DATE", show_default=False, help="When it ends, by ISO 8601; in UTC unless it says more."),
    ] = None,
    as_json: Json = False,
    data_dir: DataDir = None,
) -> None:  # fmt: skip
    """Create a key, and print it: it is shown this once.

    From the first key on, the API answers nobody who has none.

    [bold]Example[/bold]

      salience key create operator --role admin
    """
    given = parse_filter_option(filter)
    rights = Rights(
        name=name,
        role=Role.named(role),
        tenant=tenant,
        patterns=tuple(collection or ()),
        rows=None if given is None else parse_filter(given),
        limits=_limits(limit or []),
        expires_at=None if expires is None else seconds_of(expires),
    )
    with open_parts(data_dir) as parts:
        key, token = keys.create(parts.database, LOCAL, rights)
        with parts.database.read() as session:
            first = len(list_keys(session)) == 1
    _show(key, token, as_json)
    if first:
        note("From this first key on, the API answers nobody who has none. Commands on this machine need none.")


@app.command("list")
def list_all(as_json: Json = False, data_dir: DataDir = None) -> None:
    """Every key that was ever made, without its secret."""
    with open_existing(data_dir) as parts, parts.database.read() as session:
        bodies = [KeyBody.of(key, now=time.time()) for key in list_keys(session)]
    if as_json:
        print_json([body.model_dump(mode="json") for body in bodies])
        return
    if not bodies:
        note("there are no keys")
        return
    rows = table("id", "prefix", "name", "role", "tenant", "collections", "state", "last used")
    for body in bodies:
        seen = ", ".join(body.collections) + (" (some documents)" if body.filter is not None else "")
        rows.add_row(
            str(body.id), body.prefix, plain(body.name), body.role, body.tenant or "", seen or "all", _state(body),
            body.last_used_at or "never",
        )  # fmt: skip
    out.print(rows)


@app.command()
def rotate(
    key: KeyOf,
    overlap: Annotated[float, typer.Option(help="Seconds for which the old key stays valid.")] = 3600.0,
    as_json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Create a key of the same rights in place of another, and print it."""
    with open_existing(data_dir) as parts:
        made, token = keys.rotate(parts.database, LOCAL, _reference(key), overlap)
    _show(made, token, as_json)


@app.command()
def revoke(key: KeyOf, data_dir: DataDir = None) -> None:
    """End a key: running servers refuse it within a second."""
    with open_existing(data_dir) as parts:
        ended = keys.revoke(parts.database, LOCAL, _reference(key), others=bool(parts.settings.auth.accepted))
    typer.echo(f"revoked key {ended.prefix} ({plain(ended.rights.name)})")


def _show(key: ApiKey, token: str, as_json: bool) -> None:
    if as_json:
        print_json(NewKeyBody.made(key, token, now=time.time()).model_dump(mode="json"))
        return
    typer.echo(token)
    note(f"key {key.id}, of the role {key.rights.role}. It is not shown again; send it as Authorization: Bearer KEY")


def _reference(given: str) -> int | str:
    """The id or the prefix of a key: a prefix has twelve characters, and no id gets that long."""
    return int(given) if given.isdecimal() and len(given) < 12 else given


def _limits(given: list[str]) -> Limits:
    """Parse limits such as "passages=1000". Raises InvalidSettings."""
    known = {limit.name for limit in fields(Limits)}
    limits: dict[str, int] = {}
    for item in given:
        name, _, number = item.partition("=")
        if name not in known or not number.isdecimal():
            raise InvalidSettings(f"limit {item!r:.140}: write it as NAME=NUMBER, a name of {_LIMITS}", param="limit")
        if name in limits:
            raise InvalidSettings(f"limit {name} is given twice", param="limit")
        limits[name] = int(number)
    return Limits(**limits)


def _state(body: KeyBody) -> str:
    if body.revoked_at is not None:
        return "revoked"
    if not body.usable:
        return "expired"
    return f"until {body.expires_at}" if body.expires_at is not None else "good"
