"""What the measurements of the default model have in common on the command line."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from typing import Any

from core.protocols import Encoder
from embedder.loading import load_encoder

Report = dict[str, Any]


def print_report(name: str, description: str, run: Callable[[Encoder], Report], show: Callable[[Report], None]) -> None:
    """`python -m bench.NAME [--json]`: run the measurement and print its report, as JSON or as `show` does."""
    parser = argparse.ArgumentParser(prog=f"python -m bench.{name}", description=description)
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the table")
    as_json = parser.parse_args().json
    report = run(load_encoder())
    if as_json:
        print(json.dumps(report, indent=2))
    else:
        show(report)
