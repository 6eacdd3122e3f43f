"""Pixels as transformers' own image processors make them."""

import json
from pathlib import Path

import numpy as np
import pytest
from transformers import AutoImageProcessor

from core.errors import ModelError
from embedder.vision.imagefile import read_picture
from embedder.vision.processor import read_image_settings
from tests.embedder.tiny import write_json
from tests.embedder.vision.tinyvision import encoded, noise, save_tiny_vision

SIZES = {"clip": 32, "clip-margin": 32, "siglip": 30}


@pytest.mark.parametrize("kind", list(SIZES))
@pytest.mark.parametrize("side", [7, 30, 32, 40, 61, 500])
def test_a_square_becomes_what_transformers_makes_of_it(tmp_path: Path, kind: str, side: int) -> None:
    folder = save_tiny_vision(tmp_path / "m", kind)
    image = noise(side, side, side)
    expected = AutoImageProcessor.from_pretrained(folder)(image, return_tensors="np")["pixel_values"][0]
    found = read_image_settings(folder, SIZES[kind]).pixels(read_picture(encoded(image), None))
    assert found.dtype == np.float32
    assert np.abs(found - expected).max() < 1e-6


@pytest.mark.parametrize("resample", range(6))
def test_each_filter_and_the_older_form_of_the_settings(tmp_path: Path, resample: int) -> None:
    config = {
        "feature_extractor_type": "CLIPFeatureExtractor",
        "image_processor_type": "CLIPImageProcessor",
        "do_center_crop": True,
        "do_normalize": True,
        "do_resize": True,
        "size": 36,
        "crop_size": 32,
        "resample": resample,
        "image_mean": [0.4, 0.5, 0.6],
        "image_std": [0.2, 0.3, 0.4],
    }
    write_json(tmp_path / "preprocessor_config.json", config)
    image = noise(1, 50, 50)
    expected = AutoImageProcessor.from_pretrained(tmp_path)(image, return_tensors="np")["pixel_values"][0]
    found = read_image_settings(tmp_path, 32).pixels(read_picture(encoded(image), None))
    assert np.abs(found - expected).max() < 1e-6


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size": {"height": 32, "width": 48}}, "only squares"),
        ({"size": {"shortest_edge": 32, "longest_edge": 64}}, "only squares"),
        ({"size": "large"}, "number of pixels"),
        ({"size": {}}, "height"),
        ({"crop_size": 24}, "resized to 32 and cut to 24 pixels, but the image tower reads 32"),
        ({"size": 16}, "resized to 16 and cut to 32"),
        ({"resample": 9}, "9 is not a valid Resampling"),
        ({"image_mean": [0.5, 0.5]}, "not enough values"),
        ({"image_mean": None}, "TypeError"),
        ({"image_std": [0, 1, 1]}, "must be above 0"),
        ({"image_std": [float("nan"), 1, 1]}, "not a finite number"),
        ({"do_normalize": False}, "do_normalize is off"),
        ({"do_resize": False}, "do_resize is off"),
        ({"do_pad": True}, "do_pad is on"),
    ],
)
def test_settings_without_a_meaning_are_named(tmp_path: Path, change: dict[str, object], message: str) -> None:
    folder = save_tiny_vision(tmp_path / "m")
    config = json.loads((folder / "processor_config.json").read_text())["image_processor"]
    write_json(folder / "preprocessor_config.json", config | change)
    with pytest.raises(ModelError, match=message) as raised:
        read_image_settings(folder, 32)
    assert "preprocessor_config.json" in str(raised.value)


def test_a_folder_without_settings_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"has no preprocessor_config\.json"):
        read_image_settings(tmp_path, 32)
