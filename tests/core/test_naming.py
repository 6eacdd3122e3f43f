"""Names of collections and tenants, and what patterns cover: in Python and in SQL the same."""

from __future__ import annotations

import re

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from core.access import digest_of, new_secret, split_token
from core.errors import InvalidSettings
from core.naming import (
    check_name,
    check_pattern,
    check_stored_name,
    check_tenant,
    covers,
    is_stored_name,
    qualified,
    tenant_of,
)
from store.visibility import name_among

part = st.text("ab.-_A", min_size=1, max_size=5)
stored_names = st.one_of(part, st.builds("{}~{}".format, part, part))
pattern_part = st.text("ab.-_A*", min_size=1, max_size=5)
patterns = st.one_of(pattern_part, st.builds("{}~{}".format, pattern_part, pattern_part))


@given(st.lists(patterns, max_size=3), stored_names)
def test_sql_python_and_a_regular_expression_agree(given_patterns: list[str], name: str) -> None:
    by_python = any(covers(pattern, name) for pattern in given_patterns)
    expressions = [re.escape(pattern).replace(r"\*", "[^~]*") for pattern in given_patterns]
    assert by_python == any(re.fullmatch(expression, name) for expression in expressions)
    engine = sa.create_engine("sqlite://")
    with engine.connect() as connection:
        found = connection.execute(sa.select(name_among(sa.literal(name), given_patterns))).scalar_one()
    engine.dispose()
    assert bool(found) == by_python


def test_names() -> None:
    for name in ("a", "Docs-1.x_y", "9"):
        check_name(name)
        check_stored_name(name)
        check_stored_name(qualified("acme", name))
        assert tenant_of(qualified("acme", name)) == "acme"
        assert tenant_of(name) is None
    for name in ("", "-a", "a~b", "a b", "x" * 129, "ä"):
        with pytest.raises(InvalidSettings):
            check_name(name)
    for name in ("", "~a", "a~", "a~b~c", "-a~b", "a~-b", "a~b c"):
        assert not is_stored_name(name)
        with pytest.raises(InvalidSettings):
            check_stored_name(name)
    for tenant in ("", "a~b", "*", "x" * 65):
        with pytest.raises(InvalidSettings):
            check_tenant(tenant)


def test_a_name_with_the_mark_says_whose_it_would_be() -> None:
    with pytest.raises(InvalidSettings, match="names with ~ belong to a tenant; create it with a key of that tenant"):
        check_name("acme~docs")


def test_patterns() -> None:
    for pattern in ("*", "docs-*", "acme~*", "*~*"):
        check_pattern(pattern)
    for pattern in ("", "a?", "[ab]", "a~b~c", "~", "a b"):
        with pytest.raises(InvalidSettings, match="collection pattern"):
            check_pattern(pattern)
    check_pattern("docs-*", tenant="acme")
    with pytest.raises(InvalidSettings):
        check_pattern("acme~docs", tenant="acme")


def test_secrets() -> None:
    made = [new_secret() for _ in range(100)]
    assert len({secret.token for secret in made}) == len({secret.prefix for secret in made}) == 100
    for token, prefix, salt, digest in made:
        found, secret = split_token(token)
        assert found == prefix
        assert digest_of(salt, secret) == digest
        assert digest_of(bytes(16), secret) != digest
    sizes = {tuple(map(len, split_token(text))) for text in (made[0].token, "", "sal_x_y", made[0].token + "x", "ü")}
    assert sizes == {(12, 43)}
