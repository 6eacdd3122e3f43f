"""What the door takes for a request, it gives back when that is over, however it ends."""

from __future__ import annotations

from typing import Any

import pytest

from tests.app.access.conftest import House, error_of

SEARCH = "/v1/collections/docs/search"


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        (SEARCH, {"query": "radio"}, 200),
        (SEARCH, {"query": ""}, 400),
        (SEARCH, {"quest": "radio"}, 422),
        ("/v1/collections/none/search", {"query": "radio"}, 404),
    ],
)
def test_a_search_that_is_over_makes_room_for_the_next(house: House, path: str, body: Any, status: int) -> None:
    house.collection(house.operator, "docs", [{"id": "a", "text": "A radio."}])
    key = house.key(limits={"concurrent_searches": 1})
    for _ in range(2):
        assert house.ask(key, "POST", path, json=body).status_code == status
    known = house.parts.keyring.caller(key)
    assert known is not None
    with house.parts.limiter.admitted(known, searches=True):  # one is going on
        error_of(house.ask(key, "POST", path, json=body), 429)
    assert house.ask(key, "POST", path, json=body).status_code == status, "the refused one took no room"
