"""salience doctor: finds problems of the machine, the settings and the data directory, and says how to solve them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from app.cli.options import DataDir, Device, Json, Model, settings
from app.cli.terminal import BAD, GOOD, QUIET, out, plain, print_json
from app.operation.doctor import Diagnosis, Level, diagnose
from app.operation.doctor_data import CHECKS
from app.operation.doctor_serving import index, named_models, port, tracing
from app.operation.doctor_serving import model as model_check
from core.errors import InvalidSettings

_STYLES = {Level.OK: GOOD, Level.WARN: "yellow", Level.FAIL: BAD}


def doctor(
    as_json: Json = False,
    probe: Annotated[bool, typer.Option("--model-probe/--no-model-probe", help="Load the model and try it.")] = True,
    data_dir: DataDir = None,
    model: Model = None,
    device: Device = None,
) -> None:
    """Check the machine, the settings, the model and the data directory, and say what to do.

    Changes nothing; a server may run beside it. Exit code 1: something does not work.

    [bold]Example[/bold]

      salience doctor -d /var/lib/salience
    """
    found: list[Diagnosis] = []
    for one in diagnoses(data_dir, model, device, probe=probe):
        found.append(one)
        if not as_json:
            _print(one)
    if as_json:
        print_json({"ok": not _failed(found), "checks": [asdict(one) for one in found]})
    if _failed(found):
        raise typer.Exit(1)


def diagnoses(
    data_dir: Path | None,
    model: str | None,
    device: str | None,
    *,
    probe: bool,
    called: Callable[[str], str] = str,
) -> Iterator[Diagnosis]:
    """The diagnoses, one by one. If the settings are invalid, all of their problems are reported, and nothing else."""
    try:
        chosen = settings(data_dir, model, device)
    except InvalidSettings as error:
        for problem in error.message.splitlines():
            yield Diagnosis(name="settings", level=Level.FAIL, text=problem)
        return
    yield Diagnosis(name="settings", level=Level.OK, text="all are known and within their bounds")
    yield from diagnose(chosen, *CHECKS, port, tracing, index, named_models, *([model_check(called)] if probe else []))


def _failed(found: list[Diagnosis]) -> bool:
    return any(one.level is Level.FAIL for one in found)


def _print(one: Diagnosis) -> None:
    line = Text(f"{one.level.value:<5}", style=_STYLES[one.level])
    out.print(line.append(f"{one.name:<16}", style="default").append(plain(one.text), style="default"))
    if one.advice:
        out.print(Text(f"{'':<21}{plain(one.advice)}", style=QUIET))
