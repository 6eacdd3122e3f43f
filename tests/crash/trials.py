"""Restoring a backup and upgrading an old directory: killed or cut off anywhere, and then done again."""

from __future__ import annotations

import json
import pickle
import random
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from core.errors import StorageError
from store import Database
from store.backup import restore
from store.directory import BACKUPS, DATABASE_NAME
from store.verify import verify
from tests.crash.chain import Chain
from tests.crash.check import Findings, state_of
from tests.crash.child import Orders
from tests.crash.disk import cuts, moments
from tests.crash.running import Tally, live
from tests.store.versions import VERSIONS, write_version

_KEPT = Path("projections", "kept.safetensors")  # a file that belongs to the collections
_Look = Callable[[Path, bool], Findings]  # at a home, after it was acknowledged or was not


def restoring(home: Path, seed: int, steps: list[str], cut_count: int) -> Tally:
    """Kill a restore at each of `steps`, and cut its power; the backup is of a directory that was written to."""
    chain = Chain(home / "source", seed)
    (home / "source" / "data" / _KEPT).parent.mkdir(parents=True)
    (home / "source" / "data" / _KEPT).write_bytes(b"numbers")
    while chain.newest_backup() is None:
        chain.survey(20)
    name, oracle = chain.newest_backup(), chain.oracle()
    assert name is not None

    def look(where: Path, acknowledged: bool) -> Findings:
        findings, restored = Findings(), where / "restored"
        there = (restored / DATABASE_NAME).exists()
        if acknowledged and not there:
            findings.add("lost", "what was restored")
        if not there:
            restore(where / "backups" / name, restored)
        _verified(restored, findings)
        if not (restored / _KEPT).is_file() or (restored / _KEPT).read_bytes() != b"numbers":
            findings.add("lost", f"{_KEPT}, or what it held")
        database = Database.open(restored)
        for problem in oracle.backup_can_be(state_of(database), name):
            findings.add("lost", problem)
        database.close()
        return findings

    def prepare(where: Path) -> None:
        shutil.copytree(home / "source" / "backups" / name, where / "backups" / name)

    tally = chain.tally
    tally.add(_trial(home, seed, "restore", name, steps, cut_count, prepare, look))
    return tally


def migrating(home: Path, seed: int, steps: list[str], cut_count: int) -> Tally:
    """Kill an upgrade at each of `steps`, and cut its power."""
    versions = random.Random(seed)

    def look(where: Path, acknowledged: bool) -> Findings:
        findings, data = Findings(), where / "data"
        version = _version_of(data)
        if acknowledged and version in VERSIONS:
            findings.add("lost", "the upgrade")
        if version not in VERSIONS and not list((data / BACKUPS).glob("schema-*")):
            findings.add("lost", "the backup that is made before an upgrade")
        try:
            database = Database.open(data)
        except StorageError as error:
            findings.add("damaged", f"it cannot be opened: {error}")
            return findings
        texts = {id: document.text for id, document in state_of(database)["books"].items()}
        if texts != {"d1": "whale whale", "d2": "ship"}:
            findings.add("lost", f"documents: {texts}")
        database.close()
        _verified(data, findings)
        return findings

    def prepare(where: Path) -> None:
        where.mkdir(parents=True)
        write_version(where / "data", versions.choice(VERSIONS))

    return _trial(home, seed, "migrate", "", steps, cut_count, prepare, look)


def _trial(
    home: Path,
    seed: int,
    task: str,
    backup: str,
    steps: list[str],
    cut_count: int,
    prepare: Callable[[Path], None],
    look: _Look,
) -> Tally:
    tally, chance, place = Tally(), random.Random(seed), home / task
    for step in steps:
        prepare(place)
        occurrence = chance.choice((1, 2)) if step == "restore.renamed" else 1  # of the folder, of the database
        life = live(Orders(task=task, home=str(place), backup=backup, step=step, occurrence=occurrence))
        tally.kills += life.killed
        tally.steps.update(life.steps)
        where = f"seed {seed}, {task} killed at {step}"
        tally.take(life.findings(), where)
        tally.take(look(place, not life.killed), where)
        shutil.rmtree(place)
    if cut_count:
        _cut(home, seed, task, backup, cut_count, prepare, look, tally)
    return tally


def _cut(
    home: Path,
    seed: int,
    task: str,
    backup: str,
    count: int,
    prepare: Callable[[Path], None],
    look: _Look,
    tally: Tally,
) -> None:
    chance, place, recording = random.Random(seed), home / task, home / "recording"
    prepare(place)
    before = home / "before"
    shutil.copytree(place, before)
    life = live(Orders(task=task, home=str(place), backup=backup, recording=str(recording)))
    tally.take(life.findings(), f"seed {seed}, {task} that was recorded")
    events = pickle.loads(recording.read_bytes())
    for moment, disk in cuts(before, events, [*moments(events, count - 1, chance), len(events)]):
        disk.cut(chance, home / "cut")
        tally.power_cuts += 1
        acknowledged = any(event[0] in ("RESTORED", "MIGRATED") for event in events[:moment])
        where = f"seed {seed}, {task}, power cut after event {moment} of {len(events)}, {events[moment - 1][:2]}"
        tally.take(look(home / "cut", acknowledged), where)
        shutil.rmtree(home / "cut")
    shutil.rmtree(place)
    shutil.rmtree(before)


def _verified(directory: Path, findings: Findings) -> None:
    for finding in verify(directory).findings:
        findings.add("damaged", json.dumps([finding.where, finding.problem]))


def _version_of(data: Path) -> str:
    with closing(sqlite3.connect(data / DATABASE_NAME)) as connection:
        return str(connection.execute("SELECT version_num FROM alembic_version").fetchone()[0])
