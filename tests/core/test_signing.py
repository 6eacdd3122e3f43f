"""Signing and verifying are one formula: held to a published example and to every way of altering a request."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import InvalidSignature
from core.signing import (
    Authorization,
    CredentialScope,
    SignableRequest,
    canonical_query,
    canonical_request,
    parse_authorization,
    sign,
    signed_headers,
    verify,
)

NOW = datetime(2024, 4, 29, 10, 50, 32, tzinfo=UTC)
BODY = b'{"model": {"model_name": "bge-m3", "params": null}, "data": [{"data_type": "text", "text": "hello"}]}'
SECRET = "SKEXAMPLE"
REQUEST = SignableRequest(
    method="POST",
    path="/api/data/embedding/version/2",
    headers={"host": "127.0.0.1:8000", "content-type": "application/json"},
    body=BODY,
)


def signed(request: SignableRequest = REQUEST, secret: str = SECRET, now: datetime = NOW) -> SignableRequest:
    """The request with the three headers that sign it."""
    new = signed_headers(
        request, access_key="AKEXAMPLE", secret_key=secret, region="cn-north-1", service="air", now=now
    )
    return replace(request, headers={**request.headers, **{name.lower(): value for name, value in new.items()}})


def check(request: SignableRequest, now: datetime = NOW, secret: str = SECRET) -> None:
    verify(request, parse_authorization(request.headers["authorization"]), secret, now=now)


def with_header(request: SignableRequest, name: str, value: str) -> SignableRequest:
    return replace(request, headers={**request.headers, name: value})


def test_the_golden_vector() -> None:
    headers = signed().headers
    assert len(BODY) == 101
    assert headers["x-date"] == "20240429T105032Z"
    assert headers["x-content-sha256"] == "b8df4f5f382002b668ff16c137fc98b95b18febf6c9ed0e00d815cab12d694c9"
    assert headers["authorization"] == (
        "HMAC-SHA256 Credential=AKEXAMPLE/20240429/cn-north-1/air/request, "
        "SignedHeaders=content-type;host;x-content-sha256;x-date, "
        "Signature=0caab9b5887b4e791717c3865a5344d6c8a9826791dbe4373df582f8bc9e61a9"
    )


def test_the_canonical_form_by_hand() -> None:
    request = SignableRequest(
        method="get",
        path="/a",
        query=[("b", "2"), ("a", "x y"), ("a", "1")],
        headers={"host": "h", "x-date": " 20240429T105032Z "},
    )
    assert canonical_request(request, ["x-date", "host"]) == (
        "GET\n/a\na=1&a=x%20y&b=2\nhost:h\nx-date:20240429T105032Z\n\nhost;x-date\n" + hashlib.sha256(b"").hexdigest()
    )


def test_the_signature_is_the_documented_chain_of_keys() -> None:
    request = with_header(REQUEST, "x-date", "20240429T105032Z")
    scope = CredentialScope(access_key="ak", date="20240429", region="cn-beijing", service="vikingdb")
    names = ["host", "x-date"]
    key = b"secret"
    for part in (b"20240429", b"cn-beijing", b"vikingdb", b"request"):
        key = hmac.digest(key, part, "sha256")
    canonical = hashlib.sha256(canonical_request(request, names).encode()).hexdigest()
    text = f"HMAC-SHA256\n20240429T105032Z\n20240429/cn-beijing/vikingdb/request\n{canonical}"
    assert sign(request, scope, names, "secret") == hmac.digest(key, text.encode(), "sha256").hex()


def test_queries_are_quoted_as_rfc_3986_has_it() -> None:
    assert canonical_query([("ü", "a b"), ("~-_.", "a+b/c*")]) == "%C3%BC=a%20b&~-_.=a%2Bb%2Fc%2A"
    assert canonical_query([]) == ""


@given(
    query=st.lists(st.tuples(st.text(max_size=8), st.text(max_size=8)), max_size=4),
    body=st.binary(max_size=40),
    region=st.sampled_from(["cn-north-1", "cn-beijing"]),
    zone=st.integers(-12, 12),
)
def test_what_was_signed_verifies(query: list[tuple[str, str]], body: bytes, region: str, zone: int) -> None:
    request = replace(REQUEST, query=query, body=body)
    now = NOW.astimezone(timezone(timedelta(hours=zone)))
    headers = signed_headers(request, access_key="AK", secret_key="s", region=region, service="x", now=now)
    given_headers = {**request.headers, **{name.lower(): value for name, value in headers.items()}}
    arrived = replace(request, headers=given_headers, query=list(reversed(request.query)))
    check(arrived, secret="s")


@pytest.mark.parametrize(
    "altered",
    [
        lambda r: replace(r, body=BODY.replace(b"hello", b"hellO")),
        lambda r: replace(r, method="GET"),
        lambda r: replace(r, path="/api/data/embedding/version/3"),
        lambda r: replace(r, query=[("a", "1")]),
        lambda r: with_header(r, "host", "127.0.0.1:8001"),
        lambda r: with_header(r, "content-type", "text/plain"),
        lambda r: with_header(r, "x-content-sha256", hashlib.sha256(b"").hexdigest()),
        lambda r: with_header(r, "x-date", "20240429T105033Z"),
        lambda r: with_header(r, "authorization", r.headers["authorization"].replace("/air/", "/vikingdb/")),
    ],
    ids=["body", "method", "path", "query", "host", "content-type", "claimed hash", "date", "service"],
)
def test_an_altered_request_is_refused(altered) -> None:  # type: ignore[no-untyped-def]
    check(signed())
    with pytest.raises(InvalidSignature, match="does not fit"):
        check(altered(signed()))


def test_the_hash_that_a_header_claims_counts_for_nothing() -> None:
    """A body swapped together with its unsigned hash header: only hashing the real body notices."""
    request = with_header(REQUEST, "x-date", "20240429T105032Z")
    scope = CredentialScope(access_key="AK", date="20240429", region="r", service="s")
    names = ("host", "x-date")
    authorization = Authorization(scope=scope, signed_headers=names, signature=sign(request, scope, names, SECRET))
    verify(request, authorization, SECRET, now=NOW)
    other = b"{}"
    swapped = replace(with_header(request, "x-content-sha256", hashlib.sha256(other).hexdigest()), body=other)
    with pytest.raises(InvalidSignature, match="does not fit"):
        verify(swapped, authorization, SECRET, now=NOW)


def test_another_secret_is_refused() -> None:
    with pytest.raises(InvalidSignature, match="does not fit"):
        check(signed(), secret="SKOTHER")


@pytest.mark.parametrize("minutes", [-15, 0, 15])
def test_a_clock_may_be_a_quarter_of_an_hour_off(minutes: int) -> None:
    check(signed(), now=NOW + timedelta(minutes=minutes))


@pytest.mark.parametrize("seconds", [-901, 901, 86_400])
def test_a_signature_of_another_time_is_refused(seconds: int) -> None:
    with pytest.raises(InvalidSignature, match="15 minutes"):
        check(signed(), now=NOW + timedelta(seconds=seconds))


@pytest.mark.parametrize("left_out", ["host", "x-date"])
def test_host_and_date_must_be_signed(left_out: str) -> None:
    request = signed()
    authorization = parse_authorization(request.headers["authorization"])
    names = tuple(name for name in authorization.signed_headers if name != left_out)
    signature = sign(request, authorization.scope, names, SECRET)
    with pytest.raises(InvalidSignature, match=f"must cover the header {left_out}"):
        verify(request, replace(authorization, signed_headers=names, signature=signature), SECRET, now=NOW)


def test_a_signed_header_that_did_not_arrive_is_refused() -> None:
    request = signed()
    headers = {name: value for name, value in request.headers.items() if name != "content-type"}
    with pytest.raises(InvalidSignature, match="'content-type' is not in the request"):
        check(replace(request, headers=headers))


@pytest.mark.parametrize("date", ["20240429", "20241329T105032Z", "2024042T9105032Z", "", "20240429T105032Z\n"])
def test_a_date_of_another_form_is_refused(date: str) -> None:
    with pytest.raises(InvalidSignature, match="X-Date"):
        check(with_header(signed(), "x-date", date))


def test_the_credentials_date_must_be_the_requests() -> None:
    request = signed()
    header = request.headers["authorization"].replace("/20240429/", "/20240430/")
    with pytest.raises(InvalidSignature, match="date of the credential"):
        check(with_header(request, "authorization", header))


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer token",
        "HMAC-SHA256 ***",
        "HMAC-SHA256 Credential=a/b/c/d/request, SignedHeaders=host;x-date, Signature=zz",
        f"HMAC-SHA256 Credential=a/b/c/request, SignedHeaders=host;x-date, Signature={'0' * 64}",
        f"HMAC-SHA256 Credential=a/b//d/request, SignedHeaders=host;x-date, Signature={'0' * 64}",
        f"HMAC-SHA256 Credential=a/b/c/d/aws4, SignedHeaders=host;x-date, Signature={'0' * 64}",
    ],
)
def test_a_header_of_another_form_is_refused(header: str) -> None:
    with pytest.raises(InvalidSignature, match="must read"):
        parse_authorization(header)


def test_a_header_reads_as_it_was_written() -> None:
    scope = CredentialScope(access_key="AK", date="20240429", region="r", service="s")
    written = Authorization(scope=scope, signed_headers=("host", "x-date"), signature="0" * 64)
    assert parse_authorization(str(written)) == written
