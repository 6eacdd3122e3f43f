"""Copies of a directory that do not come to their end."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest

from core.errors import StorageError, StorageFull
from store import copying
from store.backup import backup
from store.directory import KEPT_FOLDERS, SEGMENTS
from tests.store.stocked import stock


@pytest.mark.parametrize("folder", [*KEPT_FOLDERS, SEGMENTS])
def test_a_disk_that_gets_full_while_folders_are_copied_is_said_to_be_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    stock(tmp_path / "data")
    for name in KEPT_FOLDERS:
        (tmp_path / "data" / name).mkdir()
        (tmp_path / "data" / name / "file").write_bytes(b"numbers")
    copyfile = shutil.copyfile

    def copy(source: Path, target: Path, **options: bool) -> object:
        if Path(source).parent.name == folder:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return copyfile(source, target, **options)

    monkeypatch.setattr(shutil, "copyfile", copy)
    with pytest.raises(StorageFull, match="no room to write"):
        backup(tmp_path / "data", tmp_path / "backup")
    assert not (tmp_path / "backup").exists()


@pytest.mark.parametrize("back", [True, False], ids=["renamed back", "not renamed back"])
def test_a_backup_that_fails_once_it_has_its_name_has_it_no_longer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, back: bool
) -> None:
    """It was renamed, but the folder that it stands in could not be synced."""
    stock(tmp_path / "data")
    target, rename = tmp_path / "made" / "backup", Path.rename

    def fail(path: Path) -> None:
        if path == target.parent:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    def renamed(self: Path, to: Path) -> Path:
        if self == target and not back:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return rename(self, to)

    monkeypatch.setattr(copying, "sync", fail)
    monkeypatch.setattr(Path, "rename", renamed)
    with pytest.raises(StorageError):
        backup(tmp_path / "data", target)
    assert target.exists() != back
    assert [path.name for path in target.parent.iterdir()] == ([] if back else ["backup"])
