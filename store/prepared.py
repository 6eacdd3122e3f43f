"""Statements that every search asks: made once, and put to SQLite's driver itself.

SQLAlchemy takes several times as long to hand such a statement over as SQLite to answer it.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite

from store.database import ReadSession

_MANY = "(__[POSTCOMPILE_{name}])"  # what SQLAlchemy leaves for a list of values


class Prepared:
    """A statement over columns whose values SQLite returns as they are wanted: numbers, texts and bytes."""

    def __init__(self, statement: sa.Select[Any]) -> None:
        """Its parameters are those of `sa.bindparam`; an expanding one takes a list."""
        compiled = statement.compile(dialect=sqlite.dialect())
        self._sql = str(compiled)
        self._fixed = dict(compiled.params)
        self._names = list(compiled.positiontup or ())
        self._parameters = {name for name, value in compiled.params.items() if value is None}  # to be given

    def rows(self, session: ReadSession, **values: Any) -> list[tuple[Any, ...]]:
        """All rows, as plain tuples. A list of values may be as long as those of `database.chunks`.

        Raises TypeError where `values` are not those of the parameters.
        """
        if values.keys() != self._parameters:
            raise TypeError(f"the statement has the parameters {sorted(self._parameters)}, not {sorted(values)}")
        sql = self._sql
        given: list[Any] = []
        for name in self._names:
            value = values.get(name, self._fixed[name])
            if isinstance(value, list):
                sql = sql.replace(_MANY.format(name=name), f"({','.join('?' * len(value))})")
                given += value
            else:
                given.append(value)
        return session.rows(sql, given)
