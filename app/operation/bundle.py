"""Writes a debug bundle: an archive that describes a server to someone who helps, without the data in it.

It contains no texts, ids or secrets. Names of collections are replaced throughout by c1, c2, ..., in the order in which
the collections were created.
"""

from __future__ import annotations

import io
import json
import os
import platform
import re
import secrets
import sqlite3
import tarfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from importlib.metadata import distributions
from pathlib import Path
from typing import Any, BinaryIO

from app.addresses import shown_address, shown_text
from app.operation.doctor import Diagnosis
from app.settings import Settings
from core.errors import Conflict, SalienceError, UnwritableFile
from store.directory import DATABASE_NAME
from store.processes import processes
from store.readonly import open_read_only
from store.statistics import statistics

_SECONDS = 5.0  # timeout for a server's metrics
_LABEL = re.compile(r'(?<=collection=")(?:[^"\\]|\\.)*(?=")')

Ask = Callable[[str, str | None, float], str]  # (address, token, timeout in seconds): the text of the response


class Names:
    """Maps the names of collections to their aliases in a bundle."""

    def __init__(self, directory: Path) -> None:
        """Read the names from the data directory. Raises StorageError."""
        self._aliases: dict[str, str] = {}
        if (directory / DATABASE_NAME).exists():
            with open_read_only(directory) as connection:
                rows = connection.execute("SELECT name FROM collection ORDER BY id").fetchall()
            self._aliases = {name: f"c{number}" for number, (name,) in enumerate(rows, start=1)}

    def alias(self, name: str) -> str:
        return self._aliases.get(name, "c0")  # created or deleted meanwhile


def write_bundle(target: Path, settings: Settings, found: Iterable[Diagnosis], names: Names, ask: Ask) -> list[str]:
    """Write the bundle to `target`, and return the names of its parts.

    A part that cannot be obtained contains the reason instead. `ask`: fetches the metrics of a server. The file appears
    under its name only when it is complete. Raises Conflict if it exists already, UnwritableFile if it cannot be
    written.
    """
    _check_absent(target)
    checks = [asdict(one) for one in found]
    parts: dict[str, Callable[[], str]] = {
        "doctor.json": lambda: _json(checks),
        "settings.json": lambda: _json(_shown(settings.model_dump(mode="json"))),
        "versions.json": lambda: _json(_versions()),
        "stats.json": lambda: _json(_statistics(settings.data_dir, names)),
        "schema.sql": lambda: _schema(settings.data_dir),
        "metrics.txt": lambda: _metrics(settings, names, ask),
    }
    try:
        with _new_file(target) as file, tarfile.open(fileobj=file, mode="w:gz") as bundle:
            for name, make in parts.items():
                try:
                    content = shown_text(make())
                except (SalienceError, OSError, sqlite3.Error) as error:
                    content = shown_text(f"cannot be had: {error}\n")
                _add(bundle, f"salience-debug/{name}", content.encode("utf-8", "backslashreplace"))
    except OSError as error:
        raise UnwritableFile(f"{target} cannot be written: {error.strerror or error}") from None
    return list(parts)


def _check_absent(target: Path) -> None:
    if os.path.lexists(target):
        raise Conflict(f"{target} is there already; name another file")


@contextmanager
def _new_file(target: Path) -> Iterator[BinaryIO]:
    """Open a file that becomes `target` when the block ends, and is removed if it raises. Raises Conflict, OSError."""
    unfinished = target.parent / f".{target.name}.unfinished-{secrets.token_hex(4)}"
    try:
        with unfinished.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        _check_absent(target)
        try:
            os.link(unfinished, target)  # a rename would replace a file created meanwhile
        except FileExistsError:
            _check_absent(target)
            raise
        except OSError:  # the file system has no hard links
            unfinished.rename(target)
    finally:
        unfinished.unlink(missing_ok=True)


def _shown(value: Any) -> Any:
    """Return the settings with their URLs redacted."""
    if isinstance(value, dict):
        return {name: _shown(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_shown(one) for one in value]
    return shown_address(value) if isinstance(value, str) and "://" in value else value


def _add(bundle: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mtime, entry.mode = len(content), int(time.time()), 0o600
    bundle.addfile(entry, io.BytesIO(content))


def _versions() -> dict[str, Any]:
    installed = {one.metadata["Name"]: one.version for one in distributions()}
    return {
        "python": platform.python_version(),
        "system": platform.platform(),
        "machine": platform.machine(),
        "sqlite": sqlite3.sqlite_version,
        "packages": dict(sorted(installed.items())),
    }


def _statistics(directory: Path, names: Names) -> Mapping[str, Any]:
    found = statistics(directory)
    body = asdict(found)
    for one, own in zip(body["collections"], found.collections, strict=True):
        one["name"] = names.alias(own.name)
    for one, leftover in zip(body["leftovers"], found.leftovers, strict=True):
        one["path"] = str(leftover.path)
    return body


def _schema(directory: Path) -> str:
    with open_read_only(directory) as connection:
        rows = connection.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY name").fetchall()
    return "".join(f"{statement};\n" for (statement,) in rows)


def _metrics(settings: Settings, names: Names, ask: Ask) -> str:
    """Return the metrics of the data directory's first server that answers, or comments with the reasons."""
    token = next(iter(settings.auth.accepted), None)
    reasons = []
    for address in sorted({one.address for one in processes(settings.data_dir) if one.address is not None}):
        try:
            text = ask(f"{address}/metrics", token, _SECONDS)
        except OSError as error:
            reasons.append(f"{address}: {error}")
            continue
        return _LABEL.sub(lambda label: _alias_of_label(label[0], names), text)
    return "".join(f"# {reason}\n" for reason in reasons) or "# no server is running\n"


def _alias_of_label(label: str, names: Names) -> str:
    name = label.replace(r"\"", '"').replace(r"\n", "\n").replace(r"\\", "\\")
    return label if name == "other" else names.alias(name)


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, default=str) + "\n"
