"""What all tables belong to."""

from __future__ import annotations

import sqlalchemy as sa

metadata = sa.MetaData()
MAX_ID = 2**63 - 1  # the largest number that SQLite gives a row; of a change, too
