"""The methods of both clients: descriptors that turn calls into blocking or awaitable methods."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from dataclasses import dataclass
from functools import update_wrapper
from typing import Any, Generic, ParamSpec, TypeVar, Unpack, overload

from salience.client import _admin, _collections, _documents, _jobs, _search
from salience.client._attempts import Retries, Steps, attempts
from salience.client._calls import Call
from salience.client._search import SearchOptions
from salience.client.admin_results import Action
from salience.client.results import Document, Job, JobState
from salience.client.search_results import Hit

P = ParamSpec("P")
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
PAGE = 100  # hits, documents or jobs per request when iterating over all


@dataclass(frozen=True, kw_only=True, slots=True)
class Listing(Generic[T_co]):
    """A paginated listing; each page has the `next` position."""

    page: Callable[[Any], Call[Any]]  # the call for a page, by the `next` of the previous one; None: the first page
    items: Callable[[Any], tuple[T_co, ...]]  # the items of a page


class Blocking(ABC):
    """A client whose methods return their results."""

    retries: Retries

    @abstractmethod
    def run(self, steps: Steps[T]) -> T: ...

    @abstractmethod
    def iterate(self, listing: Listing[T]) -> Iterator[T]: ...


class Awaiting(ABC):
    """A client whose methods are awaited."""

    retries: Retries

    @abstractmethod
    async def run(self, steps: Steps[T]) -> T: ...

    @abstractmethod
    def iterate(self, listing: Listing[T]) -> AsyncIterator[T]: ...


class Method(Generic[P, T_co]):
    """A descriptor that makes a call a method of a client."""

    def __init__(self, describe: Callable[P, Call[T_co]]) -> None:
        self._describe = describe
        self.__doc__ = describe.__doc__

    @overload
    def __get__(self, client: None, owner: type) -> Method[P, T_co]: ...
    @overload
    def __get__(self, client: Blocking, owner: type) -> Callable[P, T_co]: ...
    @overload
    def __get__(self, client: Awaiting, owner: type) -> Callable[P, Coroutine[Any, Any, T_co]]: ...
    def __get__(self, client: Blocking | Awaiting | None, owner: type) -> Any:
        if client is None:
            return self
        describe = self._describe
        if isinstance(client, Awaiting):

            async def awaited(*arguments: P.args, **options: P.kwargs) -> Any:  # bad arguments raise when awaited
                return await client.run(attempts(describe(*arguments, **options), client.retries))

            return update_wrapper(awaited, describe)

        def method(*arguments: P.args, **options: P.kwargs) -> Any:
            return client.run(attempts(describe(*arguments, **options), client.retries))

        return update_wrapper(method, describe)


class Listed(Generic[P, T_co]):
    """A descriptor that makes a listing a method that iterates over all pages."""

    def __init__(self, describe: Callable[P, Listing[T_co]]) -> None:
        self._describe = describe
        self.__doc__ = describe.__doc__

    @overload
    def __get__(self, client: None, owner: type) -> Listed[P, T_co]: ...
    @overload
    def __get__(self, client: Blocking, owner: type) -> Callable[P, Iterator[T_co]]: ...
    @overload
    def __get__(self, client: Awaiting, owner: type) -> Callable[P, AsyncIterator[T_co]]: ...
    def __get__(self, client: Blocking | Awaiting | None, owner: type) -> Any:
        if client is None:
            return self
        describe = self._describe

        def method(*arguments: P.args, **options: P.kwargs) -> Any:
            return client.iterate(describe(*arguments, **options))

        return update_wrapper(method, describe)


def search_all(collection: str, query: str | None = None, **options: Unpack[SearchOptions]) -> Listing[Hit]:
    """Iterate over the hits of a search, up to the first 1,000, by cursors; `k` is the size of a page.

    Raises CursorExpired if the collection is reindexed meanwhile, and ValueError for groups, which have no cursor.
    """
    if options.get("group_by") is not None:
        raise ValueError("search_all goes on by cursors, and groups have none: use search and offset")
    paged: SearchOptions = {"k": PAGE, **options}

    def page(after: str | None) -> Call[Any]:
        return _search.search(
            collection, query, **(paged if after is None else {**paged, "cursor": after, "offset": 0})
        )

    return Listing(page=page, items=lambda found: found.hits)


def iter_documents(collection: str, *, filter: str | None = None) -> Listing[Document]:
    """Iterate over the documents of a collection, or those that match a filter, ordered by id."""
    return Listing(
        page=lambda after: _documents.list_documents(collection, limit=PAGE, after=after, filter=filter),
        items=lambda page: page.documents,
    )


def iter_jobs(*, collection: str | None = None, state: JobState | None = None) -> Listing[Job]:
    """Iterate over all jobs, the newest first."""
    return Listing(
        page=lambda before: _jobs.list_jobs(collection=collection, state=state, limit=PAGE, before=before),
        items=lambda page: page.jobs,
    )


def iter_audit() -> Listing[Action]:
    """Iterate over all actions of administrators, the newest first."""
    return Listing(page=lambda before: _admin.list_audit(limit=PAGE, before=before), items=lambda page: page.actions)


class Methods:
    """The methods that need one request, or one per page."""

    search = Method(_search.search)
    search_all = Listed(search_all)
    search_many = Method(_search.search_many)
    explain = Method(_search.explain)
    replay = Method(_search.replay)

    add_documents = Method(_documents.add_documents)
    queue_documents = Method(_documents.queue_documents)
    put_document = Method(_documents.put_document)
    change_document = Method(_documents.change_document)
    get_document = Method(_documents.get_document)
    list_documents = Method(_documents.list_documents)
    iter_documents = Listed(iter_documents)
    count_documents = Method(_documents.count_documents)
    delete_document = Method(_documents.delete_document)
    delete_documents = Method(_documents.delete_documents)

    create_collection = Method(_collections.create_collection)
    list_collections = Method(_collections.list_collections)
    get_collection = Method(_collections.get_collection)
    change_collection = Method(_collections.change_collection)
    delete_collection = Method(_collections.delete_collection)
    collection_stats = Method(_collections.collection_stats)

    list_jobs = Method(_jobs.list_jobs)
    iter_jobs = Listed(iter_jobs)
    get_job = Method(_jobs.get_job)
    job_errors = Method(_jobs.job_errors)
    cancel_job = Method(_jobs.cancel_job)
    retry_job = Method(_jobs.retry_job)

    embed = Method(_collections.embed)
    rerank = Method(_collections.rerank)

    create_key = Method(_admin.create_key)
    list_keys = Method(_admin.list_keys)
    rotate_key = Method(_admin.rotate_key)
    revoke_key = Method(_admin.revoke_key)
    list_audit = Method(_admin.list_audit)
    iter_audit = Listed(iter_audit)

    set_alias = Method(_admin.set_alias)
    get_alias = Method(_admin.get_alias)
    list_aliases = Method(_admin.list_aliases)
    delete_alias = Method(_admin.delete_alias)

    start_reindex = Method(_admin.start_reindex)
    get_reindex = Method(_admin.get_reindex)
    list_reindexes = Method(_admin.list_reindexes)
    switch_reindex = Method(_admin.switch_reindex)
    rollback_reindex = Method(_admin.rollback_reindex)
    cancel_reindex = Method(_admin.cancel_reindex)
    clean_up_reindex = Method(_admin.clean_up_reindex)
