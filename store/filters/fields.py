"""The metadata fields of a collection that filters can name, and error messages for those that they cannot."""

from __future__ import annotations

import sqlalchemy as sa

from core.errors import InvalidFilter
from core.records import FieldKind
from core.unicode import is_unicode
from store import schema
from store.closest import closest
from store.database import ReadSession
from store.prepared import Prepared

_SHOWN = 8  # names in a message
_column = schema.field.c
_KINDS = Prepared(
    sa.select(_column.kind, _column.id).where(
        _column.collection_id == sa.bindparam("collection"), _column.name == sa.bindparam("name")
    )
)


class Fields:
    """Fields that were declared or that any document ever had, read on demand. Valid while the session is open."""

    def __init__(self, session: ReadSession, collection_id: int, *, silent: bool = False) -> None:
        """`silent`: never raise; an unknown field, or a kind that the field never had, simply has no values.

        For callers who may see only some documents, and could learn from errors which fields the others have.
        """
        self._session = session
        self._collection_id = collection_id
        self._silent = silent
        self._kinds: dict[str, dict[FieldKind, int]] = {}  # by name, for those looked up; empty: no such field

    def kinds(self, name: str) -> dict[FieldKind, int]:
        """The kinds of the field's values, null among them, with the `field.id` of each.

        Raises InvalidFilter for an unknown field.
        """
        found = self.known(name)
        if found or self._silent:
            return found
        raise InvalidFilter(f"filter: {self.unknown(name)}", param="filter")

    def known(self, name: str) -> dict[FieldKind, int]:
        """Like `kinds`, but empty for an unknown field."""
        found = self._kinds.get(name)
        if found is None:
            # SQLite takes only valid Unicode.
            rows = _KINDS.rows(self._session, collection=self._collection_id, name=name) if is_unicode(name) else []
            found = self._kinds[name] = {FieldKind(kind): id_ for kind, id_ in rows}
        return found

    def unknown(self, name: str) -> str:
        """The message for an unknown field: that it is an object, or which similar fields exist."""
        if nested := self._names(_within(name), limit=_SHOWN + 1):
            return f"{name!r:.140} is an object, whose fields are compared one by one: {_listed(nested)}"
        return f"unknown field {name!r:.140}; {self._hint(name)}"

    def value_ids(self, name: str) -> list[int]:
        """The `field.id`s of the field's values other than null."""
        return [id_ for kind, id_ in self.kinds(name).items() if kind is not FieldKind.NULL]

    def nested_ids(self, name: str, *, nulls: bool) -> sa.Select[tuple[int]]:
        """Selects the `field.id`s of the field and of all fields nested in it; a subquery, as there may be many.

        Raises InvalidFilter for an unknown field.
        """
        ids = sa.select(_column.id).where(_column.collection_id == self._collection_id, _is_or_within(name))
        if self._session.execute(ids.limit(1)).first() is None:
            self.kinds(name)
        return ids if nulls else ids.where(_column.kind != FieldKind.NULL.value)

    def id_of(self, name: str, kind: FieldKind) -> int | None:
        """The `field.id` of the field's values of this kind; None where it only ever had nulls.

        Raises InvalidFilter where it has values, but none of this kind.
        """
        kinds = self.kinds(name)
        values = sorted(known.value for known in kinds if known is not FieldKind.NULL)
        if kind in kinds or not values or self._silent:
            return kinds.get(kind)
        if kind is FieldKind.GEO:
            raise InvalidFilter(
                f"filter: {name!r:.140} holds no places; declare it as geo when the collection is created",
                param="filter",
            )
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
        names = self._names(sa.true())
        if not names:
            return "the documents of this collection have no metadata"
        if near := closest(name, names):
            return f"did you mean {' or '.join(map(repr, near))}?"
        return f"there are {_listed(names)}"

    def _names(self, which: sa.ColumnElement[bool], limit: int | None = None) -> list[str]:
        """Names of the fields that satisfy the condition, in order. Only for errors: there may be many thousands."""
        own = sa.select(_column.name).distinct().where(_column.collection_id == self._collection_id, which)
        return list(self._session.execute(own.order_by(_column.name).limit(limit)).scalars())


def _within(name: str) -> sa.ColumnElement[bool]:
    """Whether a field is nested in `name`. SQLite compares texts bytewise, and "/" is the character after "."."""
    return (_column.name >= f"{name}.") & (_column.name < f"{name}/") if is_unicode(name) else sa.false()


def _is_or_within(name: str) -> sa.ColumnElement[bool]:
    """Whether a field is `name` or nested in it. Written as one range, so that SQLite uses the index."""
    own = (_column.name >= name) & ((_column.name == name) | (_column.name >= f"{name}."))
    return own & (_column.name < f"{name}/") if is_unicode(name) else sa.false()


def _listed(names: list[str]) -> str:
    return ", ".join(map(repr, names[:_SHOWN])) + (" and others" if len(names) > _SHOWN else "")
