"""Faults put into the program's sources as a child loads them: each one must be noticed, or the tests prove nothing."""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import sys
from collections.abc import Sequence
from types import ModuleType

_COMMITTED = '    reached(f"{area}.committed")\n'
_RENAMING = """\
    for (name, _), _ in files:
        path = database.directory / SEGMENTS / name
        path.with_name(f"{name}.unfinished").rename(path)
"""

# By name: module, what stands there, and what is put in its place. What no longer stands there fails the test.
SABOTAGES: dict[str, tuple[tuple[str, str, str], ...]] = {
    "synchronous=NORMAL": (("store.database", '"synchronous = FULL"', '"synchronous = NORMAL"'),),
    "directories not synced": (("core.syncing", 'if path.is_dir() and os.name == "nt":', "if path.is_dir():"),),
    "row committed before the file is renamed": (
        ("store.segments.files", "            unfinished.rename(directory / name)\n", ""),
        ("store.segments.sealing", _COMMITTED, _COMMITTED + _RENAMING),
        ("store.segments.sealing", "if not (there and ", "if not ("),
    ),
    "no fence for jobs": (
        ("store.jobs.lease", "& (job.c.token == lease.token) & job.c.state.in_(states)", ""),
        ("store.jobs.work", ".rowcount != 1:", ".rowcount > 1:"),
    ),
    "no fence for segments": (("store.segments.sealing", " and still(session)):", "):"),),
}


def apply(name: str) -> None:
    """Before the modules are imported. Raises RuntimeError where one of them has been."""
    changes: dict[str, list[tuple[str, str]]] = {}
    for module, old, new in SABOTAGES[name]:
        if module in sys.modules:
            raise RuntimeError(f"{module} is imported already")
        changes.setdefault(module, []).append((old, new))
    sys.meta_path.insert(0, _Finder(changes))


class _Finder(importlib.abc.MetaPathFinder):
    def __init__(self, changes: dict[str, list[tuple[str, str]]]) -> None:
        self._changes = changes

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname not in self._changes:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path)
        assert spec is not None
        assert isinstance(spec.loader, importlib.machinery.SourceFileLoader)
        spec.loader = _Loader(fullname, spec.loader.path, self._changes[fullname])
        return spec


class _Loader(importlib.machinery.SourceFileLoader):
    def __init__(self, name: str, path: str, changes: list[tuple[str, str]]) -> None:
        super().__init__(name, path)
        self._changes = changes

    def get_code(self, fullname: str) -> object:  # type: ignore[override]
        source = self.get_data(self.path).decode()
        for old, new in self._changes:
            if source.count(old) != 1:
                raise RuntimeError(f"{fullname} has {old!r} {source.count(old)} times: name another place")
            source = source.replace(old, new)
        return compile(source, self.path, "exec")
