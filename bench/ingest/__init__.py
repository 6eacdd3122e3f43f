"""How fast documents come in, and what that costs others: `python -m bench.ingest [--json] [--quick] [PART ...]`.

throughput  documents per second of `salience add`'s way against the bare encoder over the same passages
searching   latency of four clients while documents are loaded, against the same clients alone
restart     very many passages by a remote model, killed half-way, resumed, verified; memory, and where time goes
"""
