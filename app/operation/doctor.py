"""What is wrong with a machine, its settings or a data directory, before users notice: and what to do about it."""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path

from app.operation.process import cores, open_files_allowed
from app.settings import Settings
from core.errors import SalienceError, StorageError
from store.directory import DATABASE_NAME
from store.filesystem import file_system
from store.leftovers import leftovers
from store.maintenance import maintained_by
from store.migrate import SCHEMA_VERSION
from store.processes import processes
from store.readonly import open_read_only, schema_version

FEW_FILES = 4096  # allowed to be open: connections and segments take one each
FEW_BYTES = 2 * 2**30  # of memory that is available
LARGE_LOG_BYTES = 256 * 2**20
CLOCK_SECONDS = 120.0  # that a file may lie in the future
_BUILT_AT = 1_735_689_600  # seconds since 1970 of 2025-01-01: no clock that is right shows less
# Vector instructions as Linux calls them. With one of the first, reading every vector for a search is fast enough.
_ENOUGH = ("avx2", "asimd", "neon")  # asimd is neon to a 64-bit kernel
_MORE = ("avx512f", "avx512_bf16", "avx512_vnni", "amx_bf16")


class Level(StrEnum):
    OK = "ok"
    WARN = "warn"  # it works, and worse than it could
    FAIL = "fail"  # something does not work


@dataclass(frozen=True, kw_only=True, slots=True)
class Diagnosis:
    """One thing that was looked at."""

    name: str
    level: Level
    text: str  # what was found
    advice: str = ""  # what to do; empty where nothing is


Check = Callable[[Settings], Iterator[Diagnosis]]


def diagnose(settings: Settings, *checks: Check) -> Iterator[Diagnosis]:
    """Look at everything, `checks` last. One thing that cannot be looked at keeps none of the others from it."""
    for check in (_processor, _memory, _open_files, _clock, _disk, _data, _others, _access, *checks):
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


def _data(settings: Settings) -> Iterator[Diagnosis]:
    finding = partial(Diagnosis, name="data directory")
    directory = settings.data_dir
    if not (directory / DATABASE_NAME).exists():
        yield finding(level=Level.OK, text=f"{directory} holds no data yet", advice="add some: salience add PATH")
        return
    if not os.access(directory, os.W_OK):
        yield finding(
            level=Level.FAIL, text=f"{directory} cannot be written to", advice="even readers take locks in it"
        )
        return
    with open_read_only(directory) as connection:
        version = schema_version(connection)
        sound = connection.execute("PRAGMA schema_version").fetchone() is not None
    if version is None or not sound:
        yield finding(level=Level.FAIL, text=f"{directory} is no data directory of Salience", advice="name another")
    elif version == SCHEMA_VERSION:
        yield finding(level=Level.OK, text=f"schema {version}; SQLite {sqlite3.sqlite_version}")
    elif version < SCHEMA_VERSION:
        advice = "it is upgraded when it is opened next, after a backup; or now: salience migrate"
        yield finding(level=Level.WARN, text=f"schema {version}, this program's is {SCHEMA_VERSION}", advice=advice)
    else:
        advice = "upgrade the program"
        yield finding(level=Level.FAIL, text=f"schema {version} is newer than {SCHEMA_VERSION}", advice=advice)
    log = _size(directory / f"{DATABASE_NAME}-wal")
    large = log > LARGE_LOG_BYTES
    advice = (
        "a process keeps a read transaction open, or nobody maintains the directory: salience compact" if large else ""
    )
    yield Diagnosis(
        name="write-ahead log", level=Level.WARN if large else Level.OK, text=f"{log >> 20} MiB", advice=advice
    )
    old = leftovers(directory)
    if old:
        text = f"{len(old)} unfinished, {sum(one.bytes for one in old) >> 20} MiB"
        yield Diagnosis(name="leftovers", level=Level.OK, text=text, advice="they go after a day; salience stats")


def _others(settings: Settings) -> Iterator[Diagnosis]:
    if not settings.data_dir.is_dir():
        return
    there = processes(settings.data_dir)
    for one in there:
        fits = one.schema == SCHEMA_VERSION
        advice = "" if fits else "stop it: this program's schema is another"
        yield Diagnosis(name="process", level=Level.OK if fits else Level.FAIL, text=str(one), advice=advice)
    try:
        owner = maintained_by(settings.data_dir)
    except StorageError as error:
        yield Diagnosis(name="maintenance", level=Level.FAIL, text=error.message)
        return
    lonely = owner is None and bool(there)
    text = owner or ("nobody maintains the data directory" if lonely else "nobody, as no server or worker runs")
    advice = "restart one of the processes above" if lonely else ""
    yield Diagnosis(name="maintenance", level=Level.FAIL if lonely else Level.OK, text=text, advice=advice)


def _access(settings: Settings) -> Iterator[Diagnosis]:
    auth, host = settings.auth, settings.server.host
    if auth.weak:
        advice = "make one of 16 characters or more"
        yield Diagnosis(name="tokens", level=Level.WARN, text="a token is short enough to be guessed", advice=advice)
    local = host in ("localhost", "::1") or host.startswith("127.")
    if not local and not auth.accepted and not _has_keys(settings.data_dir):
        advice = "make a key (salience key create) or set SALIENCE_AUTH__TOKENS, unless all who reach it may do all"
        yield Diagnosis(name="access", level=Level.WARN, text=f"{host} is not this machine alone", advice=advice)


def _has_keys(directory: Path) -> bool:
    """Whether there ever was a key of the API, so that nobody is let in without one."""
    if not (directory / DATABASE_NAME).exists():
        return False
    with open_read_only(directory) as connection:
        if schema_version(connection) != SCHEMA_VERSION:  # the table may not be there yet
            return False
        return bool(connection.execute("SELECT EXISTS (SELECT 1 FROM api_key)").fetchone()[0])


def _processor_flags() -> set[str]:
    """As the kernel names them; empty where it does not tell."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines()
    except OSError:
        return set()
    found = next((line for line in lines if line.startswith(("flags", "Features"))), ":")
    return set(found.partition(":")[2].split())


def _available_memory() -> int | None:
    """Bytes, within the limits of a container; None where the system does not tell."""
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


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0
