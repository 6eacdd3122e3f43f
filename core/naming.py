"""Collection names, as users give them and as they are stored: a tenant's collections are stored as `TENANT~NAME`."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase

from core.errors import InvalidSettings

MARK = "~"  # separates a tenant from its collection's name; allowed in neither
HIDDEN = "!"  # NAME!NUMBER is a collection's hidden generation, built or kept by a reindex; not allowed in names
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_TENANT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_PATTERN = re.compile(r"[A-Za-z0-9._*-]{1,128}")


def check_name(name: str) -> None:
    """Raises InvalidSettings unless `name` is a valid collection name."""
    if not _NAME.fullmatch(name):
        hint = f"; names with {MARK} belong to a tenant; create it with a key of that tenant" if MARK in name else ""
        raise InvalidSettings(
            f"collection name {name!r:.140}: must be 1 to 128 of the characters A-Z a-z 0-9 . _ - "
            f"and begin with a letter or digit{hint}",
            param="name",
        )


def check_stored_name(name: str) -> None:
    """Raises InvalidSettings unless `name` is a valid stored name, of the operator's collection or a tenant's."""
    if not is_stored_name(name):
        check_name(name.partition(MARK)[2] if MARK in name else name)
        raise InvalidSettings(f"collection name {name!r:.140}: what stands before {MARK} is no tenant", param="name")


def is_stored_name(name: str) -> bool:
    """Whether a collection could be stored under this name."""
    tenant, mark, rest = name.partition(MARK)
    if not mark:
        return bool(_NAME.fullmatch(name))
    return bool(_TENANT.fullmatch(tenant) and _NAME.fullmatch(rest))


def hidden_name(name: str, number: int) -> str:
    """The stored name of the generation of `name` that the reindex `number` builds, or keeps for a rollback."""
    return f"{name}{HIDDEN}{number}"


def is_hidden(name: str) -> bool:
    """Whether a stored name is that of a hidden generation."""
    name, mark, number = name.partition(HIDDEN)
    return bool(mark) and is_stored_name(name) and number.isascii() and number.isdecimal()


def base_name(name: str) -> str:
    """The stored name of the collection that a hidden generation belongs to; any other name unchanged."""
    return name.partition(HIDDEN)[0] if is_hidden(name) else name


def check_tenant(tenant: str) -> None:
    """Raises InvalidSettings unless `tenant` is a valid tenant name."""
    if not _TENANT.fullmatch(tenant):
        raise InvalidSettings(
            f"tenant {tenant!r:.140}: must be 1 to 64 of the characters A-Z a-z 0-9 . _ - "
            "and begin with a letter or digit",
            param="tenant",
        )


def check_pattern(pattern: str, *, tenant: str | None = None) -> None:
    """Raises InvalidSettings unless `pattern` is a valid collection pattern.

    An operator's pattern (no `tenant`) may name tenants' collections: acme~docs, acme~*, *~*.
    """
    parts = pattern.split(MARK) if tenant is None else [pattern]
    if len(parts) > 2 or not all(_PATTERN.fullmatch(part) for part in parts):
        raise InvalidSettings(
            f"collection pattern {pattern!r:.140}: must be a name, or one in which * stands for any characters, such "
            "as docs-*" + ("" if tenant is not None else f"; a tenant's collections are TENANT{MARK}PATTERN"),
            param="collections",
        )


def qualified(tenant: str | None, name: str) -> str:
    """The stored form of a name. If a tenant's name contains a mark, the result is not a valid stored name."""
    return name if tenant is None else f"{tenant}{MARK}{name}"


def tenant_of(name: str) -> str | None:
    """The tenant of a stored name; None: it is the operator's."""
    tenant, mark, _ = name.partition(MARK)
    return tenant if mark else None


def covers(pattern: str, name: str) -> bool:
    """Whether a stored name matches the pattern, in which `*` stands for any characters except the mark."""
    wanted, found = pattern.split(MARK), name.split(MARK)
    return len(wanted) == len(found) and all(map(fnmatchcase, found, wanted))
