"""Output shared by verify, backup and restore: their progress, and the findings of a verification."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import Any

from rich.progress import Progress, TaskID

from app.access.auditing import note_of_directory
from app.cli.terminal import BAD, note, out, plain, progress_bar
from core.errors import StorageError
from store.verify import MAX_FINDINGS, Verification

SHOWN = 20  # findings per check; --json lists more


class Steps:
    """Shows copying and verifying as lines of a live progress bar."""

    def __init__(self, bar: Progress) -> None:
        self._bar = bar
        self._lines: dict[str, TaskID] = {}

    def copying(self, done: int, total: int) -> None:
        """Report progress in pages of the database file."""
        self._show("copying", done, total)

    def verifying(self, what: str, done: int, total: int | None) -> None:
        self._show(f"checking {what}", done, total)

    def _show(self, what: str, done: int, total: int | None) -> None:
        if what not in self._lines:
            self._lines[what] = self._bar.add_task(what, total=total)
        self._bar.update(self._lines[what], completed=done, total=total)


@contextmanager
def steps() -> Iterator[Steps]:
    with progress_bar() as bar:
        yield Steps(bar)


def note_in_audit_log(directory: Path, action: str, target: Path | str, outcome: str, *, allow_network: bool) -> None:
    """Record an action on a data directory in its audit log. If that fails, print a note: the action still counts."""
    try:
        note_of_directory(directory, action, str(target), outcome, allow_network=allow_network)
    except StorageError as error:
        note(f"the audit log does not tell of this {action}: {error.message}")


def described(done: Verification) -> str:
    """What was checked, as "3 documents, 3 passages, ..." """
    counts = {what: count for what, count in done.checked.items() if what != "file"}
    return ", ".join(f"{count:,} {_noun(what, count)}" for what, count in counts.items() if count) or "its structure"


def _noun(plural: str, count: int) -> str:
    """ "segment" for "segments" if `count` is 1."""
    if count != 1:
        return plural
    return plural.removesuffix("es") if plural.endswith(("ches", "xes")) else plural.removesuffix("s")


def verification_body(directory: Path, done: Verification) -> dict[str, Any]:
    return {
        "ok": done.ok,
        "data_dir": str(directory),
        "schema": done.version,
        "checked": dict(done.checked),
        "findings": [
            {"check": finding.check, "where": plain(finding.where), "problem": plain(finding.problem)}
            for finding in done.findings
        ],
        "not_checked": list(done.unchecked),
        "notes": list(done.notes),
    }


def print_verification(directory: Path, done: Verification) -> None:
    """Print the findings, and advice on what to do about them."""
    if done.ok:
        out.print(f"{directory} is intact: {described(done)}")
    for check, group in groupby(done.findings, key=lambda finding: finding.check):
        findings = list(group)
        for finding in findings[:SHOWN]:
            out.print(plain(f"{check}: {finding.where}: {finding.problem}"), style=BAD)
        if len(findings) > SHOWN:
            least = "at least " if len(findings) >= MAX_FINDINGS else ""
            out.print(f"{check}: {least}{len(findings) - SHOWN:,} more; --json lists up to {MAX_FINDINGS:,}")
    for left in done.unchecked:
        note(f"not checked: {left}")
    for remark in done.notes:
        note(remark)
    if not done.ok:
        note(_advice(directory, done))


def _advice(directory: Path, done: Verification) -> str:
    restoring = f"restore a backup into a new directory: salience restore BACKUP -d {directory}-restored"
    if all(finding.check == "documents" and not finding.documents and not finding.fields for finding in done.findings):
        return (
            f"{directory} is damaged in what is named above, of which there is no other copy here. Delete those "
            f"documents and add them again (salience delete, salience add), or {restoring}"
        )
    return (
        f"{directory} is damaged. What can be made anew from the rest, salience repair makes anew (--dry-run says what "
        f"that is; keep a copy of the directory). For anything else, {restoring}"
    )
