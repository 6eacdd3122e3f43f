"""The stored reason of a job or a reindex, as it is shown to those who are not to know where the data lies."""

from __future__ import annotations

import pytest

from core import errors
from core.errors import InvalidInput, StorageError
from core.storedreason import public_reason, stored_reason

KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, StorageError)]


@pytest.mark.parametrize("kind", KINDS)
def test_no_kind_of_storage_error_shows_its_path(kind: type[StorageError]) -> None:
    assert public_reason(stored_reason(kind("/srv/data: held by 4711"))) == kind().message


def test_another_reason_is_shown_as_it_is() -> None:
    assert public_reason(stored_reason(InvalidInput("text: too long"))) == "text: too long"
