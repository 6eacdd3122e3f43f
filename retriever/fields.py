"""What a hit shows of its document: title, text, and all of its metadata or some paths in it."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from core.errors import InvalidQuery

TITLE, TEXT, METADATA = "title", "text", "metadata"
FIELDS = (TITLE, TEXT, METADATA, f"{METADATA}.PATH")
MAX_FIELDS = 1000


def check_fields(fields: Sequence[str] | None) -> None:
    """Raises InvalidQuery for a field that is none, with the nearest one."""
    if fields is not None and len(fields) > MAX_FIELDS:
        raise InvalidQuery(f"fields names {len(fields)}; at most {MAX_FIELDS} are allowed", param="fields")
    for name in fields or ():
        if name in FIELDS[:3] or (name.startswith(f"{METADATA}.") and name != f"{METADATA}."):
            continue
        near = difflib.get_close_matches(name, FIELDS[:3], n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"allowed are {', '.join(FIELDS)}"
        if not near and name:
            hint += f"; a field of the metadata is named {f'{METADATA}.{name}'!r:.140}"
        raise InvalidQuery(f"fields: unknown field {name!r:.140}; {hint}", param="fields")


def shows(fields: Sequence[str] | None, name: str) -> bool:
    """Whether TITLE or TEXT is shown."""
    return fields is None or name in fields


def shown_metadata(metadata: Mapping[str, Any], fields: Sequence[str] | None) -> Mapping[str, Any]:
    """The part of it that is shown; a path that a document does not have shows nothing.

    A path may lead through arrays of objects, each of which keeps what it names. A key that holds dots itself is found
    under its whole name.
    """
    if fields is None or METADATA in fields:
        return metadata
    paths = [name.removeprefix(f"{METADATA}.") for name in fields if name.startswith(f"{METADATA}.")]
    return _kept(metadata, paths)


def _kept(value: Mapping[str, Any], paths: Sequence[str]) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for key, item in value.items():
        below = [path.removeprefix(f"{key}.") for path in paths if path.startswith(f"{key}.")]
        if key in paths:
            kept[key] = item
        elif below and (part := _part(item, below)) is not None:
            kept[key] = part
    return kept


def _part(item: Any, paths: Sequence[str]) -> Any:
    """What the paths name in an object, or in each object of an array; None: nothing."""
    if isinstance(item, dict):
        return _kept(item, paths) or None
    if isinstance(item, list):
        return [part for each in item if (part := _part(each, paths)) is not None] or None
    return None
