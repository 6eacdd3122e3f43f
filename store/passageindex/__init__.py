"""Passages in an external engine: SQLite stays the source of truth, and the engine is kept up to date with it."""
