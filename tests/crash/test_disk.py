"""The disk that the power cuts are played on keeps what was synced, and may lose anything else."""

from __future__ import annotations

import pickle
import random
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.crash.campaign import scratch
from tests.crash.child import Orders
from tests.crash.disk import Disk, File
from tests.crash.running import live
from tests.crash.test_crash import recorded  # noqa: F401 - a fixture

_CUTS = 80


def outcomes(root: Path, *events: tuple[Any, ...]) -> set[frozenset[tuple[str, bytes]]]:
    """What many power cuts after `events` leave: files by path, with their content."""
    disk, found = Disk(root), set()
    for event in events:
        disk.apply(event)
    for number in range(_CUTS):
        target = root.with_name("cut")
        disk.cut(random.Random(number), target)
        found.add(frozenset(files(target)))
        shutil.rmtree(target)
    return found


def files(root: Path) -> Sequence[tuple[str, bytes]]:
    return [(str(path.relative_to(root)), path.read_bytes()) for path in root.rglob("*") if path.is_file()]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made = tmp_path / "root"
    made.mkdir()
    (made / "old").write_bytes(b"a" * 1024)
    return made


def test_what_is_synced_stays_and_what_is_not_may_go(root: Path) -> None:
    new = (("create", "new"), ("write", "new", 0, b"b"))
    assert outcomes(root, *new, ("sync", "new"), ("sync directory", ".")) == {
        frozenset({("old", b"a" * 1024), ("new", b"b")})
    }
    without_name = outcomes(root, *new, ("sync", "new"))
    assert without_name == {
        frozenset({("old", b"a" * 1024)}),
        frozenset({("old", b"a" * 1024), ("new", b"b")}),
    }
    without_content = outcomes(root, *new, ("sync directory", "."))
    assert without_content == {
        frozenset({("old", b"a" * 1024), ("new", b"")}),
        frozenset({("old", b"a" * 1024), ("new", b"b")}),
    }


def test_writes_are_torn_and_come_in_any_order(root: Path) -> None:
    events = (("write", "old", 0, b"b" * 1024), ("write", "old", 512, b"c" * 512))
    contents = {dict(outcome)["old"] for outcome in outcomes(root, *events)}
    halves = {(content[:1], content[-1:]) for content in contents}
    assert halves == {(b"a", b"a"), (b"b", b"a"), (b"a", b"b"), (b"b", b"b"), (b"a", b"c"), (b"b", b"c")}
    assert all(
        content in (half * 512 + rest * 512) for content in contents for half, rest in [(content[:1], content[-1:])]
    )


def test_a_renamed_file_has_one_of_its_names(root: Path) -> None:
    inner = (("mkdir", "inner"), ("sync directory", "."))
    for target in ("new", "inner/new"):
        found = outcomes(root, *inner, ("rename", "old", target))
        names = {frozenset(name for name, _ in outcome) for outcome in found}
        assert {frozenset({"old"}), frozenset({target})} <= names
        assert frozenset() not in names


def test_a_file_that_was_removed_may_come_back(root: Path) -> None:
    assert len(outcomes(root, ("unlink", "old"))) == 2
    assert outcomes(root, ("unlink", "old"), ("sync directory", ".")) == {frozenset()}


@given(st.lists(st.tuples(st.integers(0, 40), st.binary(max_size=30)) | st.integers(0, 40)), st.integers(0, 2**32))
def test_a_file_is_what_was_written_to_it(changes: list[tuple[int, bytes] | int], seed: int) -> None:
    """Against a plain buffer; and after a sync no power cut changes it."""
    file, plain = File(), bytearray()
    for change in changes:
        if isinstance(change, int):
            file.truncate(change)
            plain = plain[:change] + bytes(change - len(plain[:change]))
        else:
            file.write(*change)
            offset, data = change
            plain += bytes(max(0, offset - len(plain)))
            plain[offset : offset + len(data)] = data
    assert file.current == plain
    file.sync()
    assert file.after_cut(random.Random(seed)) == plain


@pytest.mark.usefixtures("recorded")
def test_the_recording_is_complete() -> None:
    """Played back, it gives the very files that the child left."""
    with scratch() as home:
        (home / "chain" / "backups").mkdir(parents=True)
        recording = home / "recording"
        disk = Disk(home / "chain")
        orders = Orders(
            task="write",
            home=str(home / "chain"),
            next_operations=(0, 0, 0),
            operations=6,
            recording=str(recording),
        )
        life = live(orders)
        assert life.complaint == ""
        for event in pickle.loads(recording.read_bytes()):
            if not event[0].isupper():
                disk.apply(event)
        played = {name: content for name, content in disk.contents().items() if _counts(name)}
        assert played == {name: content for name, content in files(home / "chain") if _counts(name)}
        assert any(name.endswith("salience.db-wal") for name in played)
        assert any(name.startswith("data/segments/") for name in played)


def _counts(name: str) -> bool:
    """Not locks, which nobody syncs, nor shared memory."""
    return not name.endswith((".lock", "-shm")) and "/processes/" not in name
