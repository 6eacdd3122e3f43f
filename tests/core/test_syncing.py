"""A file is on the disk before it has its name, and the name before anybody is told."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from core.syncing import replace_file


def test_a_file_is_synced_before_it_gets_its_name_and_the_name_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "file.json"
    file.write_bytes(b"old")
    seen: list[tuple[str, bytes]] = []
    fsync = os.fsync

    def synced(descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").resolve()
        seen.append(("folder" if path == tmp_path else path.suffix, file.read_bytes()))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", synced)
    replace_file(file, b"new")
    assert seen == [(".tmp", b"old"), ("folder", b"new")]
    assert list(tmp_path.iterdir()) == [file]


def test_what_cannot_be_written_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "file.json"
    file.write_bytes(b"old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        replace_file(file, b"new")
    assert file.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [file]
