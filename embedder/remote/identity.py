"""Which model a remote serves, and whether it is still the same.

Vectors of two models must never meet in one collection, and a remote may change its model without a word. So each is
asked for the vector of one fixed text. It is compared with the one that was given at first: at the start (with a pin
file), within every batch of ingest, and every few minutes while only queries come.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable

import numpy as np

from core.errors import RemoteMismatch
from core.prompts import Prompt
from core.records import Float32Array, Representation
from embedder.remote.answers import Answer
from embedder.remote.config import RemoteConfig
from embedder.remote.pins import read_pins, write_pin

PROBE_TEXT = "Salience asks which model answers here: a fixed text, always the same, 1234."
PROBE = Prompt.of(PROBE_TEXT)
PROBE_COSINE = 0.9999  # that the probe's vector must keep to the one it had at first
CHECK_SECONDS = 600.0  # between two looks whether the model is still the same, while only queries come


class Identity:
    """What the first answer of a remote showed, and the comparison of all that follow. Thread-safe."""

    def __init__(self, config: RemoteConfig, name: str, first: Answer, *, clock: Callable[[], float]) -> None:
        """`first`: the answer to PROBE alone as `symmetric`. Raises RemoteMismatch where it is not what is expected."""
        self.version = first.version
        self.dimension = first.vectors.shape[1]
        self.fingerprint = _fingerprint(config, self.version, self.dimension)
        self._config = config
        self._name = name
        self._clock = clock
        self._lock = threading.Lock()
        self._checked_at = clock()
        self._probes = {} if config.pin_file is None else read_pins(config.pin_file, self.fingerprint)
        expected = config.dimension or config.compress_to
        if expected not in (None, self.dimension):
            raise RemoteMismatch(
                f"model {name}: {config.host} gives {self.dimension} dimensions, its configuration says {expected}"
            )
        self.check(first, Representation.SYMMETRIC, first.vectors[0])

    @property
    def due(self) -> bool:
        """Whether the next batch must carry the probe."""
        with self._lock:
            return self._clock() >= self._checked_at + CHECK_SECONDS

    def check(self, answer: Answer, representation: Representation, probe: Float32Array | None) -> None:
        """Compare an answer; `probe`: the vector of PROBE in it, under this representation. Raises RemoteMismatch."""
        if answer.version != self.version:
            self._refuse(f"it calls it {answer.version!r:.80} now, and {self.version!r:.80} before")
        if answer.vectors.shape[1] != self.dimension:
            self._refuse(f"its vectors have {answer.vectors.shape[1]} dimensions now, and {self.dimension} before")
        if probe is not None:
            with self._lock:
                self._check_probe(representation, probe)

    def _check_probe(self, representation: Representation, probe: Float32Array) -> None:
        known = self._probes.get(representation)
        if known is None:
            file = self._config.pin_file
            known = probe if file is None else write_pin(file, self.fingerprint, representation, probe)
            self._probes[representation] = known
        if known.shape != probe.shape or float(np.dot(known, probe)) < PROBE_COSINE:
            cosine = float(np.dot(known, probe)) if known.shape == probe.shape else 0.0
            self._checked_at = -np.inf  # every batch is asked until the old model is back
            self._refuse(f"the probe's vector has cosine {cosine:.5f} to what it was, allowed is {PROBE_COSINE}")
        self._checked_at = self._clock()

    def _refuse(self, what: str) -> None:
        raise RemoteMismatch(
            f"model {self._name}: {self._config.host} changed its model: {what}. If this is meant, change the "
            f"setting models.{self._name}.revision, restart, and embed the collections that use it anew"
        )


def _fingerprint(config: RemoteConfig, version: str, dimension: int) -> str:
    """sha256 (hex, first 32 digits) over all that a vector depends on, as far as it is known here.

    The probe's vector is not part of it: remotes compute with noise, and no rounding makes noise always vanish.
    """
    facts = {
        "api": config.api,
        "url": config.url.rstrip("/"),
        "model": config.model,
        "revision": config.revision,
        "version": version,
        "dimension": dimension,
        "compress_to": config.compress_to,
        "prefixes": {representation.value: config.prefix(representation) for representation in Representation},
        "max_tokens": config.max_tokens,
        "tokenizer": None if config.tokenizer is None else hashlib.sha256(config.tokenizer.read_bytes()).hexdigest(),
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode("utf-8")).hexdigest()[:32]
