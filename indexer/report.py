"""Report the outcome of a run: full counts, and lists up to a limit, so that millions of bad lines fit in memory."""

from __future__ import annotations

from dataclasses import dataclass

from indexer.ingest import Ingested
from indexer.records import Duplicate, RecordError, Skipped

MAX_LISTED = 1000  # entries of each list in a report; the counts have no limit


@dataclass(frozen=True, kw_only=True, slots=True)
class AddReport:
    """The outcome of a run. Counts are numbers of documents unless noted otherwise."""

    seq: int  # a view of this seq or a higher one shows all that was added; 0 where nothing was committed
    created: int
    replaced: int  # the content changed: new passages
    updated: int  # only the metadata changed
    unchanged: int
    passages: int  # that had to be embedded
    tokens: int  # read by the model
    failed: tuple[RecordError, ...]  # the first MAX_LISTED
    failed_count: int
    duplicates: tuple[str, ...]  # ids that occurred again, whose last document was kept; the first MAX_LISTED
    duplicate_count: int
    truncated: tuple[str, ...]  # ids of documents that were too long for the model; the first MAX_LISTED
    truncated_count: int


class Tally:
    """Collects the counts and lists of a report during a run."""

    def __init__(self) -> None:
        self.read = 0  # documents, and errors in place of one
        self.committed = 0
        self.passages = 0
        self.tokens = 0
        self.failed_count = 0
        self._seq = self._created = self._replaced = self._updated = self._unchanged = 0
        self._duplicate_count = self._truncated_count = 0
        self._failed: list[RecordError] = []
        self._duplicates: list[str] = []
        self._truncated: list[str] = []

    def note(self, notice: RecordError | Skipped | Duplicate) -> None:
        """Count and list an error or a duplicate; an omission counts for nothing."""
        match notice:
            case RecordError():
                self.failed_count += 1
                self._failed += [notice][: MAX_LISTED - len(self._failed)]
            case Duplicate():
                self._duplicate_count += 1
                self._duplicates += [notice.id][: MAX_LISTED - len(self._duplicates)]

    def count(self, ingested: Ingested) -> None:
        """Count a batch that was committed."""
        receipt = ingested.receipt
        self._seq = receipt.seq
        self.committed += receipt.created + receipt.replaced + receipt.updated + receipt.unchanged
        self._created += receipt.created
        self._replaced += receipt.replaced
        self._updated += receipt.updated
        self._unchanged += receipt.unchanged
        self.passages += ingested.passages
        self.tokens += ingested.tokens
        self._truncated_count += len(ingested.truncated)
        self._truncated += ingested.truncated[: MAX_LISTED - len(self._truncated)]

    def report(self) -> AddReport:
        """The report on everything so far."""
        return AddReport(
            seq=self._seq,
            created=self._created,
            replaced=self._replaced,
            updated=self._updated,
            unchanged=self._unchanged,
            passages=self.passages,
            tokens=self.tokens,
            failed=tuple(self._failed),
            failed_count=self.failed_count,
            duplicates=tuple(self._duplicates),
            duplicate_count=self._duplicate_count,
            truncated=tuple(self._truncated),
            truncated_count=self._truncated_count,
        )
