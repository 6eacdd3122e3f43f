"""Prompts for a model of texts and images, and what it makes of them."""

from pathlib import Path

import numpy as np
from PIL import Image

from core.prompts import ControlOptions, ControlTarget, Crop, ImageControl, ImageItem, Prompt
from core.records import Representation
from embedder.loading import load_model
from embedder.vision.encoder import VisionEncoder
from tests.embedder.vision.tinyvision import encoded, noise

TEXTS = ["red car", "the big blue house", "i want to play on my tv " * 4, "x"]
IMAGES = [noise(1), noise(2, 37, 37), noise(3, 90, 90)]
QUERY = Representation.QUERY
ATTENTION = ControlOptions(target=ControlTarget.ATTENTION)


def load(folder: Path) -> VisionEncoder:
    model = load_model(folder, device="cpu")
    assert isinstance(model, VisionEncoder)
    return model


def vector(encoder: VisionEncoder, prompt: Prompt, options: ControlOptions = ATTENTION) -> np.ndarray:
    return encoder.encode([prompt], QUERY, options=options).vectors[0]


def picture(image: Image.Image, *controls: ImageControl, crop: Crop | None = None) -> Prompt:
    return Prompt(items=(ImageItem(data=encoded(image), controls=controls, crop=crop),))


def rectangle(left: float, top: float, width: float, height: float, factor: float) -> ImageControl:
    return ImageControl(left=left, top=top, width=width, height=height, factor=factor)
