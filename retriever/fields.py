"""Field selection: which of title, text and metadata (all, or some paths in it) a hit shows of its document."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from core.errors import InvalidQuery

TITLE, TEXT, METADATA = "title", "text", "metadata"
WHOLE = (TITLE, TEXT, METADATA)
FIELDS = (*WHOLE, f"{METADATA}.PATH")
MAX_FIELDS = 1000


def check_fields(fields: Sequence[str] | None) -> None:
    """Raises InvalidQuery for an unknown field, and suggests the nearest one."""
    if fields is not None and len(fields) > MAX_FIELDS:
        raise InvalidQuery(f"fields names {len(fields)}; at most {MAX_FIELDS} are allowed", param="fields")
    for name in fields or ():
        if name in WHOLE or (name.startswith(f"{METADATA}.") and name != f"{METADATA}."):
            continue
        near = difflib.get_close_matches(name, WHOLE, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"allowed are {', '.join(FIELDS)}"
        if not near and name:
            hint += f"; a field of the metadata is named {f'{METADATA}.{name}'!r:.140}"
        raise InvalidQuery(f"fields: unknown field {name!r:.140}; {hint}", param="fields")


@dataclass(frozen=True, kw_only=True, slots=True)
class Shown:
    """The parts of each hit's document that are shown."""

    title: bool
    text: bool
    paths: _Paths | None  # in its metadata; None: all of it

    @classmethod
    def of(cls, fields: Sequence[str] | None) -> Shown:
        """From `fields` of a Query."""
        named = set(WHOLE if fields is None else fields)
        found = None if METADATA in named else _Paths.of([n for n in named if n.startswith(f"{METADATA}.")])
        return cls(title=TITLE in named, text=TEXT in named, paths=found)

    def metadata(self, metadata: Mapping[str, Any]) -> Mapping[str, Any]:
        """The part of the metadata that is shown; paths that a document does not have are ignored.

        A path may lead through arrays of objects, and then selects within each object. A key that contains dots itself
        is selected by its whole name.
        """
        return metadata if self.paths is None else _kept(metadata, self.paths)


@dataclass(slots=True)
class _Paths:
    """Paths as a tree, with one level for each dot-separated part."""

    whole: bool = False  # whether a path ends here
    below: dict[str, _Paths] = field(default_factory=dict)

    @classmethod
    def of(cls, names: Sequence[str]) -> _Paths:
        """From names of the form metadata.PATH."""
        root = cls()
        for name in names:
            at = root
            for part in name.split(".")[1:]:
                at = at.below.setdefault(part, cls())
            at.whole = True
        return root

    def at(self, key: str) -> _Paths | None:
        """The paths below a key, which may contain dots; None: none."""
        found: _Paths | None = self
        for part in key.split("."):
            found = None if found is None else found.below.get(part)
        return found


def _kept(value: Mapping[str, Any], paths: _Paths) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for key, item in value.items():
        named = paths.at(key)
        if named is None:
            continue
        if named.whole:
            kept[key] = item
        elif (part := _part(item, named)) is not None:
            kept[key] = part
    return kept


def _part(item: Any, paths: _Paths) -> Any:
    """The parts that the paths select in an object, or in each object of an array; None: nothing."""
    if isinstance(item, dict):
        return _kept(item, paths) or None
    if isinstance(item, list):
        return [part for each in item if (part := _part(each, paths)) is not None] or None
    return None
