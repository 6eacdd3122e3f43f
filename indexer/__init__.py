"""The write path: read files, map fields, split into passages, embed as documents, commit."""
