"""Explanations of images by a real network of two towers, against a plain loop over the tiles."""

from pathlib import Path

import numpy as np
import pytest

from core.prompts import ControlOptions, ControlTarget, ImageControl, ImageItem, Prompt, TextControl, TextItem
from core.protocols import Encoder
from core.records import Representation
from embedder.explaining.explain import explain
from embedder.explaining.request import ExplanationRequest, Granularity, ImageScores, TextScores
from embedder.explaining.similarity import Similarity
from embedder.loading import load_model
from tests.embedder.vision.tinyvision import encoded, noise, save_tiny_vision

OPTIONS = ControlOptions(target=ControlTarget.ATTENTION)


@pytest.fixture(scope="module")
def towers(tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    folder: Path = save_tiny_vision(tmp_path_factory.mktemp("towers") / "clip")
    return load_model(folder, device="cpu")  # type: ignore[return-value]


def test_tiles_and_words_of_one_prompt_are_those_of_a_plain_loop(towers: Encoder) -> None:
    """A high image, of which the model sees the square in the middle: what lies outside has no importance."""
    own = ImageControl(left=0.4, top=0.4, width=0.3, height=0.2, factor=3.0)
    image = ImageItem(data=encoded(noise(4, 60, 120)), controls=(own,))
    text = TextItem(text="my red car")
    prompt = Prompt(items=(image, text))
    request = ExplanationRequest(
        prompt=prompt, target="big house", granularity=Granularity.WORD, options=OPTIONS, control_factor=0.2
    )
    [explanation] = explain(Similarity(towers), request).explanations
    tiles, words = explanation.items
    assert isinstance(tiles, ImageScores)
    assert isinstance(words, TextScores)
    assert (len(tiles.scores), len(words.scores)) == (36, 3)

    def cosine(changed: Prompt) -> float:
        found = towers.encode([changed, Prompt.of("big house")], Representation.SYMMETRIC, options=OPTIONS)
        return float(found.vectors[0].astype(np.float64) @ found.vectors[1].astype(np.float64))

    base = cosine(prompt)
    for tile in tiles.scores:
        control = ImageControl(left=tile.left, top=tile.top, width=tile.width, height=tile.height, factor=0.2)
        changed = Prompt(items=(ImageItem(data=image.data, controls=(own, control)), text))
        assert tile.score == pytest.approx(base - cosine(changed), abs=1e-4)
    for word in words.scores:
        steered = TextItem(text=text.text, controls=(TextControl(start=word.start, length=word.length, factor=0.2),))
        assert word.score == pytest.approx(base - cosine(Prompt(items=(image, steered))), abs=1e-4)
    outside = [tile.score for tile in tiles.scores if tile.top + tile.height <= 0.25 or tile.top >= 0.75]
    inside = [tile.score for tile in tiles.scores if tile.top + tile.height > 0.25 and tile.top < 0.75]
    assert np.abs(outside).max() < 1e-6 < 1e-4 < np.abs(inside).max()
