"""The asynchronous client: the methods of Client, as coroutines."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx

from salience.client import _admin, _collections, _documents, _jobs, _sending
from salience.client._attempts import NoAnswer, Pause, Retries, Steps, attempts
from salience.client._bulk import AsyncDocuments, BulkBody, Documents
from salience.client._calls import Answer, Call
from salience.client._methods import Awaiting, Listing, Methods
from salience.client.admin_results import Reindex
from salience.client.results import Job, Readiness

T = TypeVar("T")


class AsyncClient(Methods, Awaiting):
    """A client for programs with an event loop (asyncio). Close it, or use it in an `async with`.

    Every method raises SalienceError (see `errors`) if it fails.
    """

    def __init__(
        self,
        address: str = "http://localhost:8080",
        *,
        key: str | None = None,
        timeout: float = 60.0,
        retries: Retries | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """As in Client."""
        self.retries = Retries() if retries is None else retries
        self._http = httpx.AsyncClient(**_sending.settings(address, key, timeout), transport=transport)

    async def add_bulk(
        self,
        collection: str,
        documents: Documents | AsyncDocuments | Callable[[], Documents | AsyncDocuments],
        *,
        key: str | None = None,
        id_field: str | None = None,
        text_field: str | None = None,
        title_field: str | None = None,
    ) -> Job:
        """As in Client; the documents may also be an async iterable."""
        call = _documents.bulk(
            collection,
            BulkBody(documents),
            key=key,
            id_field=id_field,
            text_field=text_field,
            title_field=title_field,
        )
        return await self.run(attempts(call, self.retries))

    async def wait_for_job(
        self, job: Job | int, *, timeout: float | None = None, progress: Callable[[Job], object] | None = None
    ) -> Job:
        """Wait until a job is done. `progress` is called with each state polled; `timeout`: seconds.

        Raises JobUnfinished if it ends otherwise, or not in time.
        """
        id = job if isinstance(job, int) else job.id
        return await self.run(_jobs.until_ended(id, seconds=timeout, progress=progress, retries=self.retries))

    async def wait_for_reindex(
        self, collection: str, *, timeout: float | None = None, progress: Callable[[Reindex], object] | None = None
    ) -> Reindex:
        """Wait until a reindex has switched, or, without `auto_switch`, is ready to. `timeout`: seconds.

        `progress` is called with each state polled. Raises ReindexUnfinished if it ends otherwise, or not in time.
        """
        steps = _admin.until_reindexed(collection, seconds=timeout, progress=progress, retries=self.retries)
        return await self.run(steps)

    async def ready(self) -> Readiness:
        """Whether the server is ready to serve, without retries. Raises ConnectionFailed if it does not answer."""
        return await self.run(_collections.readiness())

    async def run(self, steps: Steps[T]) -> T:
        outcome: Answer | NoAnswer | None = None
        while True:
            try:
                step = steps.send(outcome)
            except StopIteration as end:
                result: T = end.value
                return result
            if isinstance(step, Pause):
                import asyncio  # imported here, so that programs without an event loop do not load it

                await asyncio.sleep(step.seconds)
                outcome = None
            else:
                outcome = await self._sent(step)

    async def iterate(self, listing: Listing[T]) -> AsyncIterator[T]:
        after = None
        while True:
            page = await self.run(attempts(listing.page(after), self.retries))
            for item in listing.items(page):
                yield item
            if (after := page.next) is None:
                return

    async def close(self) -> None:
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def _sent(self, call: Call[Any]) -> Answer | NoAnswer:
        content = None if call.stream is None else call.stream.chunks_async()
        try:
            response = await self._http.request(call.method, call.path, **_sending.request(call, content=content))
        except (httpx.RequestError, httpx.InvalidURL) as error:
            return _sending.no_answer(call, error)
        return _sending.answer(response)
