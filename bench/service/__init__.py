"""Compare search over HTTP with the servers of two other projects, txtai and chromadb: see __main__.py."""
