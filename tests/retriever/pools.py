"""Pools so small that few documents are enough to have them deepened."""

import pytest


def with_pools_of(depth: int, patch: pytest.MonkeyPatch) -> None:
    """Until `patch` is undone a leg's pool begins with `depth` passages."""
    for module in ("ranking", "candidates"):
        patch.setattr(f"retriever.{module}.POOL_DEPTH", depth)
