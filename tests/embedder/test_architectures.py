"""Networks beyond BERT, held to sentence-transformers; and the table of them in the documentation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

from core.errors import InvalidControl
from core.prompts import ControlOptions, ControlTarget, Prompt, TextControl
from core.records import Representation
from embedder.loading import load_encoder
from embedder.local import LocalEncoder
from tests.embedder.architectures import ARCHITECTURES, Architecture, save_architecture

TEXTS = ["i want to play on my tv", "the wolf", "a red car " * 8, "movie"]


@pytest.fixture(scope="module", params=ARCHITECTURES, ids=lambda which: which.name)
def model(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Architecture, Path, LocalEncoder]:
    folder = save_architecture(tmp_path_factory.mktemp("model"), request.param)
    return request.param, folder, load_encoder(str(folder), device="cpu", precision="fp32")


def test_vectors_equal_those_of_sentence_transformers(model: tuple[Architecture, Path, LocalEncoder]) -> None:
    _, folder, encoder = model
    oracle = SentenceTransformer(str(folder), device="cpu")
    documents = encoder.encode([Prompt.of(text) for text in TEXTS], Representation.DOCUMENT).vectors
    queries = encoder.encode([Prompt.of(text) for text in TEXTS], Representation.QUERY).vectors
    assert np.abs(documents - oracle.encode_document(TEXTS)).max() < 1e-4
    assert np.abs(queries - oracle.encode_query(TEXTS)).max() < 1e-4
    assert np.abs(documents @ documents.T - 1).max() > 1e-3  # the texts are told apart
    assert np.abs(documents - queries).max() > 1e-3  # and so are the representations


def test_a_text_has_the_same_vector_alone(model: tuple[Architecture, Path, LocalEncoder]) -> None:
    _, _, encoder = model
    prompts = [Prompt.of(text) for text in TEXTS]
    batch = encoder.encode(prompts, Representation.DOCUMENT).vectors
    alone = [encoder.encode([prompt], Representation.DOCUMENT).vectors[0] for prompt in prompts]
    assert np.abs(batch - alone).max() < 1e-5


def test_a_text_is_cut_to_the_positions_that_there_are(model: tuple[Architecture, Path, LocalEncoder]) -> None:
    long = model[2].encode([Prompt.of("the wolf " * 300)], Representation.DOCUMENT)
    assert np.isfinite(long.vectors).all()
    assert long.token_counts[0] <= model[2].max_tokens


def test_controls_act_or_are_refused(model: tuple[Architecture, Path, LocalEncoder]) -> None:
    which, _, encoder = model
    options = ControlOptions(target=ControlTarget.ATTENTION)
    prompts = [Prompt.of(text, controls=(TextControl(start=0, length=3, factor=0),)) for text in ("red car", "the car")]
    assert encoder.support.attention is which.steerable
    if not which.steerable:
        with pytest.raises(InvalidControl, match="does not take controls on attention: "):
            encoder.encode(prompts, Representation.DOCUMENT, options=options)
        return
    red, the = encoder.encode(prompts, Representation.DOCUMENT).vectors
    plain = encoder.encode([Prompt.of("red car"), Prompt.of("the car")], Representation.DOCUMENT).vectors
    assert np.abs(red - the).max() < 1e-4  # the suppressed word is gone
    assert np.abs(plain[0] - plain[1]).max() > 1e-3


def test_the_documentation_lists_what_is_tested() -> None:
    text = (Path(__file__).resolve().parents[2] / "docs" / "models.md").read_text(encoding="utf-8")
    rows = [f"| {a.name} | {a.pooling} | {'yes' if a.steerable else 'no'} |" for a in ARCHITECTURES]
    assert "| --- | --- | --- |\n" + "\n".join(rows) + "\n\n" in text
