"""The state of a reindex, which rebuilds a collection as a second generation while the first one keeps serving."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class ReindexState(StrEnum):
    """The state of a reindex."""

    BUILDING = "building"  # the new generation is being filled, and receives every write
    VALIDATING = "validating"  # the new generation is compared with the old one
    READY = "ready"  # the new generation is complete, receives every write, and waits for the switch
    SWITCHED = "switched"  # the new generation serves; the old one still receives every write, for a rollback
    DONE = "done"  # the new generation serves, and the old one is deleted
    ROLLED_BACK = "rolled back"  # the old generation serves again
    CANCELLED = "cancelled"
    FAILED = "failed"  # validation failed; the reason says why


@dataclass(frozen=True, kw_only=True, slots=True)
class Reindex:
    """A reindex and its progress. Times are seconds since 1970, UTC."""

    id: int
    collection: str  # its name
    serving_id: int | None  # collection.id of the generation that serves under the name
    hidden_id: int | None  # collection.id of the other generation, the next or the previous one; None: it is gone
    state: ReindexState
    reason: str | None  # why it waits, or failed
    share: float  # fraction of the time in which it may work, up to 1
    auto_switch: bool  # whether to switch as soon as it is ready
    grace_seconds: float  # how long the old generation is kept after the switch
    min_recall: float  # recall that a sample of searches must reach, compared with reading all vectors
    judgements: str | None  # JSON: queries and relevances, used to compare the generations
    min_gain: float | None  # required gain in nDCG@10 over the old generation; None: it is only reported
    report: str | None  # JSON: the results of the comparison
    cursor: str | None  # document id up to which the old generation was read
    scanned: bool  # whether the old generation was read to its end
    total: int  # documents when it began
    done: int  # documents copied: those counted in `total`, and newer ones whose ids came after the cursor
    passages: int  # passages that were embedded
    tokens: int  # tokens that the model read
    failures: int  # in a row
    busy_seconds: float
    created_at: float
    switched_at: float | None
    ended_at: float | None
    paused_at: float | None
    pause_seconds: float | None

    @property
    def seconds_left(self) -> float | None:
        """Seconds until all documents are read, at the rate so far and `share`; None if unknown, or if all are read."""
        if self.scanned or not self.done or self.state is not ReindexState.BUILDING:
            return None
        return max(0, self.total - self.done) * self.busy_seconds / self.done / self.share
