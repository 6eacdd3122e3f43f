"""Creates encoders for models behind other services' APIs, from their settings."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import SecretStr

from app.model_settings import ModelSettings
from core.records import Representation

if TYPE_CHECKING:
    from embedder.remote.encoder import RemoteEncoder

PINS = "remote-models"  # folder of the data directory: records of each remote model's first vectors
MAX_TOKENS = 512  # that a remote model reads, unless the settings say otherwise: nearly every model reads that many
_DENSE_ONLY = ("bge-large-zh", "bge-visualized-m3")  # of VikingDB; its other models give sparse vectors, too


def gives_sparse(name: str, settings: ModelSettings) -> bool:
    """Whether a remote model gives sparse vectors in addition to dense ones."""
    return settings.api == "vikingdb" and (settings.remote_model or name) not in _DENSE_ONLY


def load_remote_model(name: str, settings: ModelSettings, data_dir: Path) -> RemoteEncoder:
    """Create the encoder of a model whose settings have an api, without a request.

    Raises InvalidSettings, ModelError.
    """
    from embedder.remote.config import RemoteConfig  # loads the HTTP library only when needed
    from embedder.remote.loading import load_remote

    assert settings.api is not None
    assert settings.url is not None
    query = settings.query_prefix or ""
    config = RemoteConfig(
        api=settings.api,
        url=settings.url,
        model=settings.remote_model or name,
        revision=settings.revision or "",
        token=_revealed(settings.token),
        access_key=_revealed(settings.access_key),
        secret_key=_revealed(settings.secret_key),
        compress_to=settings.dimension,
        sparse=gives_sparse(name, settings),
        max_tokens=settings.max_tokens or MAX_TOKENS,
        tokenizer=settings.tokenizer,
        prefixes={
            Representation.QUERY: query,
            Representation.DOCUMENT: settings.document_prefix or "",
            Representation.SYMMETRIC: query,
        },
        requests_per_minute=settings.requests_per_minute,
        tokens_per_minute=settings.tokens_per_minute,
        deadline_seconds=settings.deadline_seconds,
        timeout_seconds=settings.timeout_seconds,
        ca_file=settings.ca_file,
        pin_file=data_dir / PINS / f"{hashlib.sha256(name.encode()).hexdigest()[:16]}.json",
    )
    return load_remote(config, name)


def _revealed(secret: SecretStr | None) -> str:
    return "" if secret is None else secret.get_secret_value()
