"""Command-line code shared by all benchmarks."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from core.protocols import Encoder
from embedder.loading import load_encoder

Report = dict[str, Any]


def print_report(name: str, description: str, run: Callable[[Encoder], Report], show: Callable[[Report], None]) -> None:
    """Implement `python -m bench.NAME [--json]`: call `run` with the default model and print the report."""
    parser = argparse.ArgumentParser(prog=f"python -m bench.{name}", description=description)
    add_json(parser)
    as_json = parser.parse_args().json
    tell(run(load_encoder()), as_json=as_json, show=show)


def add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the table")


def tell(report: Report, *, as_json: bool, show: Callable[[Report], None] | None = None) -> None:
    """Print the report: as JSON, with `show`, or else one line per figure. Exits with 1 if `wrong` is not empty."""
    if as_json:
        print(json.dumps(report, indent=2))
    else:
        (show or _show)(report)
    wrong = report.get("wrong", [])
    for line in wrong:
        print(f"wrong: {line}", file=sys.stderr)
    if wrong:
        raise SystemExit(1)


def _show(report: Report) -> None:
    table = Table("", "", box=None, show_header=False)
    for name, figure in _figures(report):
        table.add_row(name, figure)
    Console().print(table)


def _figures(report: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    for name, value in report.items():
        if isinstance(value, Mapping):
            yield from _figures(value, f"{before}{name} ")
        elif isinstance(value, list) and any(isinstance(one, dict | list) for one in value):
            yield f"{before}{name}", f"{len(value)} (in the JSON)"
        elif isinstance(value, list):
            yield f"{before}{name}", ", ".join(map(str, value)) or "none"
        else:
            yield f"{before}{name}", _shown(value)


def _shown(value: object) -> str:
    if not isinstance(value, float):
        return str(value)
    return f"{value:.4g}" if abs(value) < 1000 else f"{value:,.0f}"
