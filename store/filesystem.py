"""Detect network file systems, on which SQLite's locks and shared memory are not reliable."""

from __future__ import annotations

import re
from pathlib import Path

from core.errors import StorageError

MOUNTS = Path("/proc/self/mountinfo")  # Linux only; elsewhere the file system is unknown
_NETWORK = frozenset("nfs nfs4 cifs smb3 smbfs ncpfs 9p afs ceph glusterfs lustre beegfs gpfs davfs".split())
_NETWORK_FUSE = re.compile(
    r"fuse\.(sshfs|nfs.*|smb.*|glusterfs|ceph.*|s3fs|rclone|gcsfuse|goofys|davfs2?|afp|cifs|moosefs|juicefs)"
)
_OCTAL = re.compile(r"\\(\d{3})")  # escape of a character that would separate columns


def check_local(directory: Path) -> None:
    """Raises StorageError where `directory`, which need not exist yet, lies on a network file system."""
    kind = file_system(directory)
    if kind in _NETWORK or _NETWORK_FUSE.fullmatch(kind or ""):
        raise StorageError(
            f"data directory {directory}: lies on a network file system ({kind}), where SQLite's locks and shared "
            "memory do not hold and what was written may be lost. Put it on a local disk, only backups there. Where "
            "one machine alone uses it and its locks do hold, the setting allow_network_file_system permits it"
        )


def file_system(directory: Path) -> str | None:
    """The type of the file system, as the kernel names it: ext4, nfs4, fuse.sshfs. None where it is unknown."""
    try:
        mounts = MOUNTS.read_text("utf-8", "surrogateescape")
    except OSError:
        return None
    place, found = directory.resolve(), (-1, "")
    for line in mounts.splitlines():
        # Source: proc_pid_mountinfo(5). Optional fields end with a lone hyphen.
        before, _, behind = line.partition(" - ")
        mounted = Path(_OCTAL.sub(lambda code: chr(int(code[1], 8)), before.split(" ")[4]))
        # The longest mount point counts; of several at the same one, the last.
        if place.is_relative_to(mounted) and len(mounted.parts) >= found[0]:
            found = (len(mounted.parts), behind.split(" ")[0])
    return found[1] or None
