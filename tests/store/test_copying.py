"""Copies of a directory that do not come to their end."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest

from core.errors import StorageFull
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
