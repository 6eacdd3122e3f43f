"""Checks which model a remote serves, and that it stays the same.

Vectors of two models must never be mixed in one collection, but a remote may change its model silently. So each remote
is asked for the vector of one fixed text, the probe, which is compared with the first one received: at the start (with
a pin file), with every batch of ingest, and every few minutes while there are only queries.
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
PROBE_COSINE = 0.9999  # least cosine of the probe's vector to the first one
CHECK_SECONDS = 600.0  # between two checks while there are only queries


class Identity:
    """The remote's model as seen in its first answer, with which all later answers are compared. Thread-safe."""

    def __init__(self, config: RemoteConfig, name: str, first: Answer, *, clock: Callable[[], float]) -> None:
        """`first`: the answer to PROBE alone, as `symmetric`. Raises RemoteMismatch if it is not as expected.

        Raises ModelError if the pin file cannot be used.
        """
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
        """Compares an answer; `probe`: the vector of PROBE in it, in this representation. Raises RemoteMismatch."""
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
            self._checked_at = -np.inf  # now every batch carries the probe, until the old model is back
            self._refuse(f"the probe's vector has cosine {cosine:.5f} to what it was, allowed is {PROBE_COSINE}")
        self._checked_at = self._clock()

    def _refuse(self, what: str) -> None:
        raise RemoteMismatch(
            f"model {self._name}: {self._config.host} changed its model: {what}. If this is meant, change the "
            f"setting models.{self._name}.revision, restart, and embed the collections that use it anew"
        )


def _fingerprint(config: RemoteConfig, version: str, dimension: int) -> str:
    """sha256 (the first 32 hex digits) over everything known that a vector depends on.

    The probe's vector is not part of it: remotes compute with noise, which no rounding reliably removes.
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
