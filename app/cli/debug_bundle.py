"""salience debug-bundle: writes a file with diagnostic information for support."""

from __future__ import annotations

import urllib.error
import urllib.request
from http.client import HTTPException
from pathlib import Path
from typing import Annotated

import typer

from app.cli.doctor import diagnoses
from app.cli.options import DataDir, Device, Model, settings
from app.cli.terminal import out, plain
from app.operation.bundle import Names, write_bundle

_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # without a proxy, which would see the token


def debug_bundle(
    target: Annotated[Path, typer.Argument(help="The file to write, such as salience-debug.tar.gz.")],
    probe: Annotated[bool, typer.Option("--model-probe/--no-model-probe", help="Load the model and try it.")] = True,
    data_dir: DataDir = None,
    model: Model = None,
    device: Device = None,
) -> None:
    """Write a file for whoever helps: figures, settings and versions, and no data.

    It holds what `doctor` says, the settings without secrets, `stats`, the tables' definitions, versions, and the
    metrics of a running server. No texts, no ids; collections are called c1, c2 and so on. Look at it before you send
    it: names of machines, folders and models are in it.

    [bold]Example[/bold]

      salience debug-bundle salience-debug.tar.gz
    """
    chosen = settings(data_dir, model, device)
    names = Names(chosen.data_dir)
    found = diagnoses(data_dir, model, device, probe=probe, called=names.alias)
    written = write_bundle(target, chosen, found, names, _ask)
    out.print(plain(f"{target}: {', '.join(written)}"))


def _ask(address: str, token: str | None, seconds: float) -> str:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    request = urllib.request.Request(address, headers=headers)
    try:
        with _DIRECT.open(request, timeout=seconds) as response:
            return str(response.read().decode("utf-8", "replace"))
    except urllib.error.URLError as error:  # passes on the reason only, nothing of an answer's own text
        raise OSError(str(error.reason)) from None
    except HTTPException as error:  # another program uses the port now
        raise OSError(f"no answer of HTTP ({type(error).__name__})") from None
