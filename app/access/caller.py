"""Who makes a request, and which collections that caller sees, by which names."""

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
    from retriever.result import SearchResult  # commands have no use for the library

_Named = TypeVar("_Named", bound=SalienceError)
_Work = TypeVar("_Work", Job, Reindex)


@dataclass(frozen=True, kw_only=True, slots=True)
class Caller:
    """Made by the KeyRing; a request's is `app.api.dependencies.Known`."""

    who: str  # "key PREFIX", "token", "anonymous" or "signature": for the audit log
    account: str  # whose limits count: keys that took each other's place share one
    rights: Rights
    prefix: str | None = None  # of the key; None: it is no key

    @property
    def rows(self) -> Filter | None:
        """What restricts the documents that the caller sees."""
        return self.rights.rows

    @property
    def among(self) -> tuple[str, ...] | None:
        """Patterns of the stored names of the collections that the caller sees; None: all."""
        rights = self.rights
        if rights.tenant is not None:
            return tuple(qualified(rights.tenant, pattern) for pattern in rights.patterns or ("*",))
        return rights.patterns or None

    @property
    def sees_everything(self) -> bool:
        """Whether it is the operator's: without tenant, patterns and row filter."""
        return self.among is None and self.rows is None

    def sees(self, stored: str) -> bool:
        """Whether the caller sees a collection of this stored name, if there is one.

        Another generation is seen by who sees its collection: a pattern such as *7 says nothing of `goods!7`.
        """
        among, name = self.among, base_name(stored)
        return among is None or any(covers(pattern, name) for pattern in among)

    def collection(self, name: str) -> str:
        """The stored name. Raises CollectionNotFound where the caller does not see it, there or not."""
        stored = qualified(self.rights.tenant, name)
        if not self.sees(stored):
            raise CollectionNotFound(f"there is no collection {name!r:.140}", param="collection")
        return stored

    def new_collection(self, name: str) -> str:
        """The stored name of one to be made. Raises InvalidSettings, and Forbidden for a name that would be unseen."""
        check_name(name)
        stored = qualified(self.rights.tenant, name)
        if not self.sees(stored):
            patterns = ", ".join(self.rights.patterns)
            raise Forbidden(f"this key is for collections named {patterns}; {name!r:.140} is none", param="name")
        return stored

    def shown(self, stored: str) -> str:
        """The name as the caller gave it."""
        tenant = self.rights.tenant
        return stored if tenant is None else stored.removeprefix(qualified(tenant, ""))

    def shown_collection(self, found: Collection) -> Collection:
        return replace(found, name=self.shown(found.name))

    def shown_work(self, found: _Work) -> _Work:
        """In the caller's names, also where it says what it waits for; as `told` where that is an error."""
        reason = found.reason and self._without_tenant(found.reason)
        if self.sees_everything:
            return replace(found, collection=self.shown(found.collection), reason=reason)
        if isinstance(found, Job):
            found = replace(found, worker=None)
        return replace(found, collection=self.shown(found.collection), reason=reason and public_reason(reason))

    def shown_result(self, result: SearchResult) -> SearchResult:
        """Also in what its explanations say of themselves."""
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
        """The error in the caller's names; of collections that there are it names none beyond those that are seen."""
        message = error.message
        if isinstance(error, CollectionNotFound) and self.rights.patterns:
            message = error.plain
        if isinstance(error, QueueFull) and self.among is not None:
            message = QueueFull().message  # how many wait is other people's business
        if isinstance(error, StorageError) and not self.sees_everything:
            message = type(error)().message  # where the data lies, and which processes there are, is the operator's
        message = self._without_tenant(message)
        if message != error.message:
            error.args = (message, *error.args[1:])
        return error

    def _without_tenant(self, text: str) -> str:
        tenant = self.rights.tenant
        return text if tenant is None else text.replace(f"{tenant}{MARK}", "")


_OPERATOR = Rights(name="operator", role=Role.ADMIN)
ANONYMOUS = Caller(who="anonymous", account="", rights=_OPERATOR)  # where nobody is asked who they are
TOKEN = Caller(who="token", account="token", rights=_OPERATOR)  # of the settings
SIGNED = Caller(who="signature", account="signature", rights=_OPERATOR)  # by a pair of keys of the settings
