"""Who asks for a switch or a rollback, and whoever is at a portion meanwhile, in this process or in another."""

from __future__ import annotations

import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from core.context import Awaited, awaited, check_awaited
from core.errors import Abandoned, LockHeld, StorageBusy, StorageReadOnly
from indexer import preemption
from indexer.preemption import preemptible, preempting
from store.directory import REINDEX_QUEUE
from store.lock import held, is_held
from tests.store.children import running
from tests.waiting import stop, until

AT_WORK = """
import sys, time
from pathlib import Path
from indexer.preemption import preemptible
with preemptible(Path(sys.argv[1])):
    print("at work", flush=True)
    time.sleep(600)
"""


def test_one_portion_after_the_other_does_not_keep_who_asks_from_its_turn(tmp_path: Path) -> None:
    over, done = threading.Event(), [0]

    def work() -> None:
        while not over.is_set():
            try:
                with preemptible(tmp_path):
                    time.sleep(0.1)  # a portion of which nothing can be given up
                    done[0] += 1
            except LockHeld:
                time.sleep(0.001)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(5):
            until(lambda before=done[0]: done[0] > before)  # type: ignore[misc]
            began = time.monotonic()
            with preempting(tmp_path):
                assert time.monotonic() - began < preemption.LOCK_SECONDS / 2
                before = done[0]
                time.sleep(0.2)
                assert done[0] == before, "nobody works meanwhile"
    finally:
        over.set()
        for thread in threads:
            thread.join()


def test_the_portion_at_hand_is_given_up_in_another_process(tmp_path: Path) -> None:
    given_up, begun = threading.Event(), threading.Event()

    def work() -> None:
        with preemptible(tmp_path) as turn, awaited(turn):
            begun.set()
            try:
                for _ in range(3000):
                    check_awaited()
                    time.sleep(0.01)
            except Abandoned:
                given_up.set()

    thread = threading.Thread(target=work)
    thread.start()
    assert begun.wait(10)
    with preempting(tmp_path):
        assert given_up.is_set()
        with pytest.raises(LockHeld), preemptible(tmp_path):
            pass
    thread.join()
    with preemptible(tmp_path) as turn:
        assert not turn.over


def test_who_stands_still_is_named_as_soon_as_the_caller_waits_no_longer(tmp_path: Path) -> None:
    with running(AT_WORK, str(tmp_path)) as child:
        assert child.line() == "at work"
        stop(child.process)
        began = time.monotonic()
        said = rf"process {child.process.pid} on .* does not give way; nothing was switched"
        with (
            awaited(Awaited(time.monotonic() + 0.3)),
            pytest.raises(StorageBusy, match=said),
            preempting(tmp_path),
        ):
            pass
        assert 0.3 <= time.monotonic() - began < preemption.LOCK_SECONDS / 2
    with preempting(tmp_path):  # the kernel has freed what it held
        pass


def test_nothing_is_switched_for_whoever_has_left(tmp_path: Path) -> None:
    gone = Awaited()
    gone.give_up()
    with awaited(gone), pytest.raises(Abandoned), preempting(tmp_path):
        pass


def test_a_look_that_fails_is_logged_and_fails_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Others in line at the same model look, too: the error would be theirs."""

    def fail(directory: Path, name: str) -> bool:
        raise StorageReadOnly("no permission")

    with preemptible(tmp_path) as portion, caplog.at_level(logging.WARNING):
        with monkeypatch.context() as patched:
            patched.setattr(preemption, "is_held", fail)
            assert not portion.over
        assert "no permission" in caplog.text
        with held(tmp_path, REINDEX_QUEUE, timeout=5):
            until(lambda: portion.over)  # it looks again


def test_who_looks_is_not_taken_for_somebody_who_asks(tmp_path: Path) -> None:
    with preempting(tmp_path):
        assert is_held(tmp_path, REINDEX_QUEUE)
    with ThreadPoolExecutor(4) as threads:
        looks = threads.map(lambda _: is_held(tmp_path, REINDEX_QUEUE), range(4000))
    assert not any(looks)
