"""An application with keys, and a way to ask it as somebody."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from app.access import keys
from app.main import create_app
from app.settings import load_settings
from app.wiring import Wiring
from core.access import Rights, Role
from embedder.local import LocalEncoder
from store.audit import LOCAL


class House:
    """An application over a data directory, with one operator's key, made by a local command."""

    def __init__(self, directory: Path, encoder: LocalEncoder, **settings: Any) -> None:
        self.directory = directory
        self.parts = Wiring(load_settings(data_dir=directory, **settings), encoder=encoder)
        self.client = TestClient(create_app(self.parts), raise_server_exceptions=False)
        self.operator = ""

    def __enter__(self) -> House:
        self.client.__enter__()
        if not self.parts.keyring.has_tokens:
            rights = Rights(name="operator", role=Role.ADMIN)
            _, self.operator = keys.create(self.parts.database, LOCAL, rights)
            self.parts.keyring.refresh(at_once=True)
        return self

    def __exit__(self, *error: Any) -> None:
        self.client.__exit__(None, None, None)

    def ask(self, key: str | None, method: str, path: str, **given: Any) -> Any:
        headers = {**given.pop("headers", {}), **({} if key is None else {"Authorization": f"Bearer {key}"})}
        return self.client.request(method, path, headers=headers, **given)

    def key(self, role: str = "search", **given: Any) -> str:
        """The text of a new key."""
        return str(self.made(role, **given)["key"])

    def made(self, role: str = "search", **given: Any) -> dict[str, Any]:
        answer = self.ask(self.operator, "POST", "/v1/admin/keys", json={"name": "a key", "role": role, **given})
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    def collection(self, key: str, name: str, documents: list[dict[str, Any]] | None = None) -> None:
        made = self.ask(key, "POST", "/v1/collections", json={"name": name})
        assert made.status_code == 201, made.text
        if documents:
            report = self.ask(key, "POST", f"/v1/collections/{name}/documents", json={"documents": documents}).json()
            assert report["created"] == len(documents), report


@pytest.fixture
def open_house(encoder: LocalEncoder, tmp_path: Path) -> Iterator[Callable[..., House]]:
    """Makes applications over one data directory; each is a process of its own as far as keys are concerned."""
    with ExitStack() as stack:
        yield lambda **settings: stack.enter_context(House(tmp_path / "data", encoder, **settings))


@pytest.fixture
def house(open_house: Callable[..., House]) -> House:
    return open_house()
