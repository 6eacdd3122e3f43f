"""On which file systems a data directory is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.errors import StorageError
from store import Database, filesystem


def mounts(*lines: tuple[str, str]) -> str:
    """As the kernel lists (mount point, type); optional fields vary in number."""
    return "".join(
        f"{number} 1 0:{number} / {point} rw {'shared:1 master:2 ' if number % 2 else ''}- {kind} some/source rw\n"
        for number, (point, kind) in enumerate(lines, start=20)
    )


@pytest.mark.parametrize(
    ("place", "kind"),
    [
        ("/srv/data", "ext4"),
        ("/mnt/share/data", "nfs4"),
        ("/mnt/share/local/data", "xfs"),
        ("/mnt/sharedata", "ext4"),  # a name that begins alike is another place
        ("/mnt/with space/x", "cifs"),
        ("/over", "9p"),  # mounted over: the last one counts
    ],
)
def test_the_innermost_mount_counts(place: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = mounts(
        ("/", "ext4"),
        ("/mnt/share/local", "xfs"),
        ("/mnt/share", "nfs4"),
        ("/mnt/with\\040space", "cifs"),
        ("/over", "tmpfs"),
        ("/over", "9p"),
    )
    (tmp_path / "mountinfo").write_text(listed)
    monkeypatch.setattr(filesystem, "MOUNTS", tmp_path / "mountinfo")
    assert filesystem.file_system(Path(place)) == kind


def test_the_kernel_s_own_list_is_understood(tmp_path: Path) -> None:
    assert filesystem.file_system(tmp_path) not in (None, "nfs4")
    assert filesystem.file_system(Path("/proc/self")) == "proc"


def test_where_no_list_is_nothing_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filesystem, "MOUNTS", tmp_path / "nowhere")
    assert filesystem.file_system(tmp_path) is None
    filesystem.check_local(tmp_path)


@pytest.mark.parametrize("kind", ["nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs", "fuse.s3fs"])
def test_a_network_file_system_is_refused_with_the_way_out(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mountinfo").write_text(mounts(("/", "ext4"), (str(tmp_path / "share"), kind)))
    monkeypatch.setattr(filesystem, "MOUNTS", tmp_path / "mountinfo")
    with pytest.raises(StorageError, match=rf"network file system \({kind}\).* allow_network_file_system"):
        Database.open(tmp_path / "share" / "data")
    assert not (tmp_path / "share").exists()
    Database.open(tmp_path / "share" / "data", allow_network=True).close()
    Database.open(tmp_path / "local").close()


def test_a_link_into_a_network_file_system_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "share").mkdir()
    (tmp_path / "data").symlink_to(tmp_path / "share")
    (tmp_path / "mountinfo").write_text(mounts(("/", "ext4"), (str(tmp_path / "share"), "nfs4")))
    monkeypatch.setattr(filesystem, "MOUNTS", tmp_path / "mountinfo")
    with pytest.raises(StorageError, match="nfs4"):
        Database.open(tmp_path / "data")
