"""The list of commands says of each what the command says of itself, and loads none."""

import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from app.cli.commands import COMMANDS


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_quotes_the_commands_own_help(name: str) -> None:
    entry = COMMANDS[name]
    found = getattr(importlib.import_module(f"app.cli.{entry.module}"), entry.attribute)
    own = found.info.help if isinstance(found, typer.Typer) else inspect.getdoc(found)
    assert " ".join(own.split()).startswith(entry.help)


def test_help_loads_neither_torch_nor_the_database() -> None:
    program = "import sys; sys.argv = ['salience', '--help']; from app.cli.main import run\n"
    program += "try: run()\nexcept SystemExit: print('loaded:', sorted(sys.modules))"
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=root, check=True)
    shown, _, loaded = done.stdout.partition("loaded: ")
    assert all(name in shown for name in COMMANDS)
    assert "'typer'" in loaded
    for heavy in ("torch", "numpy", "sqlalchemy", "pydantic", "fastapi", "tokenizers"):
        assert f"'{heavy}'" not in loaded
