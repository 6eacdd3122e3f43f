"""The pin file under several processes at once, and what is told of one that is damaged."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from core.errors import ModelError
from core.records import Representation
from embedder.remote import pins
from embedder.remote.pins import read_pins, write_pin

ONE, OTHER = np.array([1.0, 0.0], dtype=np.float32), np.array([0.6, 0.8], dtype=np.float32)


def test_two_that_write_at_the_same_moment_both_keep_their_vectors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "pins.json"
    replacing, second_wrote = threading.Event(), threading.Event()
    replace_file = pins.replace_file

    def slowly(file: Path, content: bytes) -> None:
        if not replacing.is_set():  # the first has read the file, and waits with its own for the second
            replacing.set()
            second_wrote.wait(0.5)
        replace_file(file, content)

    def second() -> None:
        replacing.wait(60)
        write_pin(file, "f", Representation.QUERY, OTHER)
        second_wrote.set()

    monkeypatch.setattr(pins, "replace_file", slowly)
    thread = threading.Thread(target=second)
    thread.start()
    write_pin(file, "f", Representation.DOCUMENT, ONE)
    thread.join(60)
    kept = read_pins(file, "f")
    assert kept.keys() == {Representation.DOCUMENT, Representation.QUERY}
    np.testing.assert_array_equal(kept[Representation.QUERY], OTHER)


def test_the_first_vector_of_a_representation_stays(tmp_path: Path) -> None:
    """Else a remote that changes while two processes ask it would be pinned as it is now."""
    file = tmp_path / "pins.json"
    np.testing.assert_array_equal(write_pin(file, "f", Representation.QUERY, ONE), ONE)
    np.testing.assert_array_equal(write_pin(file, "f", Representation.QUERY, OTHER), ONE)
    np.testing.assert_array_equal(read_pins(file, "f")[Representation.QUERY], ONE)


@pytest.mark.parametrize("content", ["", '{"f": {"query": [1.0', "{}"])
def test_a_damaged_file_is_told_without_its_place(tmp_path: Path, content: str) -> None:
    file = tmp_path / "remote-models" / "0123.json"
    file.parent.mkdir()
    file.write_text(content)
    if content == "{}":
        file.unlink()
        file.mkdir()
    with pytest.raises(
        ModelError, match=r"pin file remote-models/0123\.json of a remote model cannot be used"
    ) as caught:
        read_pins(file, "f")
    assert str(tmp_path) not in caught.value.message
    with pytest.raises(ModelError) as caught:
        write_pin(file, "f", Representation.QUERY, ONE)
    assert str(tmp_path) not in caught.value.message
