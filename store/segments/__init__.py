"""Sealed segments: their files, their rows, and how they are made, merged and removed."""
