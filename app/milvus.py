"""The Milvus that the settings name."""

from __future__ import annotations

import logging
import os

from app.settings import MilvusSettings
from store.passageindex.milvus import Milvus


def milvus(settings: MilvusSettings) -> Milvus | None:
    """None where none is named. Raises InvalidSettings where one is, and the package for it is not installed."""
    if settings.uri is None:
        return None
    os.environ.setdefault("PYTHON_DOTENV_DISABLED", "1")  # pymilvus would read variables out of a file named .env
    made = Milvus(
        settings.uri,
        token=settings.token.get_secret_value(),
        database=settings.database,
        timeout_seconds=settings.timeout_seconds,
    )
    _quiet()
    return made


def _quiet() -> None:
    """What goes wrong is logged by us: pymilvus writes it too, to a handler of its own, with stacks."""
    for name in ("pymilvus", "pymilvus.milvus_client", "pymilvus.bulk_writer"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
        logger.setLevel(logging.CRITICAL)
