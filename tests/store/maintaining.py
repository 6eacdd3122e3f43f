"""A process of its own that maintains a data directory, and how soon an owner in a test looks."""

from __future__ import annotations

from store.maintenance import MaintenancePolicy

QUICK = MaintenancePolicy(poll_seconds=0.02, takeover_seconds=0.05, clean_seconds=0.1, warn_seconds=0.2)
OWN = """
import os, signal, sys, time
from pathlib import Path
import store.failpoints
from store import Database, catalog
from store.maintenance import Maintenance
from tests.store.library import Item, put
database = Database.open(Path(sys.argv[1]))
fatal = sys.argv[2]
def observe(step):
    if step == fatal:
        os.kill(os.getpid(), signal.SIGKILL)
store.failpoints.observer = observe
maintenance = Maintenance(database)
with maintenance.running():
    print("ready", flush=True)
    while not maintenance.owns:
        time.sleep(0.01)
    print("owns", flush=True)
    sys.stdin.read()
"""
