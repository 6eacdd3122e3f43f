"""Statements that are put to SQLite's driver itself."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from core.records import Collection
from store import Database, schema
from store.prepared import Prepared

_columns = schema.collection.c
_NAMED = Prepared(
    sa.select(_columns.id).where(
        _columns.name == sa.bindparam("name"), _columns.id.in_(sa.bindparam("ids", expanding=True)), _columns.id > 0
    )
)


def test_a_statement_takes_its_parameters(database: Database, collection: Collection) -> None:
    with database.read() as session:
        assert _NAMED.rows(session, name="books", ids=[7, collection.id]) == [(collection.id,)]
        assert _NAMED.rows(session, name="books", ids=[]) == []


@pytest.mark.parametrize("values", [{"nmae": "books", "ids": [1]}, {"ids": [1]}, {"name": "b", "ids": [1], "more": 1}])
def test_a_parameter_by_another_name_is_refused(database: Database, values: dict[str, Any]) -> None:
    with database.read() as session, pytest.raises(TypeError, match=r"has the parameters \['ids', 'name'\]"):
        _NAMED.rows(session, **values)
