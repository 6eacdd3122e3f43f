"""What killed processes left behind goes when it is old, and nothing else does."""

from __future__ import annotations

import os
import time
from pathlib import Path

from store import Database
from store.leftovers import leftovers, remove_leftovers, remove_unfinished
from store.maintenance import Maintenance
from tests.store.maintaining import QUICK
from tests.waiting import until


def make_leftovers(directory: Path) -> dict[str, Path]:
    made = {
        "backup": directory / "backups" / ".schema-0003-x.unfinished-abc" / "salience.db",
        "projection": directory / "projections" / "m.safetensors.77.tmp",
        "pin": directory / "remote-models" / "pins.json123.tmp",
        "restore": directory / ".restoring" / "salience.db",
    }
    for path in made.values():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * 100)
    (directory / "backups" / "schema-0003-y").mkdir()
    (directory / "backups" / "schema-0003-y" / "salience.db").touch()
    (directory / "projections" / "m.safetensors").touch()
    return made


def age(directory: Path, hours: float) -> None:
    then = time.time() - hours * 3600
    for path in (*directory.rglob("*"), directory):
        os.utime(path, (then, then))


def test_leftovers_of_killed_processes_go_when_they_are_old(database: Database) -> None:
    directory = database.directory
    made = make_leftovers(directory)
    found = leftovers(directory)
    assert {leftover.bytes for leftover in found} == {100}
    assert len(found) == 4
    with Maintenance(database, lambda database: False, QUICK).running():
        time.sleep(0.4)
        assert all(path.exists() for path in made.values())
        age(directory, 25)
        made["pin"].write_bytes(b"still at work")
        until(lambda: len(leftovers(directory)) == 1)
    assert made["pin"].exists()
    assert (directory / "backups" / "schema-0003-y" / "salience.db").exists()
    assert (directory / "projections" / "m.safetensors").exists()
    assert not (directory / ".restoring").exists()


def test_a_clock_that_was_set_back_removes_nothing(database: Database) -> None:
    made = make_leftovers(database.directory)
    age(database.directory, -48)
    assert [leftover.age_seconds for leftover in leftovers(database.directory)] == [0.0] * 4
    assert remove_leftovers(database.directory) == []
    assert all(path.exists() for path in made.values())


def test_unfinished_backups_elsewhere_go_with_the_next_backup(tmp_path: Path) -> None:
    unfinished = tmp_path / ".monday.unfinished-x1"
    (unfinished / "projections").mkdir(parents=True)
    (unfinished / "salience.db").touch()
    (tmp_path / "monday").mkdir()
    assert remove_unfinished(tmp_path) == []
    age(tmp_path, 30)
    assert remove_unfinished(tmp_path) == [unfinished]
    assert (tmp_path / "monday").exists()
