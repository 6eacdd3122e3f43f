"""What the commands print with: results to standard output, everything else to standard error.

rich leaves out colour in a pipe and where NO_COLOR is set; in a pipe lines are not wrapped either.
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
_PIPE_WIDTH = None if _TERMINAL else 100_000  # of a line: what goes on to another program is never cut
out = Console(highlight=False, markup=False, emoji=False, soft_wrap=not _TERMINAL, width=_PIPE_WIDTH)
err = Console(stderr=True, highlight=False, markup=False, emoji=False, soft_wrap=True)

GOOD = "bold green"
BAD = "red"
QUIET = "dim"


def print_json(value: Any) -> None:
    """One line of JSON on standard output; characters outside ASCII as they are, where its encoding has them all."""
    all_characters = (sys.stdout.encoding or "utf-8").lower().startswith("utf")
    sys.stdout.write(json.dumps(value, ensure_ascii=not all_characters, allow_nan=False) + "\n")


def note(message: str) -> None:
    """A remark on standard error."""
    err.print(plain(message), style=QUIET)


def announce(message: str, settings: LogSettings, *, level: int = logging.INFO, **facts: str) -> None:
    """A remark of a command that goes on: a line of its log with `facts` where that is JSON. The log is set up."""
    import structlog

    from app.logs import COMMAND, for_people  # commands that end have no use for either

    if for_people(settings):
        note(message)
    else:
        structlog.get_logger(COMMAND).log(level, message, **facts)


def complain(message: str) -> None:
    """A failure on standard error."""
    err.print(Text("error: ", style="bold red").append(plain(message)))


def plain(text: str) -> str:
    """`text` without what a terminal would obey or could not show: control characters and lone surrogates."""
    shown = "".join(c if c.isprintable() or c in "\n\t" else " " for c in text)
    return shown.encode("utf-8", "replace").decode()


def table(*headings: str, numbers: Container[str] = ()) -> Table:
    """An empty table; the columns under `numbers` are flushed right.

    In a narrow terminal cells are folded: half a name cannot be copied, and half a number is another one.
    """
    made = Table(box=None, pad_edge=False)
    for heading in headings:
        made.add_column(heading, justify="right" if heading in numbers else "left", overflow="fold")
    return made


def progress_bar() -> Progress:
    """A live bar with count, rate and time left on standard error; nothing where that is no terminal."""
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
