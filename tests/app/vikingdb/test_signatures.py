"""Signed requests at the door: what passes, what does not, and what the answer gives away."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request
from starlette.testclient import TestClient

from app.access.signatures import NOBODYS_ACCOUNT, SignatureAuth
from core import signing
from core.errors import InvalidSignature
from core.signing import CredentialScope, SignableRequest, sign
from tests.app.vikingdb.signed import (
    ACCESS_KEY,
    EMBEDDING,
    PING,
    SECRET_KEY,
    error_of,
    request_of,
    send,
    signature,
)

KEYS = {"hmac_keys": f"{ACCESS_KEY}:{SECRET_KEY}, OTHER:other-secret"}
BODY = json.dumps(request_of("bge-m3", "hello")).encode()
GOLDEN = b'{"model": {"model_name": "bge-m3", "params": null}, "data": [{"data_type": "text", "text": "hello"}]}'


@pytest.fixture
def signed_client(make_client: Callable[..., TestClient]) -> TestClient:
    return make_client(auth=KEYS, vikingdb={"fallback": True})


def test_signed_requests_pass(signed_client: TestClient) -> None:
    assert send(signed_client, BODY, **signature(BODY)).status_code == 200
    ping = signature(b"{}", path=PING, method="GET")
    assert send(signed_client, b"{}", path=PING, method="GET", **ping).json()["message"] == "success"
    by_get = signature(BODY, method="GET")
    assert send(signed_client, BODY, method="GET", **by_get).status_code == 200
    elsewhere = signature(BODY, region="cn-beijing", service="vikingdb", access_key="OTHER", secret_key="other-secret")
    assert send(signed_client, BODY, **elsewhere).status_code == 200


def test_a_query_is_signed_too(signed_client: TestClient) -> None:
    pairs = (("b", "x y"), ("a", "ü"), ("a", ""))
    headers = signature(BODY, query=pairs)
    path = f"{EMBEDDING}?a=%C3%BC&b=x+y&a="
    assert send(signed_client, BODY, path=path, **headers).status_code == 200
    assert "does not fit" in error_of(send(signed_client, BODY, path=f"{path}1", **headers), 401, 1000001)


def test_a_replay_within_the_window_passes(signed_client: TestClient) -> None:
    headers = signature(BODY, now=datetime.now(UTC) - timedelta(minutes=14))
    assert [send(signed_client, BODY, **headers).status_code for _ in range(2)] == [200, 200]


def test_a_signature_of_yesterday_is_refused(signed_client: TestClient) -> None:
    headers = signature(BODY, now=datetime.now(UTC) - timedelta(days=1))
    assert "more than 15 minutes" in error_of(send(signed_client, BODY, **headers), 401, 1000001)


def test_an_altered_body_is_refused_whatever_hash_its_header_claims(signed_client: TestClient) -> None:
    altered = BODY.replace(b"hello", b"hallo")
    headers = signature(BODY)
    error_of(send(signed_client, altered, **headers), 401, 1000001)
    claimed = {**headers, "X-Content-Sha256": hashlib.sha256(altered).hexdigest()}
    error_of(send(signed_client, altered, **claimed), 401, 1000001)


def test_the_hash_that_a_header_claims_counts_for_nothing(signed_client: TestClient) -> None:
    """Only host and date are signed: body and claim could be swapped together, were the body not hashed."""
    date = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    request = SignableRequest(method="POST", path=EMBEDDING, headers={"host": "testserver", "x-date": date}, body=BODY)
    scope = CredentialScope(access_key=ACCESS_KEY, date=date[:8], region="r", service="s")
    signed = sign(request, scope, ["host", "x-date"], SECRET_KEY)
    header = f"HMAC-SHA256 Credential={ACCESS_KEY}/{scope}, SignedHeaders=host;x-date, Signature={signed}"
    assert send(signed_client, BODY, **{"X-Date": date, "Authorization": header}).status_code == 200
    altered = BODY.replace(b"hello", b"hallo")
    claim = {"X-Content-Sha256": hashlib.sha256(altered).hexdigest()}
    error_of(send(signed_client, altered, **{"X-Date": date, "Authorization": header, **claim}), 401, 1000001)


def test_an_unknown_key_and_a_wrong_secret_cannot_be_told_apart(signed_client: TestClient) -> None:
    wrong = send(signed_client, BODY, **signature(BODY, secret_key="wrong"))
    unknown = send(signed_client, BODY, **signature(BODY, access_key="NOBODY"))
    assert error_of(wrong, 401, 1000001) == error_of(unknown, 401, 1000001)
    assert wrong.headers["WWW-Authenticate"] == unknown.headers["WWW-Authenticate"] == "HMAC-SHA256"
    old = datetime.now(UTC) - timedelta(hours=1)
    whos: list[dict[str, Any]] = [{"secret_key": "wrong"}, {"access_key": "NOBODY"}, {}]
    late = [send(signed_client, BODY, **signature(BODY, now=old, **who)).json()["message"] for who in whos]
    assert len(set(late)) == 1


@pytest.mark.parametrize(
    "headers",
    [{}, {"Authorization": "Bearer token"}, {"Authorization": "HMAC-SHA256 ***"}, {"Authorization": ""}],
)
def test_unsigned_requests(signed_client: TestClient, headers: dict[str, str]) -> None:
    for path, method in ((EMBEDDING, "POST"), (EMBEDDING, "GET"), (PING, "GET")):
        message = error_of(send(signed_client, BODY, path=path, method=method, **headers), 401, 1000001)
        assert message.startswith("unauthorized: ")


def test_the_signature_is_checked_before_the_body_is_read(signed_client: TestClient) -> None:
    error_of(send(signed_client, b"{ no JSON"), 401, 1000001)
    assert "Invalid JSON" in error_of(send(signed_client, b"{ no JSON", **signature(b"{ no JSON")), 400, 1000003)


def test_without_keys_nothing_is_asked(make_client: Callable[..., TestClient]) -> None:
    client = make_client(vikingdb={"fallback": True})
    assert send(client, BODY).status_code == 200
    assert send(client, BODY, Authorization="HMAC-SHA256 ***").status_code == 200
    assert send(client, b"{}", path=PING, method="GET").json()["code"] == 0


def test_the_golden_vector() -> None:
    auth = SignatureAuth({"AKEXAMPLE": "SKEXAMPLE"}, now=lambda: datetime(2024, 4, 29, 11, 5, 32, tzinfo=UTC))
    headers = {
        "host": "127.0.0.1:8000",
        "content-type": "application/json",
        "x-date": "20240429T105032Z",
        "x-content-sha256": "b8df4f5f382002b668ff16c137fc98b95b18febf6c9ed0e00d815cab12d694c9",
        "authorization": (
            "HMAC-SHA256 Credential=AKEXAMPLE/20240429/cn-north-1/air/request, "
            "SignedHeaders=content-type;host;x-content-sha256;x-date, "
            "Signature=0caab9b5887b4e791717c3865a5344d6c8a9826791dbe4373df582f8bc9e61a9"
        ),
    }
    assert auth.account(arrived(headers), GOLDEN) == "AKEXAMPLE"
    for changed in ({"host": "127.0.0.1:8001"}, {"content-type": "text/json"}, {"x-date": "20240429T105033Z"}):
        with pytest.raises(InvalidSignature, match="does not fit"):
            auth.account(arrived({**headers, **changed}), GOLDEN)
    with pytest.raises(InvalidSignature):
        auth.account(arrived(headers, path="/api/data/embedding/version/1"), GOLDEN)


@pytest.mark.parametrize("port", ["", ":80", ":443"])
def test_a_default_port_is_not_signed(port: str) -> None:
    headers = {"content-type": "application/json", **signature(BODY, host="example.com")}
    request = arrived({**headers, "host": f"example.com{port}"})
    assert SignatureAuth({ACCESS_KEY: SECRET_KEY}).account(request, BODY) == ACCESS_KEY


@given(
    body=st.binary(max_size=60),
    query=st.lists(st.tuples(st.text(max_size=6), st.text(max_size=6)), max_size=3),
    secret=st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1),
    flip=st.integers(0, 59),
)
def test_what_is_signed_arrives_whole_or_not_at_all(
    body: bytes, query: list[tuple[str, str]], secret: str, flip: int
) -> None:
    from urllib.parse import urlencode

    headers = {"host": "h:1", "content-type": "application/json"}
    headers |= signature(body, host="h:1", secret_key=secret, query=tuple(query))
    auth = SignatureAuth({ACCESS_KEY: secret})
    request = arrived(headers, query=urlencode(query).encode())
    assert auth.account(request, body) == ACCESS_KEY
    if flip < len(body):
        changed = body[:flip] + bytes([body[flip] ^ 1]) + body[flip + 1 :]
        with pytest.raises(InvalidSignature):
            auth.account(request, changed)


def test_no_keys_one_account() -> None:
    assert SignatureAuth({}).account(arrived({}), b"") == NOBODYS_ACCOUNT


def test_without_keys_nobody_passes_where_other_apis_ask_for_tokens() -> None:
    with pytest.raises(InvalidSignature, match="set SALIENCE_AUTH__HMAC_KEYS"):
        SignatureAuth({}, guarded=True).account(arrived({}), b"")


def test_an_unknown_key_costs_the_work_of_a_known_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted: what is digested, and what is compared, by its length."""
    auth, body = SignatureAuth({ACCESS_KEY: "s" * 64}), b"x" * 1000
    work: list[tuple[str, int]] = []
    digest, keyed, compare = signing._sha256, signing._hmac, hmac.compare_digest

    def digested(content: bytes) -> str:
        work.append(("digest", len(content)))
        return digest(content)

    def keyed_digest(key: bytes, text: str) -> bytes:
        work.append(("keyed", len(key) + len(text)))
        return keyed(key, text)

    def compared(one: str, other: str) -> bool:
        work.append(("compare", len(one) + len(other)))
        return compare(one, other)

    monkeypatch.setattr(signing, "_sha256", digested)
    monkeypatch.setattr(signing, "_hmac", keyed_digest)
    monkeypatch.setattr("core.signing.hmac.compare_digest", compared)

    def cost(**who: str) -> list[tuple[str, int]]:
        headers = {"host": "h", "content-type": "application/json"}
        request = arrived({**headers, **signature(body, host="h", **who)})  # type: ignore[arg-type]
        work.clear()
        with pytest.raises(InvalidSignature):
            auth.account(request, body)
        return list(work)

    unknown, known = cost(access_key="NOBODY"), cost(secret_key="wrong")
    assert unknown == known
    assert ("digest", len(body)) in known
    assert [what for what, _ in known].count("compare") == 1


def arrived(headers: dict[str, Any], *, path: str = EMBEDDING, query: bytes = b"") -> Request:
    """A request as a server hands it on."""
    return Request(
        {
            "type": "http",
            "method": "POST",
            "path": path,
            "raw_path": path.encode(),
            "query_string": query,
            "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()],
        }
    )
