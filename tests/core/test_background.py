"""A thread beside the work at hand: when its end is waited for."""

from __future__ import annotations

import threading
import time

from core.background import in_background


def test_the_end_of_the_block_waits_for_the_thread() -> None:
    done = []

    def work(over: threading.Event) -> None:
        over.wait()
        time.sleep(0.1)
        done.append(threading.current_thread().name)

    with in_background(work, name="slow"):
        assert not done
    assert done == ["slow"]


def test_for_no_longer_than_asked() -> None:
    free, done = threading.Event(), threading.Event()

    def work(over: threading.Event) -> None:
        free.wait(30)
        assert over.is_set()
        done.set()

    began = time.monotonic()
    with in_background(work, name="stuck", stop_seconds=0.05):
        (thread,) = (thread for thread in threading.enumerate() if thread.name == "stuck")
    assert time.monotonic() - began < 10
    assert thread.is_alive()
    assert thread.daemon, "the process ends without it"
    free.set()
    assert done.wait(10)
    thread.join(10)
