"""Images of every kind over the wire: what is read, and what is refused before it is decoded."""

from __future__ import annotations

import base64
import json
import struct
import time
import urllib.error
import urllib.request
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image

from core.records import Float64Array
from tests.app.aleph_alpha.conftest import Deployment
from tests.embedder.vision.tinyvision import encoded, noise


def bomb() -> bytes:
    """A PNG of a few bytes that claims to have 60,000 x 60,000 pixels."""
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(b"")), (b"IEND", b""))
    parts = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def animated() -> bytes:
    return encoded(noise(1), "GIF", save_all=True, append_images=[noise(2)])


def turned() -> bytes:
    """The image of `noise(1, 60, 60)` turned by 90 degrees, with the note that turns it back."""
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held so that the picture must be turned clockwise
    return encoded(noise(1).transpose(Image.Transpose.ROTATE_90), exif=exif)


def post(deployment: Deployment, data: bytes, **fields: Any) -> tuple[int, dict[str, Any]]:
    return send(deployment, {"type": "image", "data": base64.b64encode(data).decode(), **fields})


def send(deployment: Deployment, item: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    body = {"model": "vision", "representation": "document", "prompt": [item]}
    headers = {"Authorization": f"Bearer {deployment.token}", "Content-Type": "application/json"}
    request = urllib.request.Request(f"{deployment.address}/semantic_embed", json.dumps(body).encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def vector(deployment: Deployment, data: bytes, **fields: Any) -> Float64Array:
    status, answer = post(deployment, data, **fields)
    assert status == 200, answer
    return np.array(answer["embedding"])


@pytest.mark.parametrize(
    ("data", "fields", "said"),
    [
        (b"", {}, "prompt[0]: data: must not be empty"),
        (b"no image at all", {}, "image"),
        (bomb(), {}, "60000"),
        (animated(), {}, "animated"),
        (encoded(noise(1))[:200], {}, "image"),
        (encoded(noise(1)), {"x": 50, "y": 50, "size": 40}, "crop"),
    ],
    ids=["empty", "text", "bomb", "animated", "broken off", "crop outside"],
)
def test_refused(deployment: Deployment, data: bytes, fields: dict[str, int], said: str) -> None:
    started = time.perf_counter()
    status, answer = post(deployment, data, **fields)
    assert (status, set(answer)) == (400, {"error", "code"})
    assert said in answer["error"].replace(",", "")
    assert time.perf_counter() - started < 30


def test_the_same_picture_in_other_files(deployment: Deployment) -> None:
    plain = vector(deployment, encoded(noise(1)))
    assert vector(deployment, turned()) == pytest.approx(plain, abs=1e-4)
    for kind, mode, options in (
        ("JPEG", "CMYK", {"quality": 95}),
        ("PNG", "RGBA", {}),
        ("WEBP", "RGB", {"quality": 95}),
    ):
        found = vector(deployment, encoded(noise(1).convert(mode), kind, **options))
        assert found @ plain > 0.98, (kind, mode)


def test_base64_in_lines_is_taken(deployment: Deployment) -> None:
    data = encoded(noise(1))
    item = {"type": "image", "data": base64.encodebytes(data).decode()}
    status, answer = send(deployment, item)
    assert status == 200, answer
    assert answer["embedding"] == pytest.approx(vector(deployment, data), abs=1e-6)


def test_crops_and_controls(deployment: Deployment) -> None:
    wide = noise(1, 90, 60)
    centre = vector(deployment, encoded(wide))
    assert vector(deployment, encoded(wide), x=15, y=0, size=60) == pytest.approx(centre, abs=1e-4)
    assert vector(deployment, encoded(wide.crop((15, 0, 75, 60)))) == pytest.approx(centre, abs=1e-4)
    left = vector(deployment, encoded(wide), x=0, y=0, size=60)
    assert left @ centre < 0.9999
    corner = {"left": 0.2, "top": 0, "width": 0.3, "height": 0.5}
    steered = vector(deployment, encoded(wide), controls=[{"rect": corner, "factor": 0}])
    assert steered @ centre < 0.9999
    unseen = {"left": 0, "top": 0, "width": 0.1, "height": 1}  # left of the centred square
    assert vector(deployment, encoded(wide), controls=[{"rect": unseen, "factor": 0}]) == pytest.approx(
        centre, abs=1e-4
    )
