"""Prints the parts of an explanation other than ledger and words: sentences, other methods, a contrast, advice."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.text import Text

from app.cli.rendering import ledger_tree
from app.cli.terminal import BAD, GOOD, QUIET, out, plain
from core.reasons import Steering, Swap, UnitEffect
from retriever.result import SearchResult

SHOWN_UNITS = 8
WIDTH = 90  # characters shown of a sentence


def print_reasons(result: SearchResult) -> None:
    """Print them for the first hit."""
    explanation = result.hits[0].explanation
    assert explanation is not None
    if len(explanation.sentences) > 1:
        _print_units("How far the score falls without a sentence:", explanation.sentences)
    if explanation.units:
        units = explanation.provenance["units"]
        _print_units(f"How far it falls, part by part, by {units['method']}:", explanation.units)
    if explanation.contrast is not None:
        contrast = explanation.contrast
        out.print()
        out.print(Text(f"Why it is above #{contrast.other}:", style="bold"))
        out.print(ledger_tree(contrast.ledger, full=True))
        swap = contrast.swap
        if swap is None:
            out.print(
                Text(f"No emphasis of the query's words swaps the two ({contrast.tried} were tried).", style=QUIET)
            )
        else:
            out.print(Text(f"This puts #{contrast.other} above: {_said(swap)}"))
            out.print(Text(f"  {_moved(contrast.other, result.hits[0].id, swap)}"))
    if explanation.advice:
        out.print()
        out.print(Text("What raises it:", style="bold"))
        for steering in explanation.advice:
            out.print(Text(f"  rank {_rank(steering.rank_before)} to {_rank(steering.rank_after)}: {_said(steering)}"))


def _print_units(heading: str, units: Sequence[UnitEffect]) -> None:
    out.print()
    out.print(Text(heading, style="bold"))
    for unit in sorted(units, key=lambda unit: -abs(unit.effect))[:SHOWN_UNITS]:
        text = " ".join(plain(unit.text).split())
        shown = text if len(text) <= WIDTH else f"{text[:WIDTH]} ..."
        place = " (title)" if unit.in_title else ""
        out.print(Text(f"  {unit.effect:+.4f}  {shown}{place}", style=GOOD if unit.effect > 0 else BAD))


def _said(steering: Steering) -> str:
    """The steering as a query with boosts or, if boosts cannot express it, as words with factors."""
    if steering.query is not None:
        return plain(steering.query)
    factors = zip(steering.words, steering.factors, strict=True)
    return ", ".join(f"{plain(word)} x{factor:g}" for word, factor in factors)


def _moved(other: int, upper: int, swap: Swap) -> str:
    fell = (swap.rank_before or math.inf) < (swap.rank_after or math.inf)
    ranks = (
        f"#{other} from rank {_rank(swap.rank_before)} to {_rank(swap.rank_after)}, "
        f"#{upper} from {_rank(swap.upper_rank_before)} to {_rank(swap.upper_rank_after)}"
    )
    return f"{ranks}: both fall" if fell else ranks


def _rank(rank: int | None) -> str:
    return "far behind" if rank is None else str(rank)
