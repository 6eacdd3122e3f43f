"""The metadata object that all tables share."""

from __future__ import annotations

import sqlalchemy as sa

metadata = sa.MetaData()
MAX_ID = 2**63 - 1  # the largest row id in SQLite, and the largest seq of a change
