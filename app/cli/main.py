"""Entry point of the command `salience`: runs the command line and turns errors into exit codes."""

from __future__ import annotations

import errno
import io
import os
import signal
import sys
from importlib.metadata import version
from typing import Annotated

import typer

from app.cli.commands import Commands
from app.cli.terminal import complain, note
from core.errors import SalienceError, StorageFull

INTERRUPTED = 128 + signal.SIGINT
_UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # there is no room for the output
_LIBRARIES = {
    "OMP_WAIT_POLICY": "PASSIVE",  # threads that busy-wait make a loaded machine four times slower
    "TOKENIZERS_PARALLELISM": "false",  # one thread is fast enough, and forks print no warning
    "HF_HUB_OFFLINE": "1",  # models are local folders; nothing is downloaded
}

app = typer.Typer(
    cls=Commands,
    help="Semantic search that can be steered and explains its scores.",
    epilog="Start with: salience demo",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"salience {version('salience')}")
        raise typer.Exit


@app.callback()
def _salience(
    show_version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Semantic search that can be steered and explains its scores."""


def run(arguments: list[str] | None = None) -> None:
    """Run the command line and exit: 0 success, 1 failure or closed output, 2 wrong usage, 130 interrupted."""
    for name, value in _LIBRARIES.items():
        os.environ.setdefault(name, value)  # before any of these libraries is imported
    _open_streams()
    try:
        try:
            app(arguments)
        finally:
            sys.stdout.flush()  # while a closed pipe can still be handled
    except SalienceError as error:
        complain(error.detail)
        if isinstance(error, StorageFull):
            note("What was committed before is safe. Free some space, and run the command again.")
        sys.exit(1)
    except SystemExit as exit:
        if exit.code == INTERRUPTED:  # typer exits with this on Ctrl-C
            note("Interrupted. What was committed before is safe; run the command again to go on.")
        raise
    except BrokenPipeError:
        _let_go_of_output()
        sys.exit(1)
    except OSError as error:
        if error.errno not in _UNWRITABLE:
            raise
        complain(f"cannot write: {error.strerror}")
        _let_go_of_output()
        sys.exit(1)


def _open_streams() -> None:
    """Open standard streams that were closed at the start as null devices, so that no file takes their descriptors."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115  # stays open until the process ends
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # for characters that a legacy encoding lacks


def _let_go_of_output() -> None:
    """Redirect standard output to the null device: Python flushes it again at exit, when nobody reads it any more."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
