"""Image preprocessing: resizes and normalises pictures for an image tower, by the settings in the model's folder.

The settings are those saved by the image processors of transformers; for square pictures the results are equal.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from core.errors import ModelError
from core.records import Float32Array
from embedder.modelfolder import json_object
from embedder.vision.imagefile import Picture


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageSettings:
    """How a square picture is converted into the input of a tower."""

    resize: int  # side of the resized square in pixels
    size: int  # side of its central part that the tower reads, in pixels; at most `resize`
    resample: int  # Pillow's number of the filter: 0 nearest, 1 Lanczos, 2 bilinear, 3 bicubic
    scale: float  # multiplies the 8-bit values; 1/255 scales them to 0..1
    mean: tuple[float, float, float]  # subtracted from the scaled values, by channel
    std: tuple[float, float, float]  # divisor after that, by channel; above 0

    @property
    def margin(self) -> int:
        """Number of pixels that are cut off at the left and at the top after resizing."""
        return (self.resize - self.size) // 2

    def pixels(self, picture: Picture) -> Float32Array:
        """(3, size, size) float32, channels first: the tower's input for a picture."""
        resized = picture.pixels.resize((self.resize, self.resize), Image.Resampling(self.resample))
        end = self.margin + self.size
        seen = np.asarray(resized.crop((self.margin, self.margin, end, end)), dtype=np.float32)
        mean, std = np.array(self.mean, dtype=np.float32), np.array(self.std, dtype=np.float32)
        return np.ascontiguousarray(((seen * np.float32(self.scale) - mean) / std).transpose(2, 0, 1))


def read_image_settings(folder: Path, image_size: int) -> ImageSettings:
    """Reads the settings in the folder of a model whose tower reads `image_size` x `image_size` pixels.

    Raises ModelError if there are none, if one is invalid or unsupported, or if they do not fit the tower.
    """
    file, config = _processor_config(folder)
    try:
        settings = _parse(config)
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{file}: {error!r} in the image processor's settings") from error
    if settings.size != image_size or settings.resize < settings.size:
        raise ModelError(
            f"{file}: images are resized to {settings.resize} and cut to {settings.size} pixels, "
            f"but the image tower reads {image_size} (config.json)"
        )
    return settings


def _processor_config(folder: Path) -> tuple[Path, dict[str, Any]]:
    """The image processor's own file, or its part of the joint file for text and images that transformers 5 saves."""
    own, joint = folder / "preprocessor_config.json", folder / "processor_config.json"
    if own.is_file():
        return own, json_object(own)
    part = json_object(joint).get("image_processor")
    if not isinstance(part, dict):
        raise ModelError(
            f"{folder} has no preprocessor_config.json: it says how large images are; save the model with its "
            "processor (AutoProcessor.from_pretrained(...).save_pretrained(folder))"
        )
    return joint, part


def _parse(config: Mapping[str, Any]) -> ImageSettings:
    for step in ("do_resize", "do_rescale", "do_normalize"):
        if config.get(step, True) is not True:
            raise ValueError(f"{step} is off: images would not have the shape and range that the tower reads")
    if config.get("do_pad"):
        raise ValueError("do_pad is on: only squares without padding are supported")
    resize = _side(config["size"])
    crop = _side(config["crop_size"]) if config.get("do_center_crop", "crop_size" in config) else resize
    return ImageSettings(
        resize=resize,
        size=crop,
        resample=Image.Resampling(config.get("resample", Image.Resampling.BICUBIC)).value,
        scale=_number(config.get("rescale_factor", 1 / 255)),
        mean=_channels(config["image_mean"]),
        std=_channels(config["image_std"], above_zero=True),
    )


def _side(size: Any) -> int:
    """The side of a square in pixels, given as a number, a shortest edge, or equal height and width."""
    if isinstance(size, Mapping):
        sides = {size["shortest_edge"]} if size.get("shortest_edge") else {size["height"], size["width"]}
        if len(sides) != 1 or size.get("longest_edge"):
            raise ValueError(f"size {dict(size)}: only squares are supported")
        size = sides.pop()
    if not isinstance(size, int) or size < 1:
        raise ValueError(f"size {size!r}: must be a number of pixels")
    return size


def _channels(values: Any, *, above_zero: bool = False) -> tuple[float, float, float]:
    red, green, blue = (_number(value) for value in (values if isinstance(values, list) else [values] * 3))
    if above_zero and min(red, green, blue) <= 0:
        raise ValueError(f"image_std {values}: must be above 0")
    return red, green, blue


def _number(value: Any) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{value!r} is not a finite number")
    return number
