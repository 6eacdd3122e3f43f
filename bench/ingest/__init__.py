"""Measure ingestion speed and its cost to searches: `python -m bench.ingest [--json] [--quick] [PART ...]`.

throughput  documents per second through `salience add`'s code, compared with the bare encoder over the same passages
searching   latency of four clients while documents are loaded, compared with the same clients alone
restart     very many passages with a remote model, killed half-way, resumed, verified; memory and time of each step
"""
