"""Metadata that can be filtered on: its values in the database, and the documents that satisfy a filter."""
