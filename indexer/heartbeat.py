"""Signs of life for a lease, from a thread of its own, while its holder is at work."""

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
    """Renews the lease at a third of its length, so that two signs may fail. Use it in a `with`."""

    def __init__(self, database: Database, lease: Lease, *, seconds: float, clock: Clock) -> None:
        self.lost = False  # somebody else has the job: what is done now cannot be committed
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
            except StorageError as error:  # the next sign may come through before the lease is over
                _log.warning("job %s: its lease could not be renewed: %s", self._lease.job_id, error)
