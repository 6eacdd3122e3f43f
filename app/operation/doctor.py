"""Diagnoses problems of a machine, its settings or a data directory before users notice, with advice for each."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from app.operation.process import cores, open_files_allowed
from app.settings import Settings
from core.errors import SalienceError
from store.directory import DATABASE_NAME
from store.filesystem import file_system

FEW_FILES = 4096  # warn if fewer open files are allowed: connections and segments take one each
FEW_BYTES = 2 * 2**30  # of available memory, per worker process; warn if there is less
CLOCK_SECONDS = 120.0  # that a file's time may be in the future
_BUILT_AT = 1_735_689_600  # seconds since 1970 of 2025-01-01: a correct clock shows no earlier time
# Vector instructions by their names in Linux. Any of `_ENOUGH` makes reading every vector for a search fast enough.
_ENOUGH = ("avx2", "asimd", "neon")  # 64-bit kernels call neon asimd
_MORE = ("avx512f", "avx512_bf16", "avx512_vnni", "amx_bf16")


class Level(StrEnum):
    OK = "ok"
    WARN = "warn"  # it works, but worse than it could
    FAIL = "fail"  # something does not work


@dataclass(frozen=True, kw_only=True, slots=True)
class Diagnosis:
    """The result of one check."""

    name: str
    level: Level
    text: str  # what was found
    advice: str = ""  # what to do; empty if nothing


Check = Callable[[Settings], Iterator[Diagnosis]]


def diagnose(settings: Settings, *checks: Check) -> Iterator[Diagnosis]:
    """Check the machine, then run `checks`. A check that raises is reported as failed; the others still run."""
    for check in (_processor, _memory, _open_files, _clock, _disk, *checks):
        try:
            yield from check(settings)
        except SalienceError as error:
            yield Diagnosis(name=_name(check), level=Level.FAIL, text=error.message)
        except OSError as error:
            text = f"cannot be looked at: {error.strerror or error}"
            yield Diagnosis(name=_name(check), level=Level.FAIL, text=text)


def _name(check: Check) -> str:
    return getattr(check, "__name__", "check").strip("_").replace("_", " ")


def _processor(settings: Settings) -> Iterator[Diagnosis]:
    flags = _processor_flags()
    known = [name for name in (*_ENOUGH, *_MORE) if name in flags]
    text = f"{cores()} cores; {', '.join(known) or 'no vector instructions that are known here'}"
    slow = bool(flags) and flags.isdisjoint(_ENOUGH)
    advice = "every vector is read for a search: take a machine with AVX2 for large collections" if slow else ""
    yield Diagnosis(name="processor", level=Level.WARN if slow else Level.OK, text=text, advice=advice)


def _memory(settings: Settings) -> Iterator[Diagnosis]:
    available = _available_memory()
    if available is None:
        yield Diagnosis(name="memory", level=Level.OK, text="this system does not tell")
        return
    needed = FEW_BYTES * settings.server.workers
    few = available < needed
    advice = f"{settings.server.workers} worker(s) and the default model want {needed >> 20} MiB" if few else ""
    text = f"{available >> 20} MiB are available"
    yield Diagnosis(name="memory", level=Level.WARN if few else Level.OK, text=text, advice=advice)


def _open_files(settings: Settings) -> Iterator[Diagnosis]:
    allowed = open_files_allowed()
    few = allowed < FEW_FILES
    yield Diagnosis(
        name="open files",
        level=Level.WARN if few else Level.OK,
        text=f"{allowed} are allowed, of which half may be connections",
        advice=f"raise the limit to {FEW_FILES} or more: ulimit -Hn, LimitNOFILE= of systemd" if few else "",
    )


def _clock(settings: Settings) -> Iterator[Diagnosis]:
    now = time.time()
    if now < _BUILT_AT:
        yield Diagnosis(
            name="clock", level=Level.FAIL, text=f"shows {time.strftime('%Y-%m-%d', time.gmtime(now))}",
            advice="set it: keys expire and signatures hold by it",
        )  # fmt: skip
        return
    files = (settings.data_dir / name for name in (DATABASE_NAME, f"{DATABASE_NAME}-wal"))
    ahead = max((file.stat().st_mtime - now for file in files if file.exists()), default=0.0)
    wrong = ahead > CLOCK_SECONDS
    yield Diagnosis(
        name="clock",
        level=Level.WARN if wrong else Level.OK,
        text=f"the data is {ahead:.0f} s ahead of it: it was set back" if wrong else "runs as the data's",
        advice="let it be set from the network (NTP); keys expire and signatures hold by it" if wrong else "",
    )


def _disk(settings: Settings) -> Iterator[Diagnosis]:
    place = next(path for path in (settings.data_dir, *settings.data_dir.absolute().parents) if path.exists())
    free, floor = shutil.disk_usage(place).free, settings.limits.free_bytes
    size = sum(file.stat().st_size for file in settings.data_dir.glob(f"{DATABASE_NAME}*"))
    if free < floor:
        level, advice = Level.FAIL, f"make room: below {floor >> 20} MiB (limits.free_bytes) a server is not ready"
    elif free < size:
        level, advice = Level.WARN, "an upgrade, compact --vacuum and a backup take the database's size once more"
    else:
        level, advice = Level.OK, ""
    kind = file_system(place) or "of a kind that is not known"
    text = f"{free >> 20} MiB free, the database has {size >> 20}; the file system is {kind}"
    yield Diagnosis(name="disk", level=level, text=text, advice=advice)


def _processor_flags() -> set[str]:
    """Return the processor's feature flags by their names in the kernel; empty if unavailable."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines()
    except OSError:
        return set()
    found = next((line for line in lines if line.startswith(("flags", "Features"))), ":")
    return set(found.partition(":")[2].split())


def _available_memory() -> int | None:
    """Return the available memory in bytes, within a container's limit; None if the system does not report it."""
    try:
        lines = Path("/proc/meminfo").read_text("ascii").splitlines()
    except OSError:
        return None
    free = next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), None)
    try:
        most = Path("/sys/fs/cgroup/memory.max").read_text("ascii").strip()
        used = int(Path("/sys/fs/cgroup/memory.current").read_text("ascii"))
    except (OSError, ValueError):
        return free
    return free if not most.isdigit() or free is None else max(0, min(free, int(most) - used))
