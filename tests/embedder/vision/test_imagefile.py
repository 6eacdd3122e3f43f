"""Image files: every format and mode to upright RGB, and everything that is refused."""

import random
import struct
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from core.errors import InvalidInput
from core.prompts import Crop
from embedder.vision.imagefile import MAX_PIXELS, check_image, read_picture
from tests.embedder.vision.tinyvision import encoded, noise

PHOTOGRAPHS = Path(__file__).resolve().parents[3] / "../shared/data/images20/images"
WHITE = (255, 255, 255)
ORIENTATION = 0x0112
SHOWN_FIRST = {  # which corner of the stored image a viewer shows at the top left, from the definition of the tag
    1: "top left",
    2: "top right",
    3: "bottom right",
    4: "bottom left",
    5: "top left",
    6: "bottom left",
    7: "bottom right",
    8: "top right",
}


def pixels(data: bytes, crop: Crop | None = None) -> np.ndarray:
    return np.asarray(read_picture(data, crop).pixels).astype(int)


@pytest.mark.parametrize(("kind", "options"), [("PNG", {}), ("BMP", {}), ("WEBP", {"lossless": True}), ("GIF", {})])
def test_a_lossless_format_keeps_every_pixel(kind: str, options: dict[str, object]) -> None:
    image = noise(1).quantize(64).convert("RGB")  # few enough colours for a GIF
    assert np.array_equal(pixels(encoded(image, kind, **options)), np.asarray(image))


def test_jpeg_and_webp_come_close() -> None:
    image = noise(2)
    for kind in ("JPEG", "WEBP"):
        assert np.abs(pixels(encoded(image, kind, quality=95)) - np.asarray(image)).mean() < 4


def test_the_largest_square_in_the_centre_is_taken() -> None:
    image = noise(3, 50, 30)
    picture = read_picture(encoded(image), None)
    assert (picture.square, picture.width, picture.height) == (Crop(x=10, y=0, size=30), 50, 30)
    assert np.array_equal(np.asarray(picture.pixels), np.asarray(image)[:, 10:40])
    assert np.array_equal(pixels(encoded(image.transpose(Image.Transpose.ROTATE_90))).shape, (30, 30, 3))


def test_a_crop_is_taken_as_it_is_or_refused() -> None:
    data = encoded(noise(3, 50, 30))
    assert np.array_equal(pixels(data, Crop(x=41, y=2, size=9)), np.asarray(noise(3, 50, 30))[2:11, 41:50])
    for crop in (Crop(x=41, y=2, size=10), Crop(x=0, y=22, size=9), Crop(x=0, y=0, size=31)):
        with pytest.raises(InvalidInput, match=r"outside the image of 50 x 30 pixels \(upright\)"):
            read_picture(data, crop)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_image_is_turned_upright_before_it_is_cropped(kind: str, orientation: int) -> None:
    corners = {"top left": (250, 0, 0), "top right": (0, 250, 0), "bottom left": (0, 0, 250), "bottom right": WHITE}
    stored = Image.new("RGB", (32, 16))
    for colour, corner in zip(corners.values(), [(0, 0), (16, 0), (0, 8), (16, 8)], strict=True):
        stored.paste(colour, (*corner, corner[0] + 16, corner[1] + 8))
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    options = {"quality": 100} if kind == "JPEG" else {"lossless": True} if kind == "WEBP" else {}
    picture = read_picture(encoded(stored, kind, exif=exif, **options), Crop(x=0, y=0, size=4))
    assert (picture.width, picture.height) == ((16, 32) if orientation >= 5 else (32, 16))
    first = SHOWN_FIRST[orientation]
    assert np.abs(np.asarray(picture.pixels)[1, 1].astype(int) - corners[first]).max() < 60


def test_broken_exif_leaves_the_image_as_it_is_stored() -> None:
    image = noise(4, 40, 20)
    data = encoded(image, "PNG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\x01\x12")
    picture = read_picture(data, None)
    assert (picture.width, picture.height) == (40, 20)


def test_what_is_transparent_becomes_white() -> None:
    colour = (200, 40, 90)
    rgba = Image.new("RGBA", (8, 8), (*colour, 0))
    rgba.paste((*colour, 255), (0, 0, 4, 8))
    rgba.putpixel((0, 0), (*colour, 128))
    for data in (encoded(rgba), encoded(rgba, "WEBP", lossless=True, exact=True)):
        found = pixels(data)
        assert tuple(found[4, 1]) == colour
        assert tuple(found[4, 6]) == WHITE
        assert np.abs(found[0, 0] - (np.array(colour) + 255) / 2).max() <= 1
    grey = Image.new("LA", (4, 4), (10, 0))
    assert (pixels(encoded(grey)) == 255).all()


def test_palettes_single_transparent_colours_and_bits() -> None:
    palette = Image.new("P", (4, 4), 1)
    palette.putpalette([1, 2, 3, 40, 50, 60, 70, 80, 90])
    palette.putpixel((0, 0), 2)
    assert pixels(encoded(palette))[1, 1].tolist() == [40, 50, 60]
    for kind in ("PNG", "GIF"):
        found = pixels(encoded(palette, kind, transparency=2))
        assert found[0, 0].tolist() == list(WHITE)
        assert found[1, 1].tolist() == [40, 50, 60]
    rgb = Image.new("RGB", (4, 4), (9, 9, 9))
    assert (pixels(encoded(rgb, transparency=(9, 9, 9))) == 255).all()
    bits = Image.new("1", (4, 4), 1)
    assert (pixels(encoded(bits)) == 255).all()


def test_sixteen_bits_of_grey_are_scaled_and_not_clipped() -> None:
    values = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)
    image = Image.fromarray(values)
    assert image.mode == "I;16"
    assert np.array_equal(pixels(encoded(image))[..., 0], values >> 8)
    assert pixels(encoded(image, transparency=int(values[2, 3])))[2, 3].tolist() == list(WHITE)


def test_cmyk_becomes_rgb() -> None:
    cmyk = Image.new("CMYK", (8, 8), (0, 255, 255, 0))  # magenta and yellow ink: red
    assert np.abs(pixels(encoded(cmyk, "JPEG"))[4, 4] - (255, 0, 0)).max() <= 3


def test_an_image_of_one_pixel_is_an_image() -> None:
    assert pixels(encoded(Image.new("RGB", (1, 1), (1, 2, 3)))).tolist() == [[[1, 2, 3]]]
    assert pixels(encoded(Image.new("RGB", (300, 1), (1, 2, 3)))).shape == (1, 1, 3)


def png_header(width: int, height: int) -> bytes:
    """A PNG that ends behind its header: whoever tries to decode it finds nothing."""
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    data = b"IDAT" + zlib.compress(b"\0" * 100)
    return b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", len(data) - 4) + data + struct.pack(">I", zlib.crc32(data))


@pytest.mark.parametrize("size", [(100_000, 100_000), (10_001, 5_000), (2**31 - 1, 2**31 - 1)])
def test_a_bomb_is_refused_by_its_header(size: tuple[int, int]) -> None:
    started = time.perf_counter()
    with pytest.raises(InvalidInput, match=rf"{size[0]} x {size[1]} pixels: at most 50 million"):
        check_image(png_header(*size))
    assert time.perf_counter() - started < 5


def test_bombs_of_other_formats_are_refused_by_their_headers() -> None:
    small = encoded(noise(1, 8, 8), "GIF")
    gif = small[:6] + struct.pack("<HH", 65_535, 65_535) + small[10:]
    bmp = bytearray(encoded(noise(1, 8, 8), "BMP"))
    bmp[18:26] = struct.pack("<ii", 60_000, 60_000)
    jpeg = bytearray(encoded(noise(1, 8, 8), "JPEG"))
    frame = jpeg.index(b"\xff\xc0")
    jpeg[frame + 5 : frame + 9] = struct.pack(">HH", 60_000, 60_000)
    webp = encoded(Image.new("RGB", (16_383, 4_000)), "WEBP", quality=0, method=0)
    assert len(webp) < 2_000_000
    for data in (gif, bytes(bmp), bytes(jpeg), webp):
        with pytest.raises(InvalidInput, match="at most 50 million are allowed"):
            read_picture(data, None)


def test_a_jpeg_of_endless_scans_is_refused() -> None:
    """A few kilobytes of repeated scans would keep the decoder busy for minutes on a large image."""
    data = encoded(noise(1), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    scan = data[last:-2]
    check_image(data[:-2] + scan * 20 + b"\xff\xd9")
    with pytest.raises(InvalidInput, match="more than 64 scans"):
        check_image(data[:-2] + scan * 64 + b"\xff\xd9")


def test_the_largest_image_is_still_read() -> None:
    width = MAX_PIXELS // 1000
    picture = read_picture(encoded(Image.new("L", (width, 1000), 7)), None)
    assert picture.pixels.size == (1000, 1000)


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP"])
def test_an_animation_is_refused(kind: str) -> None:
    data = encoded(noise(1), kind, save_all=True, append_images=[noise(2)], duration=100)
    with pytest.raises(InvalidInput, match="animated: send one frame"):
        check_image(data)


def test_a_photograph_with_a_preview_behind_it_is_no_animation() -> None:
    """Telephones save such files (MPO): to a viewer they are one JPEG."""
    data = encoded(noise(1), "MPO", save_all=True, append_images=[noise(2)])
    assert np.abs(pixels(data) - np.asarray(noise(1))).mean() < 8


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the image is empty"),
        (b"hello", "unknown format: allowed are PNG, JPEG, WebP, GIF, BMP"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "unknown format"),
        (b"%!PS-Adobe-3.0 EPSF-3.0", "unknown format"),
        (b"II*\0\x08\0\0\0", "unknown format"),
        (b"RIFF\x04\0\0\0WAVE", "unknown format"),
        (b"\x89PNG\r\n\x1a\n", "PNG image is broken"),
        (b"\xff\xd8\xff\xe0", "JPEG image is broken"),
        (b"GIF89a", "GIF image is broken"),
        (b"BM", "BMP image is broken"),
        (b"RIFF\x04\0\0\0WEBP", "WebP image is broken"),
    ],
)
def test_no_image_is_named_as_such(data: bytes, message: str) -> None:
    with pytest.raises(InvalidInput, match=message) as raised:
        check_image(data)
    assert raised.value.param == "data"


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP"])
def test_a_file_that_ends_early_is_refused(kind: str) -> None:
    data = encoded(noise(5), kind)
    with pytest.raises(InvalidInput, match="broken or ends early"):
        read_picture(data[: len(data) // 2], None)


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 10**6), kind=st.sampled_from(["PNG", "JPEG", "WEBP", "GIF", "BMP"]))
def test_a_damaged_file_gives_a_picture_or_a_refusal(seed: int, kind: str) -> None:
    chance = random.Random(seed)
    data = bytearray(encoded(noise(6, 20, 20), kind))
    for _ in range(chance.randint(1, 8)):
        data[chance.randrange(len(data))] = chance.randrange(256)
    try:
        picture = read_picture(bytes(data[: chance.randint(1, len(data))]), None)
    except InvalidInput:
        return
    assert picture.pixels.mode == "RGB"
    assert picture.pixels.size == (picture.square.size, picture.square.size)


@pytest.mark.skipif(not PHOTOGRAPHS.is_dir(), reason="the collection of photographs is not on this machine")
def test_real_photographs_are_read() -> None:
    files = sorted(PHOTOGRAPHS.iterdir())
    assert len(files) == 20
    for file in files:
        picture = read_picture(file.read_bytes(), None)
        with Image.open(file) as image:
            side = min(image.size)
            left, top = ((edge - side) // 2 for edge in image.size)
            expected = np.asarray(image.convert("RGB"))[top : top + side, left : left + side]
        assert (picture.width, picture.height) == image.size
        assert np.array_equal(np.asarray(picture.pixels), expected)
