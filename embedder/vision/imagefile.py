"""Image files of strangers to pixels that a model can read: upright, RGB, a square.

A file names its size and its frames in its first bytes, so a bomb or an animation is refused before anything is
decoded. Pillow's readers are called one by one, by the file's own signature, and not through `Image.open`, which knows
some forty more formats and warns about large images where we refuse them.
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

MAX_PIXELS = 50_000_000  # width times height; decoding takes up to 8 bytes a pixel
MAX_SCANS = 64  # of a JPEG: each goes over all pixels; a progressive one has about ten, and some carry a preview
RULES = 1  # counts the versions of what this module makes of a file: part of an encoder's fingerprint

_READERS: tuple[tuple[str, int, bytes, type[ImageFile]], ...] = (  # name, where its signature stands, signature, reader
    ("PNG", 0, b"\x89PNG\r\n\x1a\n", PngImageFile),
    ("JPEG", 0, b"\xff\xd8\xff", JpegImageFile),
    ("WebP", 8, b"WEBP", WebPImageFile),
    ("GIF", 0, b"GIF8", GifImageFile),
    ("BMP", 0, b"BM", BmpImageFile),
)
_START_OF_SCAN = b"\xff\xda"  # in compressed data no other byte than 0 follows 255, so little else looks like it
_UPRIGHT = {  # what the EXIF orientation asks for
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# What Pillow's readers raise for broken files; UserWarning where a process turns warnings into errors.
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
_BOMBS = (Image.DecompressionBombError, Image.DecompressionBombWarning)  # of a frame larger than the file's own size


@dataclass(frozen=True, kw_only=True, slots=True)
class View:
    """Which square of an image is looked at."""

    square: Crop  # where it lies in the upright image
    width: int  # of the entire upright image, in pixels
    height: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture(View):
    """The square of an image that is looked at, decoded."""

    pixels: Image.Image  # mode RGB

    @property
    def view(self) -> View:
        """Without the pixels, which may be many."""
        return View(square=self.square, width=self.width, height=self.height)


def check_image(data: bytes) -> int:
    """The pixels of an image, by its file's header. Raises InvalidInput for an unknown format, a broken header, an
    animation, or a size above MAX_PIXELS."""
    with _opened(data) as image:
        width, height = image.size
        return width * height


def read_picture(data: bytes, crop: Crop | None) -> Picture:
    """The pixels of `crop`, or of the largest square in the centre.

    The image is turned upright first (EXIF orientation), so the crop's pixels are those that a viewer shows. What is
    transparent becomes white, 16 bits of grey become 8. Raises InvalidInput as `check_image` does, for a file that
    ends early, and for a crop that reaches outside the image.
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
        upright.close()  # gives the pixels back before the conversion asks for as many again
        image.close()
        return Picture(pixels=_rgb(cropped), square=square, width=width, height=height)


@contextmanager
def _opened(data: bytes) -> Iterator[ImageFile]:
    """The image behind its checks, not decoded yet; what its reader raises meanwhile becomes InvalidInput."""
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
    """The EXIF orientation, 1 (upright) where there is none."""
    try:
        found = image.getexif().get(ExifTags.Base.Orientation)
    except _BROKEN:  # broken notes beside sound pixels: shown as it is stored, as viewers do
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
    """Pillow keeps 16 bits of grey and would clip them at 255; of coloured images it reads the high bytes, as here."""
    values = np.asarray(image).astype(np.int64)
    grey = (values >> 8).clip(0, 255).astype(np.uint8)
    transparent = image.info.get("transparency")  # the one grey value that is
    if isinstance(transparent, int):
        grey[values == transparent] = 255
    return Image.fromarray(grey).convert("RGB")
