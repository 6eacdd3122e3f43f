"""Repair a data directory: rebuild what is damaged from what is sound, and report what was done.

Derived data is rebuilt: segments, indexes, filter values, the change log, counts, embeddings. Of a value that is stored
twice, in a row and in an index, the one that is consistent with the rest is kept. A damaged text cannot be repaired:
its document is reported. Everything is decided by the findings of `verify`, before and after each step.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from core.errors import SalienceError, StorageBusy, StorageCorrupt, StorageError
from core.naming import HIDDEN, is_hidden
from core.records import Document
from store.database import Database
from store.failpoints import reached
from store.faults import database_errors, file_errors
from store.maintenance import owning
from store.migrate import SCHEMA_VERSION
from store.passageindex.protocol import PassageIndex
from store.processes import processes
from store.reindex.dropping import deleted_names, drop_deleted
from store.repair.documents import mend_fields, prepare
from store.repair.embeddings import drop_embeddings, mend_embeddings
from store.repair.file import open_to_mend, write_anew
from store.repair.mending import Mending
from store.repair.passageindex import mend_passage_indexes
from store.repair.rows import mend_rows
from store.repair.segments import mend_segments
from store.verify import Finding, Progress, Recheck, Verification, verify
from store.wal import cut_log, lost_transactions

_ROWS = ("file", "collections", "change log", "jobs")  # the checks whose findings are repaired row by row

# Adds documents to a generation, given by its own name; raises SalienceError where it cannot. Called without documents
# it only checks whether it could.
Remake = Callable[[str, Sequence[Document]], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Repair:
    """What was done, or would be in a dry run."""

    done: tuple[str, ...]
    failed: tuple[str, ...]  # what was tried in vain, and why
    doubts: tuple[str, ...]  # values stored twice, neither of which is known to be right: that of the row was kept
    left: Verification  # what is still damaged; in a dry run: what is damaged

    @property
    def needed(self) -> bool:
        return bool(self.done or self.failed or self.doubts or self.left.findings)


def repair(
    directory: Path,
    *,
    remake: Remake,
    recheck: Recheck | None = None,
    index: PassageIndex | None = None,
    dry_run: bool = False,
    allow_network: bool = False,
    on_progress: Progress | None = None,
) -> Repair:
    """Repair what can be repaired. Raises StorageBusy while a server or a worker uses the directory.

    `remake`: embeds documents whose texts are sound, but not their embeddings. `index`: as for verify. `dry_run`: only
    report what would be done; a real run may do more, as one repair can lead to another. `allow_network`: as for
    Database.open. If it is killed, the next call continues.

    Raises StorageError where there is no database, or one of another schema; StorageFull, StorageReadOnly.
    """
    with _alone(directory):
        work = _Work(directory, remake, dry_run, allow_network)
        if not work.mend_log():
            return work.result(verify(directory, recheck=recheck, index=index))

        def look() -> Verification:
            return verify(directory, recheck=recheck, index=index, on_progress=on_progress)

        found = look()
        if found.version != SCHEMA_VERSION:
            if found.ok:
                raise StorageError(
                    f"data directory {directory}: has the schema {found.version}; upgrade it to {SCHEMA_VERSION} "
                    "first, with: salience migrate"
                )
            return work.result(found)  # only a backup helps
        for step in (
            work.mend_rows,
            work.drop_deleted,
            work.mend_documents,
            work.mend_segments,
            work.mend_passage_indexes,
        ):
            if step(work.staying(found.findings)) and not dry_run:
                found = look()
        return work.result(found)


@dataclass(slots=True)
class _Work:
    directory: Path
    remake: Remake
    dry_run: bool
    allow_network: bool
    done: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)
    suspects: dict[str, set[str]] = field(default_factory=dict)  # documents to be embedded anew, by collection
    leaving: set[str] = field(default_factory=set)  # deleted collections that are about to go, in a dry run

    def staying(self, findings: Sequence[Finding]) -> list[Finding]:
        """The findings, without those of collections that are about to be removed."""
        return [finding for finding in findings if finding.collection not in self.leaving]

    def mend_log(self) -> bool:
        """Cut a damaged log. False where that is still to be done, and nothing else can be checked before it."""
        with file_errors(self.directory):
            lost = lost_transactions(self.directory) if self.dry_run else cut_log(self.directory)
        reached("repair.log_cut")
        if lost:
            self.done.append(
                f"the write-ahead log is cut where it is damaged: {lost} committed transactions behind that, at least, "
                "are given up"
            )
        return not (lost and self.dry_run)

    def mend_rows(self, findings: Sequence[Finding]) -> bool:
        if not any(finding.check in _ROWS for finding in findings):
            return False
        try:
            self._mend_rows()
        except StorageCorrupt:  # not even SQLite can rebuild an index
            if not self.dry_run:
                write_anew(self.directory)
            self.done.append("the database file: all of its rows are written anew, and its indexes made from them")
            if not self.dry_run:
                self._mend_rows()
        return True

    def _mend_rows(self) -> None:
        with database_errors(self.directory), closing(open_to_mend(self.directory)) as opened:
            mending = Mending(opened.connection, self.directory)
            with opened.transaction(undo=self.dry_run), _senseless_is_corrupt(self.directory):
                mend_rows(mending)
                reached("repair.rows_mended")
        self.done += mending.done
        self.failed += mending.failed
        self.doubts += mending.doubts
        self.suspects = mending.suspects

    def drop_deleted(self, findings: Sequence[Finding]) -> bool:
        """Remove the remains of deleted collections instead of repairing them; whether there were any."""
        damaged = [*self.suspects, *(finding.collection or "" for finding in findings)]
        if not any(map(is_hidden, damaged)):
            return False
        with closing(Database.open(self.directory, allow_network=self.allow_network)) as database:
            with database.read() as session:
                deleted = deleted_names(session)
            if self.dry_run:
                self.leaving = deleted
            else:
                drop_deleted(database)
        self.suspects = {name: ids for name, ids in self.suspects.items() if name not in deleted}
        if deleted:
            self.done.append("what deleted collections left: removed")
        return bool(deleted)

    def mend_documents(self, findings: Sequence[Finding]) -> bool:
        fields = _by_collection(finding for finding in findings if finding.fields)
        broken = {finding.embedding for finding in findings if finding.embedding is not None}
        if not (self.suspects or broken or any(finding.documents for finding in findings)):
            return False
        with closing(Database.open(self.directory, allow_network=self.allow_network)) as database:
            for name, ids in fields.items():
                if not self.dry_run:
                    mend_fields(database, name, ids)
                self._say("the values that filters compare are made anew", name, ids)
            mended = mend_embeddings(database, broken, dry_run=self.dry_run)
            if mended:
                self.done.append(f"{len(mended)} embeddings are read back from the segments")
            anew = _by_collection(
                finding for finding in findings if not finding.fields and finding.embedding not in mended
            )
            for name, ids in self.suspects.items():
                anew.setdefault(name, set()).update(ids)
            for name, ids in anew.items():
                self._remake(database, name, ids)
            unused = {
                finding.embedding for finding in findings if finding.embedding is not None and not finding.documents
            } - mended
            if unused:
                if not self.dry_run:
                    drop_embeddings(database, unused)
                self.done.append(f"{len(unused)} embeddings that no document has: removed")
        return True

    def _remake(self, database: Database, name: str, ids: Collection[str]) -> None:
        if not self.dry_run:
            try:
                self.remake(name, ())  # checks whether it can
                documents = prepare(database, name, ids)
                reached("repair.documents_prepared")
                self.remake(name, documents)
            except SalienceError as error:
                reason = f"{error.message}{_way_out(name)}"
                self.failed.append(f"{len(ids)} documents of {name!r} cannot be embedded anew: {reason}")
                return
        self._say("embedded anew from their texts", name, ids)

    def mend_segments(self, findings: Sequence[Finding]) -> bool:
        found = [finding for finding in findings if finding.check == "segments"]
        if not found:
            return False
        with closing(Database.open(self.directory, allow_network=self.allow_network)) as database:
            self.done += mend_segments(database, found, dry_run=self.dry_run)
        return True

    def mend_passage_indexes(self, findings: Sequence[Finding]) -> bool:
        if not any(finding.check == "passage index" for finding in findings):
            return False
        with closing(Database.open(self.directory, allow_network=self.allow_network)) as database:
            done, failed = mend_passage_indexes(database, findings, dry_run=self.dry_run)
        reached("repair.passage_indexes_mended")
        self.done += done
        self.failed += failed
        return True

    def result(self, left: Verification) -> Repair:
        return Repair(done=tuple(self.done), failed=tuple(self.failed), doubts=tuple(self.doubts), left=left)

    def _say(self, what: str, collection: str, ids: Collection[str]) -> None:
        some = ", ".join(f"{id_!r:.140}" for id_ in sorted(ids)[:3])
        self.done.append(f"{len(ids)} documents of {collection!r} ({some}{', ...' if len(ids) > 3 else ''}): {what}")


def _way_out(name: str) -> str:
    """A hint for a hidden generation, which answers no search and so need not be repaired."""
    if not is_hidden(name):
        return ""
    serving = name.partition(HIDDEN)[0]
    return f"; no search needs it: salience reindex cancel {serving} removes it, or cleanup if it answered before"


@contextmanager
def _senseless_is_corrupt(directory: Path) -> Iterator[None]:
    """Raise StorageCorrupt for errors of nonsensical rows: damage in many places can make anything of a row."""
    try:
        yield
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, sqlite3.IntegrityError) as error:
        raise StorageCorrupt(
            f"data directory {directory}: holds what cannot be ({error}), and is beyond repair; restore a backup"
        ) from error


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    there = processes(directory) if directory.is_dir() else []
    if there:
        raise StorageBusy(
            f"data directory {directory}: in use by {'; '.join(map(str, there))}. Stop these before it is repaired; "
            "damaged segments they make anew by themselves"
        )
    if not directory.is_dir():
        raise StorageError(f"there is no data directory {directory}")
    with owning(directory):
        yield


def _by_collection(findings: Iterator[Finding]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for finding in findings:
        if finding.collection is not None and finding.documents:
            found.setdefault(finding.collection, set()).update(finding.documents)
    return found
