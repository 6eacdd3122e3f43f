"""Searching over HTTP, beside the servers of two other projects: see __main__.py."""
