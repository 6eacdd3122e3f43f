"""How many snapshots a process keeps, and how often it is looked which of them are gone."""

from __future__ import annotations

import pytest

from store import Database, Views
from store.database import ReadSession
from tests.store.library import Item, create, put
from tests.store.test_few_statements import statements

NAMES = [f"c{i}" for i in range(5)]


@pytest.fixture
def many(database: Database) -> Database:
    for name in NAMES:
        put(database, create(database, name), Item(id=name, text="whale"))
    return database


def opened(views: Views, name: str) -> list[str]:
    with views.open(name) as view:
        return [hit.document_id for hit in view.fetch(view.every_passage())]


def held(views: Views) -> set[str]:
    return {one.collection for one in views.held()}


def test_those_opened_last_are_kept(many: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("store.views._KEPT", 2)
    views = Views(many)
    for name in ("c0", "c1", "c0", "c2"):
        assert opened(views, name) == [name]
    assert held(views) == {"c0", "c2"}
    with views.open("c0") as view:  # a view that is open keeps what it shows
        for name in NAMES[1:]:
            assert opened(views, name) == [name]
        assert held(views) == {"c3", "c4"}
        assert [hit.document_id for hit in view.fetch(view.every_passage())] == ["c0"]
    put(many, views.collection("c0"), Item(id="new", text="ship"))
    assert opened(views, "c0") == ["c0", "new"]


def test_what_is_gone_is_not_looked_for_at_each_first_search(many: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    views, looks = Views(many), 0
    look = Views._let_go

    def counted(self: Views, session: ReadSession, *, outdated: bool = False) -> None:
        nonlocal looks
        looks += 1
        look(self, session, outdated=outdated)

    monkeypatch.setattr(Views, "_let_go", counted)
    for name in NAMES:
        opened(views, name)
    assert looks == 1
    monkeypatch.setattr("store.views._LOOK_SECONDS", 0.0)
    put(many, create(many, "another"), Item(id="a", text="whale"))
    opened(views, "another")
    assert looks == 2


def test_only_the_states_of_what_is_held_are_read(many: Database) -> None:
    views = Views(many)
    opened(views, "c1")
    number = views.collection("c1").active.id
    with statements(many) as asked:
        assert held(views) == {"c1"}
    assert [number in parameters for statement, parameters in asked if "generation" in statement] == [True]
