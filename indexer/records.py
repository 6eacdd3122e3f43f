"""The types that readers yield: a record, an error that affects one record, or a notice of something left out.

Errors are values, not exceptions: a run goes on after them, and its report lists them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Shape(StrEnum):
    """What is known of a record's fields before they are mapped."""

    JSON = "json"  # any field names, typed values
    TABLE = "table"  # any field names, every value a text
    FILE = "file"  # one document per file: the fields are already id, title, text and metadata


@dataclass(frozen=True, kw_only=True, slots=True)
class Origin:
    """Where a record came from."""

    path: str  # relative to the folder that was read, POSIX; the file's name where one file was read
    line: int | None = None  # 1-based line on which the record starts, in formats with many records per file

    def __str__(self) -> str:
        return self.path if self.line is None else f"{self.path}, line {self.line}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """Raw fields, before they are mapped to a document."""

    fields: Mapping[str, Any]
    origin: Origin
    shape: Shape = Shape.JSON


@dataclass(frozen=True, kw_only=True, slots=True)
class RecordError:
    """A record or file that could not be used. The run goes on with the others."""

    code: str  # stable: "invalid_document", "invalid_control", "unreadable_file", "too_large" ...
    reason: str  # what was wrong and what is allowed
    origin: Origin | None = None  # None where the record came through no file
    id: str | None = None  # the document's id, where it is known

    def __str__(self) -> str:
        place = " ".join(part for part in (str(self.origin or ""), f"(id {self.id!r})" if self.id else "") if part)
        return f"{place}: {self.reason}" if place else self.reason


@dataclass(frozen=True, kw_only=True, slots=True)
class Skipped:
    """Something in a folder that was left out on purpose; not an error."""

    path: str  # the first such path, relative to the folder
    reason: str
    count: int = 1  # how many paths were left out for this reason


@dataclass(frozen=True, kw_only=True, slots=True)
class Duplicate:
    """An id that occurred again in a run. The last of its documents that can be stored is kept."""

    id: str
