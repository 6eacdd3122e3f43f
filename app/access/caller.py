"""The authenticated caller of a request: its rights, and the collections it sees under the names it uses."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

from core.access import Rights, Role
from core.errors import CollectionNotFound, Forbidden, QueueFull, SalienceError, StorageError
from core.filters import Filter
from core.naming import MARK, base_name, check_name, covers, qualified
from core.records import Collection, Job
from core.reindexes import Reindex
from core.storedreason import public_reason

if TYPE_CHECKING:
    from retriever.result import SearchResult  # not at run time: commands do not need the library

_Named = TypeVar("_Named", bound=SalienceError)
_Work = TypeVar("_Work", Job, Reindex)


@dataclass(frozen=True, kw_only=True, slots=True)
class Caller:
    """An authenticated caller, created by the KeyRing. Endpoints receive it as `app.api.dependencies.Known`."""

    who: str  # "key PREFIX", "token", "anonymous" or "signature": for the audit log
    account: str  # that limits are counted for: a key and its rotated successors share one
    rights: Rights
    prefix: str | None = None  # of the key; None: not authenticated by a key

    @property
    def rows(self) -> Filter | None:
        """The filter on the documents that the caller sees; None: all."""
        return self.rights.rows

    @property
    def among(self) -> tuple[str, ...] | None:
        """Patterns for the stored names of the collections that the caller sees; None: all."""
        rights = self.rights
        if rights.tenant is not None:
            return tuple(qualified(rights.tenant, pattern) for pattern in rights.patterns or ("*",))
        return rights.patterns or None

    @property
    def sees_everything(self) -> bool:
        """Whether this is an operator: without tenant, patterns and row filter."""
        return self.among is None and self.rows is None

    def sees(self, stored: str) -> bool:
        """Whether the caller would see a collection with this stored name, if it exists.

        Generations of a collection are matched by the collection's own name: the pattern *7 does not cover `goods!7`.
        """
        among, name = self.among, base_name(stored)
        return among is None or any(covers(pattern, name) for pattern in among)

    def collection(self, name: str) -> str:
        """Return the stored name. Raises CollectionNotFound if the caller does not see it, whether or not it exists."""
        stored = qualified(self.rights.tenant, name)
        if not self.sees(stored):
            raise CollectionNotFound(f"there is no collection {name!r:.140}", param="collection")
        return stored

    def new_collection(self, name: str) -> str:
        """Return the stored name of a collection to be created.

        Raises InvalidSettings for an invalid name, and Forbidden for a name that the caller would not see.
        """
        check_name(name)
        stored = qualified(self.rights.tenant, name)
        if not self.sees(stored):
            patterns = ", ".join(self.rights.patterns)
            raise Forbidden(f"this key is for collections named {patterns}; {name!r:.140} is none", param="name")
        return stored

    def shown(self, stored: str) -> str:
        """Return the name under which the caller knows the collection: without the tenant."""
        tenant = self.rights.tenant
        return stored if tenant is None else stored.removeprefix(qualified(tenant, ""))

    def shown_collection(self, found: Collection) -> Collection:
        return replace(found, name=self.shown(found.name))

    def shown_work(self, found: _Work) -> _Work:
        """Return the job or reindex with the caller's names, in its `reason` too; only operators see the worker.

        For callers that do not see everything, the reason is reduced by `public_reason`.
        """
        reason = found.reason and self._without_tenant(found.reason)
        if self.sees_everything:
            return replace(found, collection=self.shown(found.collection), reason=reason)
        if isinstance(found, Job):
            found = replace(found, worker=None)
        return replace(found, collection=self.shown(found.collection), reason=reason and public_reason(reason))

    def shown_result(self, result: SearchResult) -> SearchResult:
        """Return the result with the caller's name of the collection, in the provenance of its explanations too."""
        if self.rights.tenant is None:
            return result
        name = self.shown(result.collection)
        hits = tuple(
            hit
            if hit.explanation is None
            else replace(
                hit,
                explanation=replace(hit.explanation, provenance={**hit.explanation.provenance, "collection": name}),
            )
            for hit in result.hits
        )
        return replace(result, collection=name, hits=hits)

    def told(self, error: _Named) -> _Named:
        """Rewrite the error's message for the caller, in place, and return the error.

        The message uses the caller's names and mentions no collection, queue length, path or process that the caller
        may not know of.
        """
        message = error.message
        if isinstance(error, CollectionNotFound) and self.rights.patterns:
            message = error.plain
        if isinstance(error, QueueFull) and self.among is not None:
            message = QueueFull().message  # the queue's length would reveal the activity of others
        if isinstance(error, StorageError) and not self.sees_everything:
            message = type(error)().message  # only operators see the path of the data and its processes
        message = self._without_tenant(message)
        if message != error.message:
            error.args = (message, *error.args[1:])
        return error

    def _without_tenant(self, text: str) -> str:
        tenant = self.rights.tenant
        return text if tenant is None else text.replace(f"{tenant}{MARK}", "")


_OPERATOR = Rights(name="operator", role=Role.ADMIN)
ANONYMOUS = Caller(who="anonymous", account="", rights=_OPERATOR)  # where authentication is off
TOKEN = Caller(who="token", account="token", rights=_OPERATOR)  # a bearer token of the settings
SIGNED = Caller(who="signature", account="signature", rights=_OPERATOR)  # signed by a key pair of the settings
