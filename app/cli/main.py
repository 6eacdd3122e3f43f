"""The command `salience`."""

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
_UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # of the disk that the output goes to
_LIBRARIES = {
    "OMP_WAIT_POLICY": "PASSIVE",  # threads that spin while they wait make a busy machine four times slower
    "TOKENIZERS_PARALLELISM": "false",  # one thread is quick enough, and forks stay quiet
    "HF_HUB_OFFLINE": "1",  # models are folders; nothing is ever asked of the network
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
    """Run the command line and exit: 0 done, 1 failed or nobody reads on, 2 wrong usage, 130 interrupted."""
    for name, value in _LIBRARIES.items():
        os.environ.setdefault(name, value)  # before the first of them is imported
    _open_streams()
    try:
        try:
            app(arguments)
        finally:
            sys.stdout.flush()  # what is still in the buffer: here a reader that left can be handled
    except SalienceError as error:
        complain(error.detail)
        if isinstance(error, StorageFull):
            note("What was committed before is safe. Free some space, and run the command again.")
        sys.exit(1)
    except SystemExit as exit:
        if exit.code == INTERRUPTED:  # what typer makes of Ctrl-C
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
    """Standard streams that were closed before the command began lead nowhere: no file may take their place."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115  # to the end of the process
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # what a legacy encoding has no character for


def _let_go_of_output() -> None:
    """Python flushes standard output once more at exit; there is nobody left to write to."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
