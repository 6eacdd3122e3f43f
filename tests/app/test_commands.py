"""The list of commands says of each what the command says of itself, and loads none."""

import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from app.cli.commands import COMMANDS, PANELS


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_quotes_the_commands_own_help(name: str) -> None:
    entry = COMMANDS[name]
    found = getattr(importlib.import_module(f"app.cli.{entry.module}"), entry.attribute)
    own = found.info.help if isinstance(found, typer.Typer) else inspect.getdoc(found)
    assert " ".join(own.split()).startswith(entry.help)


def test_each_command_is_in_one_panel() -> None:
    assert sorted(name for names in PANELS.values() for name in names) == sorted(COMMANDS)


def test_help_loads_neither_torch_nor_the_database() -> None:
    shown, loaded = _help()
    assert all(name in shown for name in COMMANDS)
    assert not loaded & {"torch", "numpy", "sqlalchemy", "pydantic", "fastapi", "tokenizers"}


@pytest.mark.parametrize("command", ["search", "explain", "delete"])
def test_help_of_a_frequent_command_loads_no_database(command: str) -> None:
    shown, loaded = _help(command)
    assert "--data-dir" in shown
    assert not loaded & {"torch", "sqlalchemy", "faiss", "pydantic_settings", "fastapi", "tokenizers"}


def _help(*command: str) -> tuple[str, set[str]]:
    """What `salience ... --help` shows, and the modules that it loads."""
    program = f"import sys; sys.argv = ['salience', *{command!r}, '--help']; from app.cli.main import run\n"
    program += "try: run()\nexcept SystemExit: print('loaded:', *sys.modules)"
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=root, check=True)
    shown, _, loaded = done.stdout.partition("loaded: ")
    assert "typer" in loaded.split()
    return shown, set(loaded.split())
