"""Integrated gradients of the real model, held against the axioms that define them."""

import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from core.context import Awaited, awaited
from core.errors import Abandoned
from core.prompts import Prompt
from core.protocols import GradientEncoder, Priority, RanBatch
from core.records import Representation
from embedder.loading import load_encoder
from embedder.local import LocalEncoder
from embedder.modelqueue import ModelQueue
from embedder.scheduling import scheduler_of
from tests.embedder.tiny import save_tiny_model
from tests.models import made_model
from tests.waiting import until

TEXT = "The gray wolf hunts in packs. A radio for the kitchen wakes you up."


def direction(encoder: LocalEncoder, text: str) -> np.ndarray:  # type: ignore[type-arg]
    return encoder.encode([Prompt.of(text)], Representation.QUERY).vectors[0].astype(np.float64)


def test_the_parts_sum_to_the_cosine_less_that_of_an_empty_text(encoder: LocalEncoder) -> None:
    """Completeness (Sundararajan et al., proposition 1), and the cosine is the encoder's own."""
    assert isinstance(encoder, GradientEncoder)
    asked = direction(encoder, "wolves in winter")
    found = encoder.integrated_gradients(Prompt.of(TEXT), Representation.DOCUMENT, asked, steps=64)
    own = encoder.encode([Prompt.of(TEXT)], Representation.DOCUMENT).vectors[0] @ asked
    assert found.cosine == pytest.approx(own, abs=1e-4)
    assert found.values.sum() == pytest.approx(found.cosine - found.baseline, abs=5e-3)
    assert found.values[found.special] == pytest.approx(0, abs=1e-7)
    top = found.spans[found.values.argmax()]
    assert TEXT[slice(*top)] == "wolf"


def test_a_token_that_is_padding_itself_adds_nothing(encoder: LocalEncoder) -> None:
    """Sensitivity: where text and baseline do not differ there is nothing to tell."""
    found = encoder.integrated_gradients(Prompt.of("wolf [PAD] rain"), Representation.DOCUMENT, direction(encoder, "x"))
    [padding] = [i for i, span in enumerate(found.spans) if tuple(span) == (5, 10)]
    assert found.values[padding] == 0


def test_a_network_of_transformers_is_read_alike() -> None:
    e5 = load_encoder(str(made_model("multilingual-e5-small")), device="cpu", precision="fp32")
    asked = direction(e5, "wolves in winter")
    found = e5.integrated_gradients(Prompt.of(TEXT), Representation.DOCUMENT, asked)
    assert found.cosine == pytest.approx(
        float(e5.encode([Prompt.of(TEXT)], Representation.DOCUMENT).vectors[0] @ asked), abs=1e-4
    )
    assert found.special.sum() > 2  # the prefix "passage: " is no word of the text
    assert np.isfinite(found.values).all()


def tiny(folder: Path) -> LocalEncoder:
    return load_encoder(str(save_tiny_model(folder / "m")), device="cpu", precision="fp32")


def test_its_steps_take_turns_with_whatever_computes_on_the_device(tmp_path: Path) -> None:
    encoder, told, found = tiny(tmp_path), list[RanBatch](), list[float]()
    asked = direction(encoder, "the wolf")
    encoder.observe(told.append)

    def explain() -> None:
        found.append(encoder.integrated_gradients(Prompt.of("red car"), Representation.DOCUMENT, asked).cosine)

    thread = threading.Thread(target=explain)
    with ModelQueue(scheduler_of(torch.device("cpu"))).turn(Priority.INTERACTIVE, texts=1, tokens=1):
        thread.start()
        until(lambda: encoder.waiting()[Priority.INTERACTIVE] == 1)
        assert not told
    thread.join(30)
    assert len(found) == 1
    assert [(batch.texts, batch.tokens) for batch in told] == [(8, 32), (8, 32), (8, 32), (2, 8)]
    assert not any(encoder.waiting().values())


def test_it_ends_at_the_steps_after_which_nobody_waits(tmp_path: Path) -> None:
    encoder, told, answer = tiny(tmp_path), list[RanBatch](), Awaited()
    asked = direction(encoder, "the wolf")

    def leave(batch: RanBatch) -> None:
        told.append(batch)
        answer.give_up()

    encoder.observe(leave)
    with awaited(answer), pytest.raises(Abandoned):
        encoder.integrated_gradients(Prompt.of("red car"), Representation.DOCUMENT, asked)
    assert len(told) == 1
