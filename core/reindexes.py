"""A reindex: a collection that is made anew beside itself."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class ReindexState(StrEnum):
    """Where a reindex is."""

    BUILDING = "building"  # the new generation is filled, and follows every write
    VALIDATING = "validating"  # it is compared with the old one
    READY = "ready"  # it is whole, follows every write, and waits for its switch
    SWITCHED = "switched"  # it answers; the old one follows every write, for a rollback
    DONE = "done"  # it answers, and the old one is gone
    ROLLED_BACK = "rolled back"  # the old one answers again
    CANCELLED = "cancelled"
    FAILED = "failed"  # it was found wanting; the reason says what


@dataclass(frozen=True, kw_only=True, slots=True)
class Reindex:
    """A collection that is made anew beside itself, and how far that is. Times are seconds since 1970, UTC."""

    id: int
    collection: str  # its name
    serving_id: int | None  # collection.id of what answers under the name
    hidden_id: int | None  # of the other generation: the one to come, or the one before; None: there is none any more
    state: ReindexState
    reason: str | None  # why it waits, or failed
    share: float  # of the time that it may work, up to 1
    auto_switch: bool  # at once when it is ready
    grace_seconds: float  # for which the old generation is kept
    min_recall: float  # that a sample of searches must reach, of what reading all vectors finds
    judgements: str | None  # JSON: queries and relevances, to compare both generations by
    min_gain: float | None  # of nDCG@10 that the new one must have over the old one; None: it is only told
    report: str | None  # JSON: what the comparison found
    cursor: str | None  # document id up to which the old generation was read
    scanned: bool  # whether it was read to its end
    total: int  # documents when it began
    done: int  # documents that were brought over: of these, and of those that came since and lay behind the cursor
    passages: int  # that were embedded
    tokens: int  # that the model read
    failures: int  # in a row
    busy_seconds: float
    created_at: float
    switched_at: float | None
    ended_at: float | None
    paused_at: float | None
    pause_seconds: float | None

    @property
    def seconds_left(self) -> float | None:
        """Until all is read, at the rate and share so far; None where that is unknown, or it is read."""
        if self.scanned or not self.done or self.state is not ReindexState.BUILDING:
            return None
        return max(0, self.total - self.done) * self.busy_seconds / self.done / self.share
