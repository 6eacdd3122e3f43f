"""Sealed segments: their files, their rows in the database, and how they are created, merged and removed."""
