"""The synchronous client."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx

from salience.client import _admin, _collections, _documents, _jobs, _sending
from salience.client._attempts import NoAnswer, Pause, Retries, Steps, attempts
from salience.client._bulk import BulkBody, Documents
from salience.client._calls import Answer, Call
from salience.client._methods import Blocking, Listing, Methods
from salience.client.admin_results import Reindex
from salience.client.results import Job, Readiness

T = TypeVar("T")


class Client(Methods, Blocking):
    """A blocking client of a server. Thread-safe. Close it, or use it in a `with`.

    Every method raises SalienceError (see `errors`) if it fails.
    """

    def __init__(
        self,
        address: str = "http://localhost:8080",
        *,
        key: str | None = None,
        timeout: float = 60.0,
        retries: Retries | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """`key`: an API key or token; `timeout`: seconds of silence after which a request is abandoned.

        `transport` replaces httpx's own, for proxies, certificates and tests. Raises ValueError for invalid values.
        """
        self.retries = Retries() if retries is None else retries
        self._http = httpx.Client(**_sending.settings(address, key, timeout), transport=transport)

    def add_bulk(
        self,
        collection: str,
        documents: Documents | Callable[[], Documents],
        *,
        key: str | None = None,
        id_field: str | None = None,
        text_field: str | None = None,
        title_field: str | None = None,
    ) -> Job:
        """Stream any number of documents into a job. `wait_for_job` waits for it.

        Documents are gzipped while they are sent; only one chunk is in memory. Documents from a list, or from a
        function that returns them, can be sent again if the connection breaks; those from an iterator cannot. `key`: an
        idempotency key; repeating a request with the same key does not create a second job.
        """
        call = _documents.bulk(
            collection,
            BulkBody(documents),
            key=key,
            id_field=id_field,
            text_field=text_field,
            title_field=title_field,
        )
        return self.run(attempts(call, self.retries))

    def wait_for_job(
        self, job: Job | int, *, timeout: float | None = None, progress: Callable[[Job], object] | None = None
    ) -> Job:
        """Wait until a job is done. `progress` is called with each state polled; `timeout`: seconds.

        Raises JobUnfinished if it ends otherwise, or not in time.
        """
        id = job if isinstance(job, int) else job.id
        return self.run(_jobs.until_ended(id, seconds=timeout, progress=progress, retries=self.retries))

    def wait_for_reindex(
        self, collection: str, *, timeout: float | None = None, progress: Callable[[Reindex], object] | None = None
    ) -> Reindex:
        """Wait until a reindex has switched, or, without `auto_switch`, is ready to. `timeout`: seconds.

        `progress` is called with each state polled. Raises ReindexUnfinished if it ends otherwise, or not in time.
        """
        steps = _admin.until_reindexed(collection, seconds=timeout, progress=progress, retries=self.retries)
        return self.run(steps)

    def ready(self) -> Readiness:
        """Whether the server is ready to serve, without retries. Raises ConnectionFailed if it does not answer."""
        return self.run(_collections.readiness())

    def run(self, steps: Steps[T]) -> T:
        outcome: Answer | NoAnswer | None = None
        while True:
            try:
                step = steps.send(outcome)
            except StopIteration as end:
                result: T = end.value
                return result
            if isinstance(step, Pause):
                time.sleep(step.seconds)
                outcome = None
            else:
                outcome = self._sent(step)

    def iterate(self, listing: Listing[T]) -> Iterator[T]:
        after = None
        while True:
            page = self.run(attempts(listing.page(after), self.retries))
            yield from listing.items(page)
            if (after := page.next) is None:
                return

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _sent(self, call: Call[Any]) -> Answer | NoAnswer:
        content = None if call.stream is None else call.stream.chunks()
        try:
            response = self._http.request(call.method, call.path, **_sending.request(call, content=content))
        except (httpx.RequestError, httpx.InvalidURL) as error:
            return _sending.no_answer(call, error)
        return _sending.answer(response)
