"""Measure every group, and compare with the figures that the controls were designed by."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

from bench.command import print_report
from bench.steering.groups import GROUPS, load_group
from bench.steering.measure import FACTORS, measure
from core.prompts import ControlTarget
from core.protocols import Encoder

# The design's figures for the target "auto", one for each of FACTORS, measured on other texts of the same three kinds.
REFERENCE = {
    "fashion": (0.01, 0.05, 0.62, 0.72, 0.82, 0.94),
    "titles": (0.01, 0.02, 0.70, 0.82, 0.87, 0.92),
    "questions": (0.00, 0.00, 0.77, 0.86, 0.90, 0.93),
}
TARGETS = (ControlTarget.AUTO, ControlTarget.BOTH, ControlTarget.POOL, ControlTarget.ATTENTION)


def main() -> None:
    print_report("steering", "How far a control steers a query.", run, _show)


def run(encoder: Encoder) -> dict[str, Any]:
    """AUC by group, target and factor, rounded to 4 digits, and the distance of "auto" from the reference.

    `largest_difference`: in either direction. `largest_shortfall`: only where the controls steer less than the
    reference (above it for a factor below 1, below it for a factor above 1).
    """
    names = [f"{factor:g}" for factor in FACTORS]
    groups: dict[str, dict[str, dict[str, float]]] = {}
    errors: dict[str, dict[str, float]] = {}
    shortfalls = []
    for name in GROUPS:
        group = load_group(name)
        measured = {target: measure(encoder, group, target) for target in TARGETS}
        groups[name] = {
            target.value: dict(zip(names, (round(figure.auc, 4) for figure in figures), strict=True))
            for target, figures in measured.items()
        }
        auto = measured[ControlTarget.AUTO]
        errors[name] = dict(zip(names, (round(figure.standard_error, 4) for figure in auto), strict=True))
        shortfalls += [
            (figure.auc - wanted) * (1 if factor < 1 else -1)
            for factor, figure, wanted in zip(FACTORS, auto, REFERENCE[name], strict=True)
        ]
    return {
        "model": encoder.name,
        "fingerprint": encoder.fingerprint,
        "groups": groups,
        "standard_errors": errors,
        "reference": {name: dict(zip(names, figures, strict=True)) for name, figures in REFERENCE.items()},
        "largest_difference": round(max(abs(shortfall) for shortfall in shortfalls), 4),
        "largest_shortfall": round(max(0.0, *shortfalls), 4),
    }


def _show(report: dict[str, Any]) -> None:
    table = Table(title=f"AUC that documents of the controlled aspect score above the others ({report['model']})")
    table.add_column("group")
    table.add_column("target")
    for factor in FACTORS:
        table.add_column(f"f={factor:g}", justify="right")
    for name, targets in report["groups"].items():
        for target, figures in targets.items():
            table.add_row(name, target, *(f"{figure:.2f}" for figure in figures.values()))
        table.add_row("", "auto, standard error", *(f"{e:.2f}" for e in report["standard_errors"][name].values()))
        table.add_row("", "auto, reference", *(f"{figure:.2f}" for figure in report["reference"][name].values()))
        table.add_section()
    console = Console()
    console.print(table)
    console.print(
        f"auto against the reference: largest difference {report['largest_difference']:.3f}, "
        f"largest shortfall {report['largest_shortfall']:.3f}"
    )


if __name__ == "__main__":
    main()
