"""salience repair: rebuilds damaged parts of a data directory from intact ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from app.cli.checking import note_in_audit_log, print_verification, steps, verification_body
from app.cli.options import DataDir, Device, Json, Model, open_existing
from app.cli.terminal import BAD, GOOD, note, out, plain, print_json
from app.wiring import Wiring
from core.errors import StorageCorrupt
from core.records import Document
from indexer.recheck import recheck
from store.audit import DONE
from store.repair import Remake, Repair
from store.repair import repair as repair_directory


def repair(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Change nothing; say what would be done.")] = False,
    as_json: Json = False,
    data_dir: DataDir = None,
    model: Model = None,
    device: Device = None,
) -> None:
    """Mend what is damaged from what is sound, and say what that was.

    Segments, indexes, filter values, the change log and counts are made anew from the rest; embeddings from the
    segments, or by the model. Texts cannot be: what is lost is named. Stop servers and workers before.

    [bold]Example[/bold]

      salience repair --dry-run
    """
    with open_existing(data_dir, model, device) as parts:
        directory = parts.settings.data_dir
        with steps() as shown:
            done = repair_directory(
                directory,
                remake=_remake(parts),
                recheck=recheck,
                index=parts.passage_index,
                dry_run=dry_run,
                allow_network=parts.settings.allow_network_file_system,
                on_progress=shown.verifying,
            )
    if not dry_run:
        outcome = DONE if done.left.ok else StorageCorrupt.code
        allow_network = parts.settings.allow_network_file_system
        note_in_audit_log(directory, "repair", directory.absolute(), outcome, allow_network=allow_network)
    if as_json:
        lists = {"done": done.done, "failed": done.failed, "doubts": done.doubts}
        texts = {name: [plain(line) for line in lines] for name, lines in lists.items()}
        print_json({"dry_run": dry_run, **texts, "left": verification_body(directory, done.left)})
    else:
        _print(done, dry_run)
        if not dry_run:
            print_verification(directory, done.left)
    if not dry_run and not done.left.ok:
        raise typer.Exit(1)


def _remake(parts: Wiring) -> Remake:
    """Embeds documents again by the pipeline, which only loads the model if it is needed."""

    def remake(collection: str, documents: Sequence[Document]) -> None:
        parts.pipeline.remake(collection, documents)

    return remake


def _print(done: Repair, dry_run: bool) -> None:
    if not done.needed:
        return
    for line in done.done:
        out.print(plain(f"{'would be done: ' if dry_run else ''}{line}"), style=GOOD)
    for line in done.failed:
        out.print(plain(f"failed: {line}"), style=BAD)
    for line in done.doubts:
        out.print(plain(f"in doubt: {line}"), style=BAD)
    if dry_run:
        note(f"{len(done.left.findings)} findings in all; salience verify lists them")
