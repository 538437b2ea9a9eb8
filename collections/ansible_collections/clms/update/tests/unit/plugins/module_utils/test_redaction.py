# SPDX-License-Identifier: GPL-3.0-or-later
"""What counts as a secret in a secret file, and that nothing of it is left in a text."""

from __future__ import annotations

import json
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable
from urllib.parse import quote, quote_plus

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
        pytest.param("MYSQL_PWD=canary-6\nSMTP_PWD=20261130\nSMTP_PW=canary-7\n",
                     {"canary-6", "20261130", "canary-7"}, id="short names"),
        pytest.param("LDAP_BIND=canary-8\nSENTRY=canary-9=\n", {"canary-8", "canary-9="}, id="names of no meaning"),
        pytest.param(
            "MYSQL_USER=clms_user\nMYSQL_DATABASE=clms_database\nSMTP_HOST=smtp.school.test\nREDIS=192.0.2.17\n"
            "NODE_ENV=production\nSESSION_SECONDS=604800\nUPLOADS=100000kb\nLOG_LEVEL=warning\nSTRICT=true\n",
            set(),
            id="plainly none",
        ),
        pytest.param("CACHE_HOST=redis://:canary-a@redis\n", {"canary-a"}, id="a password in a host"),
        pytest.param(
            "tgram://123456789:AAcanarycanarycanary/chat\n",
            {"tgram://123456789:AAcanarycanarycanary/chat", "AAcanarycanarycanary"},
            id="who is told",
        ),
        pytest.param("MC4CAQAwBQYDK2VwBCIEIJmfake==\n", {"MC4CAQAwBQYDK2VwBCIEIJmfake=="}, id="a key's last line"),
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
)  # fmt: skip
def test_secrets(content: str, secrets: set[str]) -> None:
    alone = {content.strip()}  # a line that is alone counts in any case
    assert secrets_in(content) - alone == secrets - alone


@pytest.mark.parametrize(
    ("content", "secrets"),
    [
        pytest.param("S0mmer2024!\n", {"S0mmer2024!"}, id="a word"),
        pytest.param("\n  two words \r\n\n", {"two words"}, id="two words"),
        pytest.param("abc:defghijkl\n", {"abc:defghijkl", "defghijkl"}, id="like an assignment"),
        pytest.param("port:123456", {"port:123456"}, id="like one of no meaning"),
        pytest.param("12345678\n", {"12345678"}, id="a number"),
        pytest.param("#canary", {"#canary"}, id="like a comment"),
        pytest.param("abcde\n", set(), id="too short to be one"),
        pytest.param('{"pin": 12345678, "rate": 1.2500, "port": 33060}', {"12345678", "1.2500"}, id="numbers in JSON"),
    ],
)
def test_a_secret_that_is_alone_in_its_file(content: str, secrets: set[str]) -> None:
    assert secrets_in(content) == secrets


@given(st.text(min_size=6, max_size=40), st.text(max_size=40), st.text(max_size=40))
def test_nothing_is_left(secret: str, before: str, after: str) -> None:
    for text in (f"{before}{secret}{after}", json.dumps({before: secret}), json.dumps([secret], ensure_ascii=False)):
        shown = without(text, {secret})
        assert secret not in shown.replace(REMOVED, "\0")


def test_the_longest_first() -> None:
    assert without("canary-long and canary", {"canary", "canary-long"}) == f"{REMOVED} and {REMOVED}"


SECRET = "can%ry/+ü: 7d1e"


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(f"mysql://clms:{quote(SECRET, safe='')}@mysql/clms", id="an address"),
        pytest.param(f"https://school.test/{quote(SECRET)}", id="a path"),
        pytest.param(f"?password={quote_plus(SECRET)}&x=1", id="a form"),
        pytest.param(quote(SECRET, safe="").lower(), id="small letters"),
        pytest.param(quote(quote(SECRET, safe=""), safe=""), id="twice"),
        pytest.param(quote(SECRET, safe="/:+"), id="parts of it"),
    ],
)
def test_nothing_is_left_of_an_address(text: str) -> None:
    shown = without(text, {SECRET})
    assert REMOVED in shown
    assert "7d1e" not in shown


@pytest.mark.parametrize("encode", [b64encode, urlsafe_b64encode])
@pytest.mark.parametrize("before", ["", "a", "ab", "abc", "clms:"])
@pytest.mark.parametrize("behind", ["", "x", "xy", "xyz"])
@pytest.mark.parametrize("secret", ["canary", "canary-7d1e5f", SECRET, "\xff\xfe>>>???"])
def test_nothing_is_left_of_base64(encode: Callable[[bytes], bytes], before: str, behind: str, secret: str) -> None:
    encoded = encode(f"{before}{secret}{behind}".encode()).decode()
    shown = without(f"Authorization: Basic {encoded}, and more", {secret})
    assert shown.startswith("Authorization: Basic ")
    assert shown.endswith(", and more")
    rest = shown.removeprefix("Authorization: Basic ").removesuffix(", and more")
    assert len(rest.replace(REMOVED, "").strip("=")) <= -(-len(before) * 8 // 6) + -(-len(behind) * 8 // 6)
    assert rest.count(REMOVED) == 1


def test_half_a_character_is_no_obstacle() -> None:
    """JSON may hold one, and no encoding has it."""
    assert without("canary", {"\ud800-canary", "canary"}) == REMOVED
