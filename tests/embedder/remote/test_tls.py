"""Certificates are checked."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from core.errors import InvalidSettings, RemoteRefused
from tests.embedder.remote.conftest import Make
from tests.embedder.remote.server import DIMENSION, Remote, serving
from tests.embedder.remote.world import FakeTime

CERTIFICATE = Path(__file__).parent / "localhost.pem"  # signed by itself, for 127.0.0.1


@pytest.fixture
def remote() -> Iterator[Remote]:
    with serving(Remote(), CERTIFICATE) as served:
        yield served


def test_an_unknown_certificate_is_refused_at_once(remote: Remote, make: Make, time: FakeTime) -> None:
    with pytest.raises(RemoteRefused, match=r"is not trusted.*into ca_file of the model's settings"):
        _ = make().dimension
    assert not remote.received
    assert time.slept == []


def test_a_certificate_that_is_named_is_trusted(make: Make) -> None:
    assert make(ca_file=CERTIFICATE).dimension == DIMENSION


def test_a_ca_file_must_hold_certificates(make: Make, tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.write_text("no certificate")
    with pytest.raises(InvalidSettings, match="ca_file"):
        make(ca_file=file)
