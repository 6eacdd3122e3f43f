"""Whether a collection can be made anew under load, with the server killed meanwhile: `python -m bench.reindex`."""
