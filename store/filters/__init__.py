"""Metadata filters: the filterable values in the database, and the documents that satisfy a filter."""
