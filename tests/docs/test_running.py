"""The runner of pages notices what a page says and the program does not."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.docs.pages import Block, Page
from tests.docs.promises import hits, unwatched
from tests.docs.running import Runner, same

HITS = """\
 1  1.0000  Long title  tv  #1  dense 0.158 (1.)  sparse 0.396 (1.)
    Movies and TV programs.

 2  0.1472  radio  #3  dense 0.132 (2.)  sparse 0.000 (-)
    A radio for the kitchen.
"""
LEDGER = "+1.000000  sum of the legs\n└── +0.634067  dense: raw 0.514832, weight 0.634067 (starts from 0.50)\n"


def run(content: str, folder: Path) -> None:
    def search(arguments: list[str], here: str, environment: Mapping[str, str], standard: str) -> tuple[int, str, str]:
        return 0, '{"hits": [{"document_id": "tv"}]}' if "--json" in arguments else HITS, ""

    reader = folder / "reader"
    reader.mkdir()
    block = Block(kind="sh", content=content, line=1, reason=None, printed=None)
    Runner(reader, search).run(Page(name="a page", needs=(), reason=None, blocks=(block,)))


@pytest.mark.parametrize("promise", ["first: tv", "order: tv, radio"])
def test_a_promise_that_is_kept(promise: str, tmp_path: Path) -> None:
    run(f'export A=1\nsalience search "movies^7 or games" -c products   # {promise}\n', tmp_path)


@pytest.mark.parametrize("promise", ["first: radio", "order: radio, tv", "order: tv, radio, console"])
def test_a_promise_that_is_broken(promise: str, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="finds"):
        run(f'salience search "games" -c products\nsalience search "movies" -c products  # {promise}\n', tmp_path)


def test_a_promise_about_json(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="finds"):
        run('salience search "movies" --json -c products  # first: radio\n', tmp_path)


def test_the_hits_of_what_is_printed() -> None:
    assert hits(HITS) == ["tv", "radio"]


def test_promises_in_other_words_are_named() -> None:
    loose = 'salience search "a" -c products   # the console comes first'
    assert unwatched(f'{loose}\nsalience search "a"   # first: tv\nsalience search "a"   # by word\n') == [loose]


@pytest.mark.parametrize("shown", ["+1.000 sum of the legs\n└── +0.63 dense: raw 0.51, ...\n", "+1.0 sum ...\n...\n"])
def test_what_is_left_out_may_be_anything(shown: str) -> None:
    same(LEDGER, shown, where="here")


@pytest.mark.parametrize(
    "shown",
    ["+1.000 sum of the legs\n└── +0.53 dense: raw 0.51, ...\n", "+1.000 sum of the legs\n", "+1.0 summ...\n..."],
)
def test_what_is_shown_must_be_true(shown: str) -> None:
    with pytest.raises(AssertionError, match="here shows"):
        same(LEDGER, shown, where="here")
