"""Collections whose passages an engine elsewhere holds: SQLite stays the truth, and the engine follows."""
