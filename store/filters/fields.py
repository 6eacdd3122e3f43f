"""The fields of a collection that a filter can name, and what is said of those that it cannot."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

import sqlalchemy as sa

from core.errors import InvalidFilter
from core.records import FieldKind
from store import schema
from store.database import ReadSession

_SHOWN = 8  # names in a message


@dataclass(frozen=True, slots=True)
class Fields:
    """What was declared, and what any document ever had: its kinds, and the `field.id` of each."""

    by_name: dict[str, dict[FieldKind, int]]
    silent: bool = False  # tells of no field: one that is unknown, or has no values of a kind, is one without values

    @classmethod
    def of(cls, session: ReadSession, collection_id: int, *, silent: bool = False) -> Fields:
        """`silent`: for those who see some of the documents, and could learn from the errors what others have."""
        columns = schema.field.c
        statement = sa.select(columns.name, columns.kind, columns.id).where(columns.collection_id == collection_id)
        by_name: dict[str, dict[FieldKind, int]] = {}
        for row in session.execute(statement):
            by_name.setdefault(row.name, {})[FieldKind(row.kind)] = row.id
        return cls(by_name, silent)

    def kinds(self, name: str) -> dict[FieldKind, int]:
        """The kinds of values that the field has, and nulls. Raises InvalidFilter for an unknown field."""
        found = self.by_name.get(name)
        if found is not None:
            return found
        if self.silent:
            return {}
        nested = sorted(known for known in self.by_name if known.startswith(f"{name}."))
        if nested:
            raise _invalid(f"{name!r:.140} is an object, whose fields are compared one by one: {_listed(nested)}")
        raise _invalid(f"unknown field {name!r:.140}; {self._hint(name)}")

    def value_ids(self, name: str) -> list[int]:
        """Of the field's values that are not null."""
        return [id_ for kind, id_ in self.kinds(name).items() if kind is not FieldKind.NULL]

    def nested_ids(self, name: str, *, nulls: bool) -> list[int]:
        """Of the values of the field and of all that are nested in it. Raises InvalidFilter for an unknown field."""
        found = [kinds for known, kinds in self.by_name.items() if known == name or known.startswith(f"{name}.")]
        if not found:
            self.kinds(name)
        return [id_ for kinds in found for kind, id_ in kinds.items() if nulls or kind is not FieldKind.NULL]

    def id_of(self, name: str, kind: FieldKind) -> int | None:
        """Of the field's values of the kind; None where all that it ever had are nulls.

        Raises InvalidFilter where it has values, and none of the kind.
        """
        kinds = self.kinds(name)
        values = sorted(known.value for known in kinds if known is not FieldKind.NULL)
        if kind in kinds or not values or self.silent:
            return kinds.get(kind)
        if kind is FieldKind.GEO:
            raise _invalid(f"{name!r:.140} holds no places; declare it as geo when the collection is created")
        hint = ""
        if kind is FieldKind.NUMBER and values == [FieldKind.TEXT]:
            hint = "; write it between quotes"
        elif kind is FieldKind.TEXT and values == [FieldKind.NUMBER]:
            hint = "; write it without quotes"
        raise InvalidFilter(
            f"filter.{name:.140}: compares with a {kind.value}, but the values of this field are "
            f"{' or '.join(values)}{hint}",
            param="filter",
        )

    def _hint(self, name: str) -> str:
        if not self.by_name:
            return "the documents of this collection have no metadata"
        if near := difflib.get_close_matches(name, self.by_name, n=3):
            return f"did you mean {' or '.join(map(repr, near))}?"
        return f"there are {_listed(sorted(self.by_name))}"


def _listed(names: list[str]) -> str:
    return ", ".join(map(repr, names[:_SHOWN])) + (" and others" if len(names) > _SHOWN else "")


def _invalid(problem: str) -> InvalidFilter:
    return InvalidFilter(f"filter: {problem}", param="filter")
