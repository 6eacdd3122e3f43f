"""Decodes untrusted image files into pixels that a model can read: an upright RGB square.

A file states its size and its number of frames in its first bytes, so decompression bombs and animations are refused
before anything is decoded. Pillow's readers are called directly, chosen by the file's signature, and not through
`Image.open`, which knows some forty more formats and warns about large images that are refused here.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from PIL import ExifTags, Image
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from core.errors import InvalidInput
from core.prompts import Crop

MAX_PIXELS = 50_000_000  # width times height; decoding takes up to 8 bytes per pixel
MAX_SCANS = 64  # of a JPEG: each covers all pixels; a progressive one has about ten, and some contain a preview
RULES = 1  # version of the pixels that this module makes of a file; part of an encoder's fingerprint

_READERS: tuple[tuple[str, int, bytes, type[ImageFile]], ...] = (  # name, offset of the signature, signature, reader
    ("PNG", 0, b"\x89PNG\r\n\x1a\n", PngImageFile),
    ("JPEG", 0, b"\xff\xd8\xff", JpegImageFile),
    ("WebP", 8, b"WEBP", WebPImageFile),
    ("GIF", 0, b"GIF8", GifImageFile),
    ("BMP", 0, b"BM", BmpImageFile),
)
_START_OF_SCAN = b"\xff\xda"  # in compressed data 255 is followed by 0, so hardly anything else looks like this
_UPRIGHT = {  # by EXIF orientation
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# What Pillow's readers raise for broken files; UserWarning if a process turns warnings into errors.
_BROKEN = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    OverflowError,
    struct.error,
    zlib.error,
    UserWarning,
)
_BOMBS = (Image.DecompressionBombError, Image.DecompressionBombWarning)  # for a frame larger than the header's size


@dataclass(frozen=True, kw_only=True, slots=True)
class View:
    """The square of an image that the model reads."""

    square: Crop  # its place in the upright image
    width: int  # of the entire upright image, in pixels
    height: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture(View):
    """The square of an image that the model reads, decoded."""

    pixels: Image.Image  # mode RGB

    @property
    def view(self) -> View:
        """The same without the pixels, which may take much memory."""
        return View(square=self.square, width=self.width, height=self.height)


def check_image(data: bytes) -> int:
    """The number of pixels of an image, from the file's header.

    Raises InvalidInput for an unknown format, a broken header, an animation, a size above MAX_PIXELS, or a JPEG with
    more than MAX_SCANS scans.
    """
    with _opened(data) as image:
        width, height = image.size
        return width * height


def read_picture(data: bytes, crop: Crop | None) -> Picture:
    """Decodes the square `crop` of an image (None: the largest square in the centre).

    The image is turned upright first (EXIF orientation), so `crop` refers to the pixels that a viewer shows.
    Transparent pixels become white, and 16-bit grey becomes 8-bit. Raises InvalidInput as `check_image` does, and also
    for a file that ends early or a crop that reaches outside the image.
    """
    with _opened(data) as image:
        image.load()
        turn = _UPRIGHT.get(_orientation(image))
        upright: Image.Image = image if turn is None else image.transpose(turn)
        width, height = upright.size
        square = _centre(width, height) if crop is None else crop
        if square.x + square.size > width or square.y + square.size > height:
            raise InvalidInput(
                f"crop at {square.x}, {square.y} of size {square.size} reaches outside the image of "
                f"{width} x {height} pixels (upright)",
                param="size",
            )
        cropped = upright.crop((square.x, square.y, square.x + square.size, square.y + square.size))
        upright.close()  # frees its memory before the conversion allocates as much again
        image.close()
        return Picture(pixels=_rgb(cropped), square=square, width=width, height=height)


@contextmanager
def _opened(data: bytes) -> Iterator[ImageFile]:
    """The image, checked but not decoded. Errors of its reader within the block become InvalidInput."""
    name, reader = _reader(data)
    try:
        image = reader(BytesIO(data))
        width, height = image.size
        if width * height > MAX_PIXELS:
            raise InvalidInput(
                f"the image has {width} x {height} pixels: at most {MAX_PIXELS // 1_000_000} million are allowed",
                param="data",
            )
        if name == "JPEG" and data.count(_START_OF_SCAN) > MAX_SCANS:
            raise InvalidInput(f"the JPEG image has more than {MAX_SCANS} scans: save it anew", param="data")
        if getattr(image, "is_animated", False):
            raise InvalidInput("the image is animated: send one frame, as a still image", param="data")
        yield image
    except InvalidInput:
        raise
    except _BOMBS as error:
        raise InvalidInput(
            f"the {name} image has a frame of more than {MAX_PIXELS // 1_000_000} million pixels", param="data"
        ) from error
    except _BROKEN as error:
        raise InvalidInput(f"the {name} image is broken or ends early ({error})", param="data") from error


def _reader(data: bytes) -> tuple[str, type[ImageFile]]:
    for name, start, signature, reader in _READERS:
        if data.startswith(signature, start):
            return name, reader
    what = "is empty" if not data else "has an unknown format"
    raise InvalidInput(f"the image {what}: allowed are {', '.join(name for name, *_ in _READERS)}", param="data")


def _orientation(image: ImageFile) -> int:
    """The EXIF orientation; 1 (upright) if there is none."""
    try:
        found = image.getexif().get(ExifTags.Base.Orientation)
    except _BROKEN:  # broken EXIF data: keep the image as stored, like viewers do
        return 1
    return found if isinstance(found, int) else 1


def _centre(width: int, height: int) -> Crop:
    size = min(width, height)
    return Crop(x=(width - size) // 2, y=(height - size) // 2, size=size)


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        return _from_16_bits(image)
    if image.has_transparency_data:
        with_alpha = image if image.mode == "RGBA" else image.convert("RGBA")
        white = Image.new("RGB", image.size, "white")
        white.paste(with_alpha, mask=with_alpha)
        return white
    return image.convert("RGB")


def _from_16_bits(image: Image.Image) -> Image.Image:
    """16-bit grey as RGB, by the high bytes, as Pillow reads colour images; its own conversion would clip at 255."""
    values = np.asarray(image).astype(np.int64)
    grey = (values >> 8).clip(0, 255).astype(np.uint8)
    transparent = image.info.get("transparency")  # the grey value that is transparent
    if isinstance(transparent, int):
        grey[values == transparent] = 255
    return Image.fromarray(grey).convert("RGB")
