"""Prints hits and explanations as text, for a terminal or a pipe."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence

from rich.text import Text
from rich.tree import Tree

from app.cli.selection import print_facets, print_group, print_suggestions
from app.cli.terminal import BAD, GOOD, QUIET, note, out, plain
from core.reasons import Explanation, HitExplanation, WordEffect
from core.records import Hit
from retriever.fields import Shown
from retriever.result import Profile, SearchResult

SNIPPET = 320  # characters shown of a passage, unless in full
NOTEWORTHY = 0.25  # share of the strongest effect in the passage; weaker words are not coloured
SHOWN_WORDS = 8


def print_result(result: SearchResult, *, full: bool = False) -> None:
    """Print the hits, best first, and notes about the search."""
    if result.truncated_query:
        note("the query is longer than the model reads; its end was ignored by the dense leg")
    if result.sparse_silent:
        note("the query has no word that the sparse leg can look for (stop words only, or all are suppressed)")
    if result.timed_out:
        note(f"the time was over before all was done; left out: {', '.join(result.left_out)}")
    if result.changed:
        note("the collection changed since the page before: hits may come twice, or be missing")
    if not result.hits:
        note("nothing found")
    print_suggestions(result)
    hits = {hit.id: hit for hit in result.hits}
    shown = None if result.query.fields is None else Shown.of(result.query.fields)
    for number, group in enumerate(result.groups or ()):
        print_group(result, number)
        for place, id_ in enumerate(group.hits, start=1):
            _print_hit(place, hits[id_], shown, full=full)
    for place, hit in enumerate(result.hits if result.groups is None else (), start=(result.start or 0) + 1):
        _print_hit(place, hit, shown, full=full)
    print_facets(result)
    if result.profile is not None:
        _print_profile(result.profile, result.stages_ms)


def _print_hit(place: int, hit: Hit, shown: Shown | None, *, full: bool) -> None:
    """`shown`: the fields to print; None for title and text."""
    out.print(_heading(place, hit, titled=shown is None or shown.title))
    if hit.text.strip() and (shown is None or shown.text):  # there may be only a title
        out.print(_passage(hit, full=full))
    if shown is not None and (metadata := shown.metadata(hit.metadata)):
        out.print(Text(f"    {plain(json.dumps(metadata, ensure_ascii=False))}"))
    out.print()


def print_explanation(result: SearchResult, *, full: bool = False) -> None:
    """Print the first hit of the result: its passage, its ledger, and its words by effect."""
    hit = result.hits[0]
    explanation = hit.explanation
    assert explanation is not None
    out.print(_heading("-" if result.start is None else result.start + 1, hit))
    out.print(_passage(hit, full=True))
    out.print()
    out.print(ledger_tree(explanation.ledger, full=full))
    out.print()
    _print_query_words(explanation)
    _print_words(explanation)


def _print_profile(profile: Profile, stages_ms: Mapping[str, float]) -> None:
    took = ", ".join(f"{stage} {milliseconds:.2f}" for stage, milliseconds in stages_ms.items())
    found = ", ".join(f"{leg.value} {count}" for leg, count in profile.pools.items())
    out.print(Text(f"milliseconds: {took}", style=QUIET))
    out.print(
        Text(
            f"candidates: {profile.candidates} passages of {profile.documents} documents ({found}; depth "
            f"{profile.depth}), of {profile.passages} passages in {profile.segments} segments",
            style=QUIET,
        )
    )
    if profile.matches is not None and profile.selectivity is not None:
        out.print(Text(f"filter: {profile.matches} passages ({profile.selectivity:.2%})", style=QUIET))


def _heading(rank: int | str, hit: Hit, *, titled: bool = True) -> Text:
    title = hit.title if titled else ""
    text = Text(f"{rank:>2}  ")
    text.append(f"{hit.score:.4f}", style="bold cyan")
    text.append(f"  {plain(title or hit.document_id)}", style="bold")
    if title and title != hit.document_id:
        text.append(f"  {plain(hit.document_id)}")
    text.append(f"  #{hit.id}")
    for leg, score in hit.scores.items():
        rank = "-" if score.rank is None else f"{score.rank}."
        text.append(f"  {leg} {score.raw:.3f} ({rank})", style=QUIET)
    return text


def _passage(hit: Hit, *, full: bool) -> Text:
    """The passage with its words coloured, cut to the part with the strongest effects."""
    words = [] if hit.explanation is None else [word for word in hit.explanation.words if not word.in_title]
    significant = hit.explanation is not None and hit.explanation.significant
    text = Text(plain(hit.text))
    for start, end in () if hit.highlight is None else hit.highlight.passage:
        text.stylize("underline", start, end)
    strongest = max((abs(word.effect) for word in words), default=0.0)
    for word in words if significant else ():
        if abs(word.effect) >= NOTEWORTHY * strongest:
            text.stylize(GOOD if word.effect > 0 else BAD, word.start, word.end)
    if not full and len(text) > SNIPPET:
        text = _cut(text, words if significant else [])
    indented = Text("\n").join(
        Text("    ") + line for line in text.split("\n", allow_blank=False) if line.plain.strip()
    )
    if hit.explanation is not None and not significant:
        indented.append("\n    (no single word made this match)", style=QUIET)
    return indented


def _cut(text: Text, words: Sequence[WordEffect]) -> Text:
    """The window of SNIPPET characters with the largest sum of effects, cut at word boundaries."""
    starts = [0, *(word.start for word in words)]
    gains = [
        sum(abs(word.effect) for word in words if start <= word.start and word.end <= start + SNIPPET)
        for start in starts
    ]
    start = min(starts[gains.index(max(gains))], len(text) - SNIPPET)
    end = start + SNIPPET
    while start > 0 and not text.plain[start - 1].isspace():
        start -= 1
    while end < len(text) and not text.plain[end].isspace():
        end -= 1
        if end <= start:  # one long word, or a language without spaces
            end = start + SNIPPET
            break
    cut = text[start:end]
    return Text.assemble("... " if start else "", cut, " ..." if end < len(text) else "")


def ledger_tree(line: Explanation, *, full: bool) -> Tree:
    """The line and those below it; if there are many words, only the largest, unless `full`."""
    tree = Tree(_line(line), guide_style=QUIET)
    shown = line.details if full else _largest(line.details)
    for detail in shown:
        tree.children.append(ledger_tree(detail, full=full))
    return tree


def _largest(lines: Sequence[Explanation]) -> list[Explanation]:
    """Terms, sorted by size; of words, all but the SHOWN_WORDS largest are folded into one line with their sum."""
    if lines and all(line.kind == "term" for line in lines):
        return sorted(lines, key=lambda line: -abs(line.value))
    words = sorted((line for line in lines if line.kind == "word"), key=lambda line: -abs(line.value))
    folded = words[SHOWN_WORDS:]
    if len(folded) < 2:
        return list(lines)
    rest = Explanation(
        value=math.fsum(line.value for line in folded), kind="context", description=f"{len(folded)} more words (--full)"
    )
    return [*words[:SHOWN_WORDS], rest, *(line for line in lines if line.kind != "word")]


def _line(line: Explanation) -> Text:
    style = "bold" if line.details else QUIET if line.kind in ("context", "constant", "residual") else ""
    value = round(line.value, 6) + 0.0  # adding 0.0 turns -0.0 into 0.0, to avoid "-0.000000"
    return Text(f"{value:+.6f}  {plain(line.description)}", style=style)


def _print_query_words(explanation: HitExplanation) -> None:
    learned = any(word.learned for word in explanation.query_words)
    legs = "dense, sparse, learned" if learned else "dense, sparse"
    out.print(Text(f"What the query's words brought ({legs}):", style="bold"))
    for word in explanation.query_words:
        factor = "" if word.factor == 1 else f"  x{word.factor:g}"
        beside = f" {word.learned:+.4f}" if learned else ""
        out.print(Text(f"  {plain(word.text):20} {word.dense:+.4f} {word.sparse:+.4f}{beside}{factor}"))
    out.print(Text(f"  {'the rest':20} {explanation.query_rest:+.4f}", style=QUIET))
    out.print()


def _print_words(explanation: HitExplanation) -> None:
    if not explanation.significant:
        out.print(Text("No single word of the passage made this match.", style=QUIET))
        return
    out.print(Text("How far the score falls without a word of the passage:", style="bold"))
    strongest: dict[tuple[str, bool], WordEffect] = {}  # repeated words are listed once
    for word in sorted(explanation.words, key=lambda word: -abs(word.effect)):
        strongest.setdefault((word.text.casefold(), word.in_title), word)
    for word in list(strongest.values())[:SHOWN_WORDS]:
        place = " (title)" if word.in_title else ""
        out.print(Text(f"  {plain(word.text):20} {word.effect:+.4f}{place}", style=GOOD if word.effect > 0 else BAD))
