"""Keep a lease alive: a background thread renews it while its holder works."""

from __future__ import annotations

import logging
import threading
from contextvars import copy_context
from functools import partial
from types import TracebackType
from typing import Self

from core.errors import LeaseLost, StorageError
from store.clock import Clock
from store.database import Database
from store.jobs.lease import Lease, renew

_log = logging.getLogger(__name__)


class Heartbeat:
    """Renews the lease every third of its duration, so that two renewals may fail. A context manager."""

    def __init__(self, database: Database, lease: Lease, *, seconds: float, clock: Clock) -> None:
        self.lost = False  # whether another worker has the job, so that nothing more can be committed
        self._database = database
        self._lease = lease
        self._interval = seconds / 3
        self._clock = clock
        self._over = threading.Event()
        name, beat = f"heartbeat of job {lease.job_id}", partial(copy_context().run, self._beat)
        self._thread = threading.Thread(target=beat, name=name, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def _beat(self) -> None:
        while not self._over.wait(self._interval):
            try:
                with self._database.write() as session:
                    renew(session, self._lease, now=self._clock(session))
            except LeaseLost:
                self.lost = True
                return
            except StorageError as error:  # the next renewal may succeed before the lease expires
                _log.warning("job %s: its lease could not be renewed: %s", self._lease.job_id, error)
