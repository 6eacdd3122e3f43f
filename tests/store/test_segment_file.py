"""The file of arrays: what is written is what is read, and whatever was changed is found."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps

from core.errors import StorageCorrupt, StorageError
from store.arrayfile import ArrayWriter, Seal, check_file, open_file

KINDS = ("uint8", "int8", "uint16", "int32", "int64", "float16", "float32", "float64")
Arrays = Mapping[str, np.ndarray]
arrays_of_any_shape = st.dictionaries(
    st.text(min_size=1, max_size=12).filter(lambda name: name.isprintable()),
    st.sampled_from(KINDS).flatmap(
        lambda kind: nps.arrays(kind, nps.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=9))
    ),
    min_size=1,
    max_size=6,
)
SOME: Arrays = {
    "ids": np.arange(7, dtype=np.int64),
    "odd": np.arange(33, dtype=np.uint8),
    "none": np.empty((0, 4), np.float32),
    "vectors": np.arange(28, dtype=np.float32).reshape(7, 4),
    "last": np.empty(0, np.int32),
}


def write(path: Path, arrays: Arrays, pieces: int = 1) -> Seal:
    with ArrayWriter(path, {name: (array.dtype, array.shape) for name, array in arrays.items()}) as file:
        for piece in range(pieces):  # array after array, a piece of each at a time
            for name, array in arrays.items():
                file.append(name, np.array_split(array, pieces)[piece])
        return file.finish()


@settings(max_examples=60, deadline=None)
@given(arrays=arrays_of_any_shape, pieces=st.integers(1, 4))
def test_what_is_written_is_what_is_read(tmp_path_factory: pytest.TempPathFactory, arrays: Arrays, pieces: int) -> None:
    path = tmp_path_factory.mktemp("arrays") / "file"
    seal = write(path, arrays, pieces)
    assert path.stat().st_size == seal.size
    assert check_file(path, seal) == []
    found = open_file(path, seal)
    assert list(found) == list(arrays)
    for name, array in arrays.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
        assert found[name].tobytes() == array.tobytes()
        assert not found[name].flags.writeable
        assert found[name].size == 0 or found[name].ctypes.data % 64 == 0


def test_every_bit_is_witnessed(tmp_path: Path) -> None:
    path = tmp_path / "file"
    seal = write(path, SOME)
    good = path.read_bytes()
    for bit in range(0, len(good) * 8, 3):  # two or three bits of every byte
        damaged = bytearray(good)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        (problem,) = check_file(path, seal)
        assert str(path) not in problem
    path.write_bytes(good)
    assert check_file(path, seal) == []


def test_every_length_but_the_right_one_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "file"
    seal = write(path, SOME)
    good = path.read_bytes()
    for content in [*(good[:length] for length in range(0, len(good), 13)), good[:-1], good + b"\0"]:
        path.write_bytes(content)
        with pytest.raises(StorageCorrupt, match=f"has {len(content)} bytes; {len(good)} were written"):
            open_file(path, seal)
        assert len(check_file(path, seal)) == 1


def test_opening_finds_damage_in_what_it_hashes(tmp_path: Path) -> None:
    path = tmp_path / "file"
    seal = write(path, SOME)
    damaged = bytearray(path.read_bytes())
    damaged[damaged.index(SOME["vectors"].tobytes())] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(StorageCorrupt, match="its array 'vectors' is not what was written"):
        open_file(path, seal)
    assert open_file(path, seal, unhashed=["vectors"])["vectors"][0, 0] != 0
    assert list(open_file(path, seal, only=["ids"])) == ["ids"]


def test_a_file_that_is_missing_or_cannot_be_read(tmp_path: Path) -> None:
    seal = Seal(size=1, sha256=b"")
    with pytest.raises(StorageCorrupt, match=f"segment file {tmp_path / 'none'}: is not there"):
        open_file(tmp_path / "none", seal)
    with pytest.raises(StorageError, match="cannot be read") as caught:
        open_file(tmp_path, seal)  # a directory
    assert not isinstance(caught.value, StorageCorrupt)


def forged(table: object, *, magic: bytes = b"SALSEG\r\n", version: int = 1, length: int | None = None) -> bytes:
    """A header with the right hash and a table that nobody would write, and 64 bytes behind it."""
    text = table if isinstance(table, bytes) else json.dumps(table).encode()
    header = struct.pack("<8sII", magic, version, len(text) if length is None else length) + text
    return header.ljust(-(-len(header) // 64) * 64, b"\0") + bytes(64)


HASH = hashlib.sha256(bytes(64)).hexdigest()
FORGED: dict[str, bytes] = {
    "another program's": forged([], magic=b"MATLAB\r\n"),
    "another version": forged([["a", "<f4", [16], 128, HASH]], version=2),
    "no table": forged(b"not json"),
    "no UTF-8": forged(b'["\xff"]'),
    "a table of numbers": forged([1, 2]),
    "an unknown kind": forged([["a", "|O8", [8], 128, HASH]]),
    "an array twice": forged([["a", "<f4", [16], 256, HASH], ["a", "<f4", [0], 320, HASH]]),
    "a size that overflows": forged([["a", "<f8", [2**61, 2**61], 128, HASH]]),
    "sizes whose product wraps round": forged([["a", "<f8", [2**32, 2**32, 2**3], 128, HASH]]),
    "a negative size": forged([["a", "<f8", [-8, -1], 128, HASH]]),
    "a size that is a boolean": forged([["a", "|u1", [True, 64], 128, HASH]]),
    "a size that is a fraction": forged([["a", "<f8", [8.0], 128, HASH]]),
    "an array in the header": forged([["a", "<f8", [8], 0, HASH]]),
    "an array beyond the end": forged([["a", "<f8", [9], 128, HASH]]),
    "an array that is not aligned": forged([["a", "<f8", [4], 136, HASH]]),
    "an array too short": forged([["a", "<f8", [7], 128, HASH]]),
    "arrays that overlap": forged([["a", "<f4", [16], 256, HASH], ["b", "<f4", [16], 256, HASH]]),
    "nothing about the rest": forged([]),
    "a table longer than the file": forged([["a", "<f8", [8], 128, HASH]], length=2**32 - 1),
}


@pytest.mark.parametrize("what", FORGED)
def test_a_header_that_cannot_be_is_refused_even_with_its_hash(tmp_path: Path, what: str) -> None:
    path, content = tmp_path / "file", FORGED[what]
    path.write_bytes(content)
    headers = {64: content[:64], 128: content[:128], 192: content[:192], 256: content[:256], len(content): content}
    refusals = []
    for header in headers.values():
        seal = Seal(size=len(content), sha256=hashlib.sha256(header).digest())
        with pytest.raises(StorageCorrupt) as caught:
            open_file(path, seal)
        refusals.append(caught.value.message)
        assert [f"segment file {path}: {problem}" for problem in check_file(path, seal)] == [caught.value.message]
    assert all(message.startswith(f"segment file {path}: ") for message in refusals)
    assert len(set(refusals)) > 1, "one of the hashes is right: more than the hash must be looked at"


def test_the_forged_headers_are_nearly_right(tmp_path: Path) -> None:
    content = forged([["a", "<f8", [8], 128, HASH]])
    (tmp_path / "file").write_bytes(content)
    seal = Seal(size=len(content), sha256=hashlib.sha256(content[:128]).digest())
    assert open_file(tmp_path / "file", seal)["a"].tolist() == [0.0] * 8


@pytest.mark.parametrize(
    ("layout", "appended", "message"),
    [
        ({"a": ("<f4", (4,))}, {"a": np.zeros(3, np.float32)}, "array a: 12 of 16 bytes were written"),
        ({"a": ("<f4", (4,))}, {"a": np.zeros(5, np.float32)}, "more than the"),
        ({"a": ("O", (4,))}, {}, "a segment file holds"),
    ],
)
def test_an_array_that_is_not_as_announced(
    tmp_path: Path, layout: Any, appended: dict[str, np.ndarray], message: str
) -> None:
    def write_it() -> None:
        with ArrayWriter(tmp_path / "file", layout) as file:
            for name, array in appended.items():
                file.append(name, array)
            file.finish()

    with pytest.raises(ValueError, match=message):
        write_it()


def test_a_file_is_never_written_over(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"mine")
    with pytest.raises(FileExistsError):
        write(tmp_path / "file", SOME)
    assert (tmp_path / "file").read_bytes() == b"mine"
