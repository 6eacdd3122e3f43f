"""Check a reindex under load, during which the server is killed several times: `python -m bench.reindex`."""
