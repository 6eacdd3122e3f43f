"""Whose fault it is that there are no vectors: one text's, or the remote's."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from core.errors import RemoteMismatch, RemoteRefused
from core.prompts import Prompt
from core.protocols import Priority
from core.records import Float32Array, Representation
from embedder.remote.identity import PROBE_TEXT
from tests.embedder.remote.conftest import Make
from tests.embedder.remote.server import DIMENSION, Remote, status


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


@pytest.mark.parametrize("code", [401, 403, 404])
def test_a_remote_that_refuses_everything_is_asked_once(remote: Remote, make: Make, code: int) -> None:
    encoder = make()
    _ = encoder.dimension
    remote.faults.extend([status(code)] * 50)
    with pytest.raises(RemoteRefused):
        encoder.encode([Prompt.of(f"text {i}") for i in range(30)], Representation.DOCUMENT, priority=Priority.BULK)
    assert len(remote.asked) == 1
