"""Whose fault it is that there are no vectors: one text's, or the remote's."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from core.context import counted
from core.errors import InvalidInput, RemoteMismatch, RemoteRefused
from core.prompts import Prompt
from core.protocols import Priority
from core.records import Float32Array, Representation
from embedder.remote.identity import PROBE_TEXT
from tests.embedder.remote.conftest import Make
from tests.embedder.remote.server import DIMENSION, Received, Remote, status
from tests.embedder.remote.world import FakeTime


@pytest.mark.parametrize("priority", [Priority.INTERACTIVE, Priority.BULK])
def test_a_text_without_a_vector_is_told_apart_from_a_remote_that_makes_none(
    remote: Remote, make: Make, priority: Priority
) -> None:
    def without(bad: Callable[[str], bool]) -> None:
        vector = type(remote).vector

        def made(text: str) -> Float32Array:
            return vector(remote, text) * (math.nan if bad(text) else 1.0)

        remote.vector = made  # type: ignore[method-assign]

    encoder, given = make(batch_items=4), [Prompt.of(text) for text in ("a", "b", "c", "bad", "d")]
    _ = encoder.dimension
    without(lambda text: text == "bad")
    with pytest.raises(RemoteMismatch, match="holds a value that is not finite") as caught:
        encoder.encode(given, Representation.DOCUMENT, priority=priority)
    assert caught.value.index == 3
    without(lambda text: text in ("a", PROBE_TEXT))
    with pytest.raises(RemoteMismatch, match="holds a value that is not finite") as caught:
        encoder.encode(given, Representation.DOCUMENT, priority=priority)
    assert caught.value.index is None


def test_a_first_answer_without_a_vector_is_no_callers_fault(remote: Remote, make: Make) -> None:
    remote.vector = lambda text: np.zeros(DIMENSION, dtype=np.float32)  # type: ignore[method-assign]
    with pytest.raises(RemoteMismatch, match="is all zero") as caught:
        make().encode([Prompt.of("a")], Representation.QUERY)
    assert caught.value.index is None


@pytest.mark.parametrize("code", [401, 404])
def test_a_remote_that_refuses_everything_is_asked_once(remote: Remote, make: Make, code: int) -> None:
    encoder = make()
    _ = encoder.dimension
    remote.faults.extend([status(code)] * 50)
    with pytest.raises(RemoteRefused):
        encoder.encode([Prompt.of(f"text {i}") for i in range(30)], Representation.DOCUMENT, priority=Priority.BULK)
    assert len(remote.asked) == 1


@pytest.mark.parametrize("code", [403, 451])
@pytest.mark.parametrize("priority", [Priority.INTERACTIVE, Priority.BULK])
def test_a_filter_before_the_remote_minds_one_text_or_everything(
    remote: Remote, make: Make, code: int, priority: Priority
) -> None:
    encoder, given = make(), [Prompt.of(text) for text in ("a", "b", "attack", "c")]
    _ = encoder.dimension
    remote.refusal, remote.refuses = code, lambda request: "attack" in request.texts
    with pytest.raises(InvalidInput, match=f"answered {code}") as caught:
        encoder.encode(given, Representation.DOCUMENT, priority=priority)
    assert caught.value.index == 2
    remote.refuses_probes, remote.refuses = True, lambda request: True
    with pytest.raises(RemoteRefused, match=f"answered {code}"):
        encoder.encode(given, Representation.DOCUMENT, priority=priority)


def test_a_remote_that_takes_no_text_beside_the_probe_is_at_fault_and_no_text(remote: Remote, make: Make) -> None:
    encoder = make()
    _ = encoder.dimension
    remote.refuses = lambda request: len(request.texts) > 1
    with pytest.raises(RemoteRefused):
        encoder.encode([Prompt.of("a"), Prompt.of("b")], Representation.DOCUMENT, priority=Priority.BULK)


def test_each_part_of_a_batch_that_is_too_large_has_the_time_of_a_batch(
    remote: Remote, make: Make, time: FakeTime
) -> None:
    encoder = make(deadline_seconds=2, batch_items=16)
    _ = encoder.dimension

    def slow(request: Received) -> float:
        time.seconds += 0.5
        return 0.0

    remote.delay, remote.refuses = slow, lambda request: len(request.texts) > 3
    texts = [f"text {i}" for i in range(16)]
    made = encoder.encode([Prompt.of(text) for text in texts], Representation.DOCUMENT, priority=Priority.BULK)
    assert made.vectors == pytest.approx(np.array([remote.unit(text) for text in texts]), abs=1e-6)


def test_what_was_asked_in_halves_is_counted_once_or_not_at_all(remote: Remote, make: Make) -> None:
    encoder, read = make(), list[int]()
    _ = encoder.dimension
    remote.refuses = lambda request: len(request.texts) > 3
    with counted(read.append):
        made = encoder.encode([Prompt.of(f"text {i}") for i in range(8)], Representation.DOCUMENT)
    assert sum(read) == made.token_counts.sum()
    remote.refuses = lambda request: "bad" in request.texts
    read.clear()
    with counted(read.append), pytest.raises(InvalidInput):
        encoder.encode([Prompt.of(text) for text in ("a", "b", "c", "bad")], Representation.DOCUMENT)
    assert sum(read) == 0
