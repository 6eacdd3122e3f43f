"""The list of commands. The module of a command is only imported when the command runs, not for `salience --help`."""

from __future__ import annotations

import importlib
from typing import Any, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command


class Entry(NamedTuple):
    """Where a command is defined, and its text in the list of commands: the first sentence of its own help."""

    module: str
    attribute: str  # a function, or a typer.Typer with commands of its own
    help: str


COMMANDS = {
    "add": Entry("add", "add", "Add documents to a collection, which is created if there is none of this name."),
    "search": Entry("search", "search", "Search a collection."),
    "explain": Entry("explain", "explain", "Explain why a hit has its score: a tree of numbers that add up."),
    "replay": Entry(
        "replay", "replay", "Compute saved explanations again, and say whether they still hold, or what has changed."
    ),
    "delete": Entry("delete", "delete", "Delete documents by id, or by filter."),
    "serve": Entry(
        "serve", "serve", "Serve the search page at /, the HTTP API under /v1 and its documentation at /docs."
    ),
    "demo": Entry("demo", "demo", "Index the docstrings of Python's standard library, then search, steer and explain."),
    "eval": Entry(
        "evaluate",
        "evaluate_command",
        "Measure nDCG@10, Recall@100 and MRR@10 of the sparse, the dense and the hybrid search.",
    ),
    "tune": Entry("tune", "tune", "Fit a collection's fusion and BM25 to judgements of your own."),
    "jobs": Entry("jobs", "app", "List, show, cancel and retry jobs."),
    "worker": Entry(
        "worker", "worker", "Work on jobs until it is told to stop; any number of workers may run at once."
    ),
    "collections": Entry("collections", "app", "List, show, create, change and delete collections."),
    "verify": Entry("verify", "verify", "Check that everything stored is what was written, and fits together."),
    "repair": Entry("repair", "repair", "Mend what is damaged from what is sound, and say what that was."),
    "compact": Entry("compact", "compact", "Merge the segments of each collection into one, and give room back."),
    "backup": Entry("backup", "backup", "Copy the data directory as it is at this moment, and verify the copy."),
    "restore": Entry("restore", "restore", "Restore a backup into a new or an empty data directory."),
    "migrate": Entry("migrate", "migrate", "Bring a data directory of an older version up to date, after a backup."),
    "stats": Entry("stats", "stats", "Show what the data directory holds, what takes the room, and what waits."),
    "key": Entry("keys", "app", "Create, list, rotate and revoke keys of the API."),
    "audit": Entry("audit", "audit", "Show what was done to keys and collections, by whom, and what came of it."),
    "doctor": Entry(
        "doctor", "doctor", "Check the machine, the settings, the model and the data directory, and say what to do."
    ),
    "debug-bundle": Entry(
        "debug_bundle", "debug_bundle", "Write a file for whoever helps: figures, settings and versions, and no data."
    ),
    "reindex": Entry("reindex", "app", "Make a collection anew, with another model or splitting, while it serves."),
    "alias": Entry("alias", "app", "Let a second name stand for a collection, and move it in one moment."),
    "models": Entry("models", "app", "List, show and check models, and fit them to fewer dimensions."),
}

PANELS = {
    "Search": ("add", "search", "explain", "replay", "delete", "demo"),
    "Collections": ("collections", "reindex", "alias", "models", "eval", "tune"),
    "Service": ("serve", "worker", "jobs", "key", "audit", "doctor", "debug-bundle"),
    "Data directory": ("stats", "verify", "repair", "compact", "backup", "restore", "migrate"),
}


class Commands(TyperGroup):
    """The group of all commands in COMMANDS, which are imported lazily."""

    def __init__(self, **attributes: Any) -> None:
        listed = {
            name: TyperCommand(name, help=COMMANDS[name].help, rich_help_panel=panel)
            for panel, names in PANELS.items()
            for name in names
        }
        super().__init__(**{**attributes, "commands": listed})

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """Import the command that is to be run."""
        name = args[0]
        if name not in COMMANDS:
            return super().resolve_command(ctx, args)  # refuses it, with a suggestion
        return name, _loaded(name, COMMANDS[name]), args[1:]


def _loaded(name: str, entry: Entry) -> Any:
    found = getattr(importlib.import_module(f"app.cli.{entry.module}"), entry.attribute)
    if not isinstance(found, typer.Typer):
        alone = typer.Typer(add_completion=False, rich_markup_mode="rich", pretty_exceptions_enable=False)
        alone.command(name)(found)
        found = alone
    command = get_command(found)
    command.name = name
    return command
