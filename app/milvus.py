"""Creates the client for the Milvus server named in the settings."""

from __future__ import annotations

import logging
import os

from app.settings import MilvusSettings
from store.passageindex.milvus import Milvus


def milvus(settings: MilvusSettings) -> Milvus | None:
    """Create the client; None if the settings name no Milvus. Raises InvalidSettings if its package is missing."""
    if settings.uri is None:
        return None
    os.environ.setdefault("PYTHON_DOTENV_DISABLED", "1")  # else pymilvus reads variables from a file named .env
    made = Milvus(
        settings.uri,
        token=settings.token.get_secret_value(),
        database=settings.database,
        timeout_seconds=settings.timeout_seconds,
    )
    _quiet()
    return made


def _quiet() -> None:
    """Silence pymilvus, which also writes errors to its own handler, with stack traces; we log them ourselves."""
    for name in ("pymilvus", "pymilvus.milvus_client", "pymilvus.bulk_writer"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
        logger.setLevel(logging.CRITICAL)
