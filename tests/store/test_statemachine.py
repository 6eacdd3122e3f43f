"""The store against a dictionary: whatever is done to it, in whatever order, by two processes that may die."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.store.statemachine.patching import DoesNotApply, apply
from tests.store.statemachine.running import copy_program, hunt_in, run, run_beside

BUGS = sorted((Path(__file__).parent / "statemachine" / "bugs").glob("*.patch"))

QUICKLY_FOUND = "the_tail_is_not_searched_after_a_seal"


def test_whatever_is_done_searches_are_those_of_a_dictionary(thorough: bool) -> None:
    if thorough:
        processes = min(4, os.cpu_count() or 1)
        run_beside(-(-400 // processes), 60, processes=processes)
    else:
        run(12, 30)


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.stem)
def test_a_seeded_bug_is_found(bug: Path, tmp_path: Path, thorough: bool) -> None:
    """Without --thorough one of them is hunted, and the others' patches still fit."""
    copy_program(tmp_path)
    apply(bug.read_text("utf-8"), tmp_path)
    if thorough or bug.stem == QUICKLY_FOUND:
        done = hunt_in(tmp_path, runs=100, steps=60)
        assert done.returncode == 1, f"nobody notices {bug.name}\n{done.stderr}"
        assert "AssertionError" in done.stderr, done.stderr


def test_a_patch_that_no_longer_fits_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file.py").write_text("one\ntwo\ntwo\n")
    patch = "--- a/file.py\n+++ b/file.py\n@@ -1,2 +1,2 @@\n{}\n"
    for hunk in (" one\n-three\n+four", "-two\n+four"):
        with pytest.raises(DoesNotApply):
            apply(patch.format(hunk), tmp_path)
    apply(patch.format(" one\n-two\n+four"), tmp_path)
    assert (tmp_path / "file.py").read_text() == "one\nfour\ntwo\n"
