"""Prepared SELECT statements for every search: compiled once, and executed by SQLite's driver directly.

Executing such a statement through SQLAlchemy takes several times as long as SQLite takes to answer it.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite

from store.database import ReadSession

_MANY = "(__[POSTCOMPILE_{name}])"  # SQLAlchemy's placeholder for a list of values


class Prepared:
    """A prepared statement. Only for columns that need no conversion from SQLite: numbers, texts and bytes."""

    def __init__(self, statement: sa.Select[Any]) -> None:
        """Its parameters are the `sa.bindparam`s; an expanding one takes a list."""
        compiled = statement.compile(dialect=sqlite.dialect())
        self._sql = str(compiled)
        self._fixed = dict(compiled.params)
        self._names = list(compiled.positiontup or ())
        self._parameters = {name for name, value in compiled.params.items() if value is None}  # to be given

    def rows(self, session: ReadSession, **values: Any) -> list[tuple[Any, ...]]:
        """All rows, as plain tuples. A list of values may be as long as those of `database.chunks`.

        Raises TypeError where `values` do not match the parameters.
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
