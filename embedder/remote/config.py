"""The configuration of a remote encoder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args
from urllib.parse import urlsplit

from core.errors import InvalidSettings
from core.records import Representation

Api = Literal["aleph_alpha", "openai", "vikingdb"]
MAX_BATCH_ITEMS: dict[Api, int] = {"aleph_alpha": 100, "openai": 2048, "vikingdb": 100}
COMPRESSED = 128  # the only size that Aleph Alpha compresses to


@dataclass(frozen=True, kw_only=True, slots=True)
class RemoteConfig:
    """A remote encoder's address, API, credentials and limits. Raises InvalidSettings for unusable values.

    The API's paths are appended to `url` (`/v1/embeddings`, `/semantic_embed`, `/api/data/embedding/version/2`).
    """

    api: Api
    url: str  # http or https, without query and credentials
    model: str  # the remote's name of the model
    revision: str = ""  # a name of your own: change it if the remote changed its model on purpose
    token: str = field(default="", repr=False)  # bearer token (Aleph Alpha, OpenAI)
    access_key: str = field(default="", repr=False)  # VikingDB signs with these two
    secret_key: str = field(default="", repr=False)
    dimension: int | None = None  # required dimension of the vectors; None: that of the remote's first answer
    compress_to: int | None = None  # ask for shorter vectors: OpenAI `dimensions`, Aleph Alpha 128
    sparse: bool = False  # VikingDB: the model gives sparse vectors too
    max_tokens: int = 512  # per prompt; longer texts are cut before sending and reported as truncated
    tokenizer: Path | None = None  # the model's tokenizer.json; None: tokens are estimated, on the safe side
    prefixes: Mapping[Representation, str] = field(default_factory=dict)  # prepended to texts (OpenAI, VikingDB)
    batch_items: int = 64  # prompts per request at most, one of them the probe; at least 2
    batch_tokens: int = 8192  # tokens per request at most; a single longer prompt is still sent, alone
    requests_per_minute: int | None = None  # the remote's quota; None: no limit
    tokens_per_minute: int | None = None
    timeout_seconds: float = 30.0  # to connect, and between two parts of an answer
    deadline_seconds: float = 60.0  # for a request with its waits and retries; connecting can add one timeout at most
    attempts: int = 6  # tries per request at most
    concurrency: int = 4  # ingest requests in flight at most; queries are sent in addition
    ca_file: Path | None = None  # certificates to trust instead of the public ones
    pin_file: Path | None = None  # keeps the probe's vectors for the next start; None: kept only while running

    def __post_init__(self) -> None:
        self._require(self.api in get_args(Api), "api", f"{self.api!r}: allowed are {', '.join(get_args(Api))}")
        self._check_url()
        self._require(bool(self.model), "model", "must name the remote's model")
        self._check_limits()
        self._check_api()

    def prefix(self, representation: Representation) -> str:
        """The prefix of texts in this representation; empty if none is configured."""
        return self.prefixes.get(representation, "")

    @property
    def host(self) -> str:
        """Host and port of the url, for messages."""
        return urlsplit(self.url).netloc

    @property
    def secrets(self) -> tuple[str, ...]:
        """The configured credentials, which must never be shown."""
        return tuple(secret for secret in (self.token, self.access_key, self.secret_key) if secret)

    def _check_url(self) -> None:
        try:
            parts = urlsplit(self.url)
            usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
        except ValueError:  # a port that is no number
            usable = False
        self._require(usable, "url", "must read like https://host:port/path")
        plain = not (parts.query or parts.fragment or "@" in parts.netloc)
        self._require(plain, "url", "must have no user name, query or fragment; a token has its own setting")

    def _check_limits(self) -> None:
        most = MAX_BATCH_ITEMS[self.api]
        items = f"{self.batch_items}: allowed are 2 to {most} for {self.api}"
        self._require(2 <= self.batch_items <= most, "batch_items", items)
        for name in ("batch_tokens", "max_tokens", "attempts", "concurrency"):
            self._require(getattr(self, name) >= 1, name, f"{getattr(self, name)}: must be 1 or more")
        for name in ("requests_per_minute", "tokens_per_minute", "dimension", "compress_to"):
            value = getattr(self, name)
            self._require(value is None or value >= 1, name, f"{value}: must be 1 or more, or not be set")
        for name in ("timeout_seconds", "deadline_seconds"):
            self._require(getattr(self, name) > 0, name, f"{getattr(self, name)}: must be above 0")

    def _check_api(self) -> None:
        for secret in self.secrets:  # they travel in headers
            self._require(secret.isascii() and secret.isprintable(), "token", "keys must be printable ASCII")
        if self.api == "vikingdb":
            self._require(bool(self.access_key and self.secret_key), "access_key", "needs access_key and secret_key")
            self._require(self.compress_to is None, "compress_to", "VikingDB has no shorter vectors; leave it out")
        else:
            self._require(not self.sparse, "sparse", f"{self.api} gives no sparse vectors; only vikingdb does")
        if self.api == "aleph_alpha":
            self._require(not any(self.prefixes.values()), "prefixes", "aleph_alpha knows representations itself")
            self._require(self.compress_to in (None, COMPRESSED), "compress_to", f"aleph_alpha has {COMPRESSED} only")

    def _require(self, holds: bool, name: str, problem: str) -> None:
        if not holds:
            raise InvalidSettings(f"remote model {self.model!r}, {name}: {problem}", param=name)
