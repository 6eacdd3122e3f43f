"""The database's clock, used by all processes that share a data directory instead of their own clocks."""

from __future__ import annotations

from collections.abc import Callable

import sqlalchemy as sa

from store.database import ReadSession

Clock = Callable[[ReadSession], float]  # seconds


def database_now(session: ReadSession) -> float:
    """Seconds since 1970 by the database's clock, to the millisecond."""
    return float(session.execute(sa.text("SELECT (julianday('now') - 2440587.5) * 86400.0")).scalar_one())
