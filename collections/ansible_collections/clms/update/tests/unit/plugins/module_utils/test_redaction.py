# SPDX-License-Identifier: GPL-3.0-or-later
"""What counts as a secret in a secret file, and that nothing of it is left in a text."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.clms.update.plugins.module_utils.redaction import REMOVED, secrets_in, without

PEM = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIJmfakedfakedfakedfakedfake\n-----END PRIVATE KEY-----\n"


@pytest.mark.parametrize(
    ("content", "secrets"),
    [
        pytest.param("MYSQL_ROOT_PASSWORD=canary-1\nTZ=Europe/Berlin\n", {"canary-1"}, id="environment"),
        pytest.param("export JWT_SECRET='canary-2'\n", {"canary-2"}, id="quoted"),
        pytest.param(
            "DATABASE_URL=mysql://clms:can%40ry-3@mysql:3306/clms\n",
            {"mysql://clms:can%40ry-3@mysql:3306/clms", "can%40ry-3", "can@ry-3"},
            id="address",
        ),
        pytest.param("[client]\nuser=root\npassword=canary-4\n", {"canary-4"}, id="option file"),
        pytest.param('{"username": "clms", "password": "canary-5"}', {"canary-5"}, id="JSON"),
        pytest.param(PEM, {"MC4CAQAwBQYDK2VwBCIEIJmfakedfakedfakedfakedfake"}, id="PEM"),
        pytest.param(
            "# created: 2026\n# public key: age1xyz\nAGE-SECRET-KEY-1CANARYCANARYCANARY\n",
            {"AGE-SECRET-KEY-1CANARYCANARYCANARY"},
            id="age",
        ),
        pytest.param("an-api-key-of-a-school-0123456789\n", {"an-api-key-of-a-school-0123456789"}, id="API key"),
        pytest.param("PASSWORD=abc\n", set(), id="too short to be one"),
        pytest.param("", set(), id="empty"),
        pytest.param("[[[[", set(), id="nonsense"),
    ],
)
def test_secrets(content: str, secrets: set[str]) -> None:
    assert secrets_in(content) == secrets


@given(st.text(min_size=6, max_size=40), st.text(max_size=40), st.text(max_size=40))
def test_nothing_is_left(secret: str, before: str, after: str) -> None:
    for text in (f"{before}{secret}{after}", json.dumps({before: secret}), json.dumps([secret], ensure_ascii=False)):
        shown = without(text, {secret})
        assert secret not in shown.replace(REMOVED, "\0")


def test_the_longest_first() -> None:
    assert without("canary-long and canary", {"canary", "canary-long"}) == f"{REMOVED} and {REMOVED}"
