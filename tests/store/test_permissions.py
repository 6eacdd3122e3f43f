"""Files that another user made in a data directory, and whose those are that root restores."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from store import Database
from store.backup import _hand_over, _note, backup, last_backup, restore
from store.directory import LAST_BACKUP
from store.permissions import unusable, user_of

SOMEBODY, NOBODY = 54321, 54322
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    Database.open(tmp_path / "data").close()
    (tmp_path / "data" / "segments").mkdir(exist_ok=True)
    (tmp_path / "data" / "segments" / "file").touch()
    for path in (tmp_path / "data", *(tmp_path / "data").rglob("*")):
        os.chown(path, SOMEBODY, SOMEBODY)
    return tmp_path / "data"


@pytest.fixture
def as_somebody(tmp_path: Path) -> Iterator[None]:
    """Asks the kernel as that user, who may pass through the directories above."""
    closed = [path for path in tmp_path.parents if path.stat().st_mode & 0o001 == 0]
    modes = [path.stat().st_mode for path in closed]
    for path, mode in zip(closed, modes, strict=True):
        path.chmod(mode | 0o011)
    tmp_path.chmod(0o755)
    os.seteuid(SOMEBODY)
    try:
        yield
    finally:
        os.seteuid(0)
        for path, mode in zip(closed, modes, strict=True):
            path.chmod(mode)


def found(directory: Path) -> dict[str, str]:
    return {str(one.path.relative_to(directory)): one.owner for one in unusable(directory)}


def test_root_judges_for_the_owner_of_the_directory(data: Path) -> None:
    assert (user_of(data), found(data)) == (str(SOMEBODY), {})
    os.chown(data / "segments", 0, 0)
    os.chown(data / "salience.db", NOBODY, NOBODY)
    assert found(data) == {"segments": "root", "salience.db": str(NOBODY)}
    (data / "salience.db").chmod(0o666)
    assert found(data) == {"segments": "root"}


def test_files_of_segments_need_only_be_read(data: Path) -> None:
    os.chown(data / "segments" / "file", 0, 0)
    (data / "segments" / "file").chmod(0o644)
    assert found(data) == {}
    (data / "segments" / "file").chmod(0o640)
    assert found(data) == {"segments/file": "root"}


def test_a_user_is_told_what_the_kernel_refuses(data: Path, as_somebody: None) -> None:
    assert found(data) == {}
    os.seteuid(0)
    os.chown(data / "segments", 0, 0)
    os.chown(data / "migrate.lock", 0, 0)
    os.seteuid(SOMEBODY)
    assert (user_of(data), found(data)) == (str(SOMEBODY), {"segments": "root", "migrate.lock": "root"})


@pytest.mark.parametrize("closed", [".", "segments", "processes"])
def test_a_closed_folder_is_named_whatever_it_holds(data: Path, as_somebody: None, closed: str) -> None:
    os.seteuid(0)
    (data / "processes").mkdir(exist_ok=True)
    (data / "processes" / "file").touch()
    os.chown(data / closed, 0, 0)
    for mode in (0o700, 0o744):
        (data / closed).chmod(mode)
        os.seteuid(SOMEBODY)
        assert next(iter(found(data).items())) == (closed, "root")
        os.seteuid(0)


def test_files_of_models_need_only_be_read_but_for_their_locks(data: Path) -> None:
    for name in ("projections", "remote-models"):
        (data / name).mkdir(mode=0o755)
        os.chown(data / name, SOMEBODY, SOMEBODY)
    (data / "projections" / "closed").touch(mode=0o600)
    (data / "remote-models" / "pin").touch(mode=0o644)
    (data / "remote-models" / "pin.lock").touch(mode=0o644)
    assert found(data) == {"projections/closed": "root", "remote-models/pin.lock": "root"}


def test_a_backup_is_noted_over_the_note_of_another_user(data: Path, as_somebody: None) -> None:
    os.seteuid(0)
    (data / LAST_BACKUP).touch(mode=0o644)
    os.utime(data / LAST_BACKUP, (1, 1))
    os.seteuid(SOMEBODY)
    _note(data / LAST_BACKUP)
    assert last_backup(data) > 1


@pytest.mark.parametrize("owner", [SOMEBODY, 0])
def test_what_root_restores_is_its_owners(data: Path, tmp_path: Path, owner: int) -> None:
    backup(data, tmp_path / "backup")
    target = tmp_path / "restored"
    target.mkdir()
    os.chown(target, owner, owner)
    restore(tmp_path / "backup", target)
    assert {(path.stat().st_uid, path.stat().st_gid) for path in (target, *target.rglob("*"))} == {(owner, owner)}
    assert found(target) == {}


def test_root_gives_away_no_file_that_a_link_leads_to(data: Path, tmp_path: Path) -> None:
    """The owner of the directory could have put it there."""
    other = tmp_path / "other"
    other.touch()
    (data / "migrate.lock").unlink()
    (data / "migrate.lock").symlink_to(other)
    _hand_over(data, data / "segments")
    assert other.stat().st_uid == 0


def test_a_backup_is_noted_in_the_directory_and_not_where_a_link_leads_to(data: Path, tmp_path: Path) -> None:
    (data / LAST_BACKUP).symlink_to(tmp_path / "other")
    _note(data / LAST_BACKUP)
    assert last_backup(data) > 0
    assert not (tmp_path / "other").exists()
