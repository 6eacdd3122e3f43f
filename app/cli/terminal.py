"""Printing for all commands: results go to standard output, everything else to standard error.

rich prints no colours to a pipe or if NO_COLOR is set. Lines in a pipe are not wrapped either.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Container
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from app.settings import LogSettings

_TERMINAL = sys.stdout is not None and sys.stdout.isatty()  # None: it was closed before the command began
_PIPE_WIDTH = None if _TERMINAL else 100_000  # characters per line: output to another program is never cut
out = Console(highlight=False, markup=False, emoji=False, soft_wrap=not _TERMINAL, width=_PIPE_WIDTH)
err = Console(stderr=True, highlight=False, markup=False, emoji=False, soft_wrap=True)

GOOD = "bold green"
BAD = "red"
QUIET = "dim"


def print_json(value: Any) -> None:
    """Print a line of JSON to standard output. Characters outside ASCII are only escaped if its encoding is not UTF."""
    all_characters = (sys.stdout.encoding or "utf-8").lower().startswith("utf")
    sys.stdout.write(json.dumps(value, ensure_ascii=not all_characters, allow_nan=False) + "\n")


def note(message: str) -> None:
    """Print a remark to standard error."""
    err.print(plain(message), style=QUIET)


def announce(message: str, settings: LogSettings, *, level: int = logging.INFO, **facts: str) -> None:
    """Print a remark of a long-running command, or log it with `facts` if the log is JSON.

    The log must be configured already.
    """
    import structlog

    from app.logs import COMMAND, for_people  # not imported for commands that do not use a log

    if for_people(settings):
        note(message)
    else:
        structlog.get_logger(COMMAND).log(level, message, **facts)


def complain(message: str) -> None:
    """Print an error to standard error."""
    err.print(Text("error: ", style="bold red").append(plain(message)))


def plain(text: str) -> str:
    """`text` without control characters, which a terminal would obey, and lone surrogates, which it cannot show."""
    shown = "".join(c if c.isprintable() or c in "\n\t" else " " for c in text)
    return shown.encode("utf-8", "replace").decode()


def table(*headings: str, numbers: Container[str] = ()) -> Table:
    """An empty table; the columns in `numbers` are aligned right.

    In a narrow terminal cells are wrapped, not cut: half a name cannot be copied, and half a number is a wrong number.
    """
    made = Table(box=None, pad_edge=False)
    for heading in headings:
        made.add_column(heading, justify="right" if heading in numbers else "left", overflow="fold")
    return made


def progress_bar() -> Progress:
    """A live bar with count, rate and time left on standard error; prints nothing if that is no terminal."""
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        _Count(),
        _Rate(),
        TimeRemainingColumn(compact=True),
        console=err,
        transient=True,
        disable=not err.is_terminal,
    )


class _Count(ProgressColumn):
    def render(self, task: Task) -> Text:
        total = "" if task.total is None else f" of {int(task.total):,}"
        return Text(f"{int(task.completed):,}{total}")


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        rate = "" if speed is None else f"{speed:,.1f}/s"
        return Text(f"{rate} {task.fields.get('detail', '')}".strip(), style=QUIET)
