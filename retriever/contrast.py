"""Contrastive explanations: the score difference of two hits, and the smallest query change that swaps them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

from core.errors import InvalidQuery
from core.reasons import Contrast, Explanation, HitExplanation, Swap
from core.records import Hit, LegScore
from retriever.query import MAX_DEPTH, Query
from retriever.rerank import RERANK
from retriever.stopwatch import Stopwatch
from retriever.trials import DEPTH, MARGIN, Change, SearchMany, Trials, changes, opposed_words, words_to_try

_ROUNDING = 1e-12
_NOT_JUDGED = LegScore(raw=0.0, rank=None, norm=0.0, weight=0.0)  # a hit below the reranker's window


def contrasted(search: SearchMany, query: Query, hits: Sequence[Hit], start: int, watch: Stopwatch) -> list[Hit]:
    """Add to each hit its contrast with the next one; the last hit has none. The hits are explained in words.

    `start`: place of the first hit in the ranking, from 0. The swaps of all pairs are searched together: every change
    of the query is tried on the whole page, until there is no time left.
    """
    pairs = list(pairwise(hits))
    by_score = not query.selection.diversity and query.selection.group_by is None
    depth = max(start + len(hits) + MARGIN, 0 if by_score else DEPTH)  # reordered hits may rank lower by score
    trials = Trials(search, query, depth=min(depth, MAX_DEPTH))
    swaps = _swaps(trials, query, pairs, watch)
    contrasts = [_contrast(upper, lower, swap, trials.count) for (upper, lower), swap in zip(pairs, swaps, strict=True)]
    return [_with(hit, contrast) for hit, contrast in zip(hits, [*contrasts, None], strict=True)]


def contrast_pair(search: SearchMany, query: Query, upper: Hit, lower: Hit, watch: Stopwatch) -> Contrast:
    """Explain why `upper` is above `lower`; both must be explained in words for `query`.

    The change that swaps them is narrowed down until there is no time left. Raises InvalidQuery if `lower` ranks
    higher.
    """
    if _standing(lower) > _standing(upper):
        scores = (
            f"hit {lower.id} has the score {lower.score:.6g}, which is above the {upper.score:.6g} of hit {upper.id}"
        )
        if lower.score == upper.score:
            scores = f"hits {upper.id} and {lower.id} have the same score, and the lower number stands first"
        raise InvalidQuery(f"{scores}: ask why {lower.id} is above {upper.id}", param="above")
    trials = Trials(search, query)
    # The lower hit's document may already be above because of another passage: then there is nothing to swap.
    done = watch.late or _swapped(trials, None, upper, lower)
    [swap] = [None] if done else _swaps(trials, query, [(upper, lower)], watch, narrow=True)
    return _contrast(upper, lower, swap, trials.count)


def difference(upper: Hit, lower: Hit) -> Explanation:
    """The ledger of `upper` minus that of `lower`, split by leg, and each leg by the words of the query."""
    lines = [_leg_difference(leg, upper, lower) for leg in dict.fromkeys((*upper.scores, *lower.scores))]
    gap = upper.score - lower.score
    rest = gap - math.fsum(line.value for line in lines)
    if abs(rest) > _ROUNDING:
        lines.append(Explanation(value=rest, kind="context", description="what is no leg's"))
    return Explanation(
        value=gap, kind="difference", description=f"score of hit {upper.id} less that of hit {lower.id}",
        details=tuple(lines),
    )  # fmt: skip


def _contrast(upper: Hit, lower: Hit, swap: Swap | None, tried: int) -> Contrast:
    return Contrast(other=lower.id, ledger=difference(upper, lower), swap=swap, tried=tried)


def _leg_difference(leg: str, upper: Hit, lower: Hit) -> Explanation:
    here, there = upper.scores.get(leg, _NOT_JUDGED), lower.scores.get(leg, _NOT_JUDGED)
    value = here.weight * here.norm - there.weight * there.norm
    ours = () if upper.explanation is None else upper.explanation.query_words
    theirs = () if lower.explanation is None else lower.explanation.query_words
    lines = []
    for mine, other in zip(ours, theirs, strict=True) if leg != RERANK else ():
        brought, elsewhere = float(getattr(mine, leg)), float(getattr(other, leg))
        if brought or elsewhere:
            lines.append(
                Explanation(
                    value=brought - elsewhere,
                    kind="word",
                    description=f"{mine.text!r} of the query: {brought:+.6f} against {elsewhere:+.6f}",
                )
            )
    if lines:
        rest = value - math.fsum(line.value for line in lines)
        lines.append(
            Explanation(
                value=rest, kind="context", description="special tokens, prefix, constants and what rounding leaves"
            )
        )
    description = f"{leg}: raw {here.raw:.6f} against {there.raw:.6f}, weight {here.weight:g}"
    kind = RERANK if leg == RERANK else "leg"
    return Explanation(value=value, kind=kind, description=description, details=tuple(lines))


def _standing(hit: Hit) -> tuple[bool, float, int]:
    """A sort key that is larger for higher hits. Reranked hits come first; other scores are on another scale."""
    return RERANK in hit.scores, hit.score, -hit.id


def _swaps(
    trials: Trials, query: Query, pairs: Sequence[tuple[Hit, Hit]], watch: Stopwatch, *, narrow: bool = False
) -> list[Swap | None]:
    """For each pair, the change that puts the lower hit above; None if no change that was tried does.

    Prefers the smallest change that does not lower the rank of the lower hit; failing that, the smallest change.
    A pair that is not in the order of its scores, because of diversity, is left alone.
    `narrow`: there is one pair; search more finely, and try pairs of words against each other.
    """
    words = words_to_try(query, [hit for pair in pairs for hit in pair])
    found: list[Change | None] = [None] * len(pairs)
    unsettled = [i for i, (upper, lower) in enumerate(pairs) if _standing(upper) >= _standing(lower)]
    for size in changes(words, opposed_words(query, *pairs[0]) if narrow else ()):
        if not unsettled or watch.late:
            break
        trials.run([None, *size])
        for i in list(unsettled):
            swapping = [change for change in size if _swapped(trials, change, *pairs[i])]
            upright = next((change for change in swapping if not _fell(trials, change, pairs[i][1])), None)
            if upright is not None:
                found[i] = upright
                unsettled.remove(i)
            elif found[i] is None and swapping:
                found[i] = swapping[0]
    if narrow:
        found = [
            None if change is None else _narrowed(trials, change, *pair, watch)
            for change, pair in zip(found, pairs, strict=True)
        ]
    return [None if change is None else trials.swap(change, *pair) for change, pair in zip(found, pairs, strict=True)]


def _narrowed(trials: Trials, change: Change, upper: Hit, lower: Hit, watch: Stopwatch) -> Change:
    """A smaller factor for the same word that also swaps the hits, and does not newly lower the lower hit's rank."""
    for smaller in change.smaller():
        if watch.late:
            break
        trials.run([smaller])
        if not _swapped(trials, smaller, upper, lower):
            break
        if _fell(trials, smaller, lower) and not _fell(trials, change, lower):
            break
        change = smaller
    return change


def _swapped(trials: Trials, change: Change | None, upper: Hit, lower: Hit) -> bool:
    above, below = trials.rank(change, lower), trials.rank(change, upper)
    return above is not None and (below is None or above < below)


def _fell(trials: Trials, change: Change, hit: Hit) -> bool:
    before, after = trials.rank(None, hit), trials.rank(change, hit)
    return (before or math.inf) < (after or math.inf)


def _with(hit: Hit, contrast: Contrast | None) -> Hit:
    explanation: HitExplanation | None = hit.explanation
    assert explanation is not None  # the hits were explained in words
    return replace(hit, explanation=replace(explanation, contrast=contrast))
