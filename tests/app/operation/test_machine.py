"""What of the machine a process may hold: cores, addresses."""

from __future__ import annotations

import gc
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from app.operation import process

ALLOWED = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
_QUOTA_OF_ONE = {"cpu/cpu.cfs_quota_us": "100000\n", "cpu/cpu.cfs_period_us": "100000\n"}


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("groups", "files", "cores"),
    [
        ("0::/\n", {"cpu.max": "100000 100000\n"}, 1),  # as a container of its own namespace sees it
        ("0::/\n", {"cpu.max": "40000 100000\n"}, 1),
        ("0::/\n", {"cpu.max": "max 100000\n"}, None),
        ("0::/\n", {"cpu.max": "100000000 100000\n"}, None),  # more than the machine has
        ("0::/\n", {}, None),
        ("0::/a/b\n", {"a/b/cpu.max": "max 100000\n", "a/cpu.max": "100000 100000\n"}, 1),  # that of the one around
        ("0::/outside\n", {"cpu.max": "100000 100000\n"}, 1),
        ("0::/a\n", {"b/cpu.max": "100000 100000\n"}, None),  # another group's
        ("4:cpuset:/\n2:cpu,cpuacct:/docker/1\n", _QUOTA_OF_ONE, 1),
        ("2:cpu:/\n0::/\n", {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ("2:memory:/\n", _QUOTA_OF_ONE, None),
        ("2:cpu,cpuacct:/a\n", {f"cpu,cpuacct/a/{name[4:]}": text for name, text in _QUOTA_OF_ONE.items()}, 1),
        (None, {}, None),  # a system without control groups
        ("0::/\n", {"cpu.max": ""}, None),
        ("0::/\n", {"cpu.max": "100000\n"}, None),
        ("0::/\n", {"cpu.max": "100000 0\n"}, None),
        ("0::/\n", {"cpu.max": "100000 100000 7\n"}, None),
        ("0::/\n", {"cpu.max": "one 100000\n"}, None),
        ("0::/\n", {"cpu.max": "\u0661 100000\n"}, None),
        ("0::/\n", {"cpu.max": "9" * 400 + " 1\n"}, None),
        ("0::/\n", {"cpu.max/not_a_file": ""}, None),
        ("0::/a\x00b\n", {"cpu.max": "100000 100000\n"}, 1),
        ("", {"cpu.max": "100000 100000\n"}, None),
        ("\n0\n0:\n::\n", {}, None),
        ("0:\n0::/\n", {"cpu.max": "100000 100000\n"}, 1),  # what is sound counts beside what is not
        ("0::/a\n", {"a/cpu.max": "\n", "cpu.max": "100000 100000\n"}, 1),
        ("2:cpu:/\n", {**_QUOTA_OF_ONE, "cpu/cpu.cfs_period_us": "0\n"}, None),
        ("2:cpu:/\n", {**_QUOTA_OF_ONE, "cpu/cpu.cfs_quota_us": "none\n"}, None),
    ],
)
def test_a_containers_quota_counts(
    groups: str | None, files: dict[str, str], cores: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if groups is not None:
        (tmp_path / "cgroup").write_text(groups)
    for name, content in files.items():
        (tmp_path / "limits" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "limits" / name).write_text(content)
    monkeypatch.setattr(process, "_GROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(process, "_LIMITS", tmp_path / "limits")
    assert process.cores() == (ALLOWED if cores is None else cores)


def test_part_of_a_core_counts_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    monkeypatch.setattr(process, "_quotas", lambda: iter([8.0, 1.5]))
    assert process.cores() == 2


def test_torch_takes_no_more_threads_than_the_quota(threads: None, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(2)
    monkeypatch.setattr(process, "cores", lambda: 1)
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    process.compute_within_quota()
    assert torch.get_num_threads() == 2
    monkeypatch.delenv("OMP_NUM_THREADS")
    process.compute_within_quota()
    assert torch.get_num_threads() == 1
    monkeypatch.setattr(process, "cores", lambda: 64)  # of which torch chose fewer
    process.compute_within_quota()
    assert torch.get_num_threads() == 1


def test_an_address_that_is_taken_leaves_no_socket_open() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        host, port = taken.getsockname()
        with pytest.raises(OSError, match="in use"):
            process.bound(host, port)
        gc.collect()  # a socket that is left open warns, and warnings are errors
    with process.bound(host, 0) as free:
        assert free.getsockname()[0] == host
