"""Measure every group and every available collection, and check the figures against what is promised."""

from __future__ import annotations

from dataclasses import asdict
from itertools import pairwise
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.command import print_report
from bench.corpus import DATA
from bench.steering.groups import GROUPS, Group, load_group
from bench.steering.measure import FACTORS, Steerability, measure
from bench.steering.pairs import COLLECTIONS, load_pairs
from core.prompts import ControlTarget
from core.protocols import Encoder

TARGETS = (ControlTarget.AUTO, ControlTarget.BOTH, ControlTarget.POOL, ControlTarget.ATTENTION)
AT_LEAST = {"fashion": 0.88, "titles": 0.90, "questions": 0.92}  # least AUC of "auto" at factor 7
AT_MOST = 0.1  # greatest AUC at factor 0.1
LOSS = 0.03  # greatest loss of relevance, at any factor


def main() -> None:
    print_report("steering", "How far a control steers a query, and what of its relevance is kept.", run, _show)


def run(encoder: Encoder) -> dict[str, Any]:
    """By group and target, the fields of measure.Steerability for each factor, rounded to 4 digits; and `wrong`.

    `wrong` lists promises of "auto" that are not kept. Collections are in `collections`, with "auto" only.
    """
    groups = {name: {t: _measured(encoder, load_group(name), t) for t in TARGETS} for name in GROUPS}
    found = [DATA / name for name in COLLECTIONS if (DATA / name).is_dir()]
    auto = ControlTarget.AUTO
    collections = {folder.name: {auto: _measured(encoder, load_pairs(folder), auto)} for folder in found}
    return {
        "model": encoder.name,
        "fingerprint": encoder.fingerprint,
        "groups": _as_json(groups),
        "collections": _as_json(collections),
        "wrong": [line for name, of in groups.items() for line in _shortfalls(name, of[auto])],
    }


Figures = dict[float, Steerability]  # by factor


def _measured(encoder: Encoder, group: Group, target: ControlTarget) -> Figures:
    factors = [factor for factor in FACTORS if factor >= 0 or target is not ControlTarget.ATTENTION]
    return dict(zip(factors, measure(encoder, group, target, factors), strict=True))


def _shortfalls(name: str, figures: Figures) -> list[str]:
    lines = []
    if figures[7.0].auc < AT_LEAST[name]:
        lines.append(f"{name}: {figures[7.0].auc:.3f} at factor 7, below {AT_LEAST[name]}")
    if figures[0.1].auc > AT_MOST:
        lines.append(f"{name}: {figures[0.1].auc:.3f} at factor 0.1, above {AT_MOST}")
    for less, more in pairwise(figures):
        if figures[less].auc > figures[more].auc:
            lines.append(f"{name}: factor {more:g} steers less than {less:g}")
    lost = {f: figures[1.0].relevance - figure.relevance for f, figure in figures.items()}
    worst = max(lost, key=lambda factor: lost[factor])
    if lost[worst] > LOSS:
        lines.append(f"{name}: relevance falls by {lost[worst]:.3f} at factor {worst:g}")
    return lines


def _as_json(measured: dict[str, dict[ControlTarget, Figures]]) -> dict[str, Any]:
    def rounded(figure: Steerability) -> dict[str, float | None]:
        return {name: None if value is None else round(value, 4) for name, value in asdict(figure).items()}

    return {
        name: {
            target.value: {f"{factor:g}": rounded(figure) for factor, figure in figures.items()}
            for target, figures in targets.items()
        }
        for name, targets in measured.items()
    }


def _show(report: dict[str, Any]) -> None:
    console = Console()
    for measured, title in (
        ("auc", "documents of the controlled aspect above those of the other"),
        ("standard_error", "standard errors of these"),
        ("relevance", "what is still asked for above documents of neither aspect"),
        ("both", "documents of both aspects above those of one"),
        ("below_neither", "documents of the controlled aspect above those of neither"),
    ):
        table = Table(title=f"AUC: {title} ({report['model']})")
        for column in ("group", "target", *(f"f={factor:g}" for factor in FACTORS)):
            table.add_column(column)
        for name, targets in {**report["groups"], **report["collections"]}.items():
            for target, figures in targets.items():
                cells = (figures.get(f"{factor:g}", {}).get(measured) for factor in FACTORS)
                table.add_row(name, target, *("" if cell is None else f"{cell:.2f}" for cell in cells))
        console.print(table)
    if not report["wrong"]:
        console.print("all that is promised is kept")


if __name__ == "__main__":
    main()
