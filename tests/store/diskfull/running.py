"""Runs scenarios, each a function of a disk and a folder on it, in a process of their own, and tells how they went."""

from __future__ import annotations

import gc
import inspect
import json
import logging
import os
import shutil
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from types import ModuleType

import pytest

from tests.store.diskfull.disk import Disk, command

ROOT = Path(__file__).resolve().parents[3]
Scenario = Callable[[Disk, Path], None]


def scenarios(module: ModuleType) -> list[str]:
    """Its public functions of a disk and a folder."""
    functions = inspect.getmembers(module, inspect.isfunction)
    return [name for name, made in functions if made.__module__ == module.__name__ and not name.startswith("_")]


def outcomes(module: ModuleType, kind: str, root: Path) -> dict[str, str]:
    """Of every scenario by name: empty, or the traceback of what went wrong. All in one process."""
    done = subprocess.run(
        [*command(kind, root, "tests.store.diskfull.running"), module.__name__],
        check=False, cwd=ROOT, capture_output=True, text=True, timeout=300, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
    return found


def _run(names: Iterable[str], module: ModuleType, disk: Disk) -> dict[str, str]:
    told = {}
    gc.disable()  # a statement that failed is closed with its error, not whenever garbage is collected
    for name in names:
        folder = disk.root / name
        folder.mkdir()
        try:
            getattr(module, name)(disk, folder)
        except (Exception, pytest.fail.Exception):  # noqa: BLE001 - told to the parent, which raises it
            told[name] = traceback.format_exc()
        else:
            told[name] = ""
        shutil.rmtree(folder)
        if left := _open_databases(folder):
            told[name] += f"left open: {left}"
        gc.collect()  # mapped segments keep their room on the disk
    return told


def _open_databases(folder: Path) -> list[str]:
    """What was deleted while it was open keeps its room on the disk."""
    descriptors = Path("/proc/self/fd").glob("*")  # none where there is no such folder
    opened = [os.readlink(descriptor) for descriptor in descriptors if os.path.lexists(descriptor)]
    return [path for path in opened if path.startswith(f"{folder}/") and "salience.db" in path]


if __name__ == "__main__":
    kind, root, module_name = sys.argv[1:]
    logging.disable(logging.CRITICAL)
    __import__(module_name)
    chosen = sys.modules[module_name]
    sys.stdout.write(json.dumps(_run(scenarios(chosen), chosen, Disk(kind, Path(root)))))
