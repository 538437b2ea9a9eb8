# SPDX-License-Identifier: GPL-3.0-or-later
"""What containers look like, and that a rehearsal's never get the address of the live database."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.clms.update.plugins.module_utils.containers import (
    labels,
    parse_env_file,
    redirected,
    rewrite_url_host,
    service_spec,
)
from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from ansible_collections.clms.update.plugins.module_utils.school import School
from ansible_collections.clms.update.plugins.module_utils.slots import Slot

# environment files


@pytest.mark.parametrize(
    ("text", "variables"),
    [
        pytest.param("", {}, id="empty"),
        pytest.param("A=1\nB=2\n", {"A": "1", "B": "2"}, id="two"),
        pytest.param("A=1", {"A": "1"}, id="no-line-end"),
        pytest.param("A=1\r\nB=2\r\n", {"A": "1", "B": "2"}, id="windows-line-ends"),
        pytest.param("\ufeffA=1\n", {"A": "1"}, id="windows-byte-order-mark"),
        pytest.param("# a comment\n\n   \n  # another\nA=1\n", {"A": "1"}, id="comments-and-empty-lines"),
        pytest.param("A=x=y==\n", {"A": "x=y=="}, id="equals-signs-in-the-value"),
        pytest.param("A=\n", {"A": ""}, id="empty-value"),
        pytest.param("A=\"quoted\"\nB='q'\n", {"A": '"quoted"', "B": "'q'"}, id="quotes-belong-to-the-value"),
        pytest.param("A= x \n", {"A": " x "}, id="spaces-belong-to-the-value"),
        pytest.param("A=x # y\n", {"A": "x # y"}, id="no-comment-behind-a-value"),
        pytest.param("  A=1\n", {"A": "1"}, id="indented"),
        pytest.param("A=1\nA=2\n", {"A": "2"}, id="the-last-one-counts"),
        pytest.param("A=one\x0ctwo\x85three\u2028four\n", {"A": "one\x0ctwo\x85three\u2028four"}, id="odd-separators"),
        pytest.param("A=$B ${B}\n", {"A": "$B ${B}"}, id="nothing-is-expanded"),
    ],
)
def test_env_file(text: str, variables: dict[str, str]) -> None:
    assert parse_env_file(text, "/x.env") == variables


@pytest.mark.parametrize(
    ("text", "line"),
    [
        pytest.param("canary\n", 1, id="no-equals-sign"),
        pytest.param("A=1\n\n=canary\n", 3, id="no-name"),
        pytest.param("  =canary\n", 1, id="blank-name"),
        pytest.param("export A=canary\n", 1, id="a-shell-script"),
    ],
)
def test_an_env_file_that_is_none(text: str, line: int) -> None:
    with pytest.raises(ClmsError, match=f"/x.env cannot be used: line {line} is not") as caught:
        parse_env_file(text, "/x.env")
    assert caught.value.code == "SECRET_FILE"
    assert "canary" not in str(caught.value)


names = st.from_regex(r"[A-Za-z_][A-Za-z0-9_.-]{0,20}", fullmatch=True)
values = st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]))


@given(st.dictionaries(names, values))
def test_an_env_file_gives_back_what_was_written(variables: dict[str, str]) -> None:
    assert parse_env_file("".join(f"{name}={value}\n" for name, value in variables.items()), "/x.env") == variables


# addresses


@pytest.mark.parametrize(
    ("url", "rewritten"),
    [
        pytest.param("mysql://mysql/clms", "mysql://NEW/clms", id="plain"),
        pytest.param("mysql://mysql:3306/clms", "mysql://NEW:3306/clms", id="port"),
        pytest.param("mysql://u:p@mysql:3306/clms?a=b#c", "mysql://u:p@NEW:3306/clms?a=b#c", id="everything"),
        pytest.param("mysql://u:p%40%3A@mysql/clms", "mysql://u:p%40%3A@NEW/clms", id="encoded-password"),
        pytest.param("mysql://u:p@ss@mysql/clms", "mysql://u:p@ss@NEW/clms", id="at-sign-in-the-password"),
        pytest.param("mysql://u@mysql", "mysql://u@NEW", id="no-path"),
        pytest.param("mysql://[2001:db8::1]:3306/clms", "mysql://NEW:3306/clms", id="IPv6"),
        pytest.param("mysql://u:p@[::1]/clms", "mysql://u:p@NEW/clms", id="IPv6-without-port"),
        pytest.param(
            "mysql://mysql/clms?next=http://mysql/", "mysql://NEW/clms?next=http://mysql/", id="only-the-first"
        ),
        pytest.param("mysql://mysql/clms?", "mysql://NEW/clms?", id="empty-query"),
        pytest.param("MySQL://mysql/Clms", "MySQL://NEW/Clms", id="upper-case"),
        pytest.param("mysql://u:p[x@mysql/clms", "mysql://u:p[x@NEW/clms", id="bracket-in-the-password"),
    ],
)
def test_another_host(url: str, rewritten: str) -> None:
    assert rewrite_url_host(url, "NEW") == rewritten


hosts = st.from_regex(r"[a-z][a-z0-9.-]{0,20}[a-z0-9]", fullmatch=True) | st.sampled_from(["[::1]", "[2001:db8::7]"])
texts = st.text(st.sampled_from("abcXYZ019-._~%!$&'()*+,;=:@ßé"), max_size=12)


@given(
    scheme=st.sampled_from(["mysql", "mariadb+pymysql", "redis", "rediss"]),
    account=st.none() | texts,
    host=hosts,
    port=st.none() | st.integers(1, 65_535),
    rest=st.from_regex(r"(/[a-zA-Z0-9_/?#&=@:.\[\]-]*)?", fullmatch=True),
    new=st.from_regex(r"[a-z][a-z0-9-]{0,20}", fullmatch=True),
)
def test_everything_but_the_host_is_kept(
    scheme: str, account: str | None, host: str, port: int | None, rest: str, new: str
) -> None:
    before = f"{scheme}://" + (f"{account}@" if account is not None else "")
    behind = (f":{port}" if port else "") + rest
    assert rewrite_url_host(f"{before}{host}{behind}", new) == f"{before}{new}{behind}"


ENVIRONMENT = {
    "DATABASE_URL": "mysql://clms:p@ss@mysql:3306/clms?pool=5",
    "REDIS_URL": "redis://:secret@redis:6379/0",
    "SESSIONS": "redis://REDIS/1",
    "MAIL": "smtp://mail.test:25",
    "PUBLIC": "https://redis.school.test/",
    "HOST": "redis",
    "ORIGINS": "https://[a-z]+.school.test",
    "TEXT": "see redis://redis",
    "EMPTY": "",
}


def test_a_rehearsal_gets_other_addresses(school: School) -> None:
    changed = redirected(school, ENVIRONMENT, database_host="copy-db", cache_hosts={"redis": "copy-cache"})
    assert {name: value for name, value in changed.items() if value != ENVIRONMENT[name]} == {
        "DATABASE_URL": "mysql://clms:p@ss@copy-db:3306/clms?pool=5",
        "REDIS_URL": "redis://:secret@copy-cache:6379/0",
        "SESSIONS": "redis://copy-cache/1",
    }
    assert list(changed) == list(ENVIRONMENT)


def test_the_database_is_redirected_whatever_it_is_called_in_the_address(school: School) -> None:
    for host in ("mysql", "MYSQL", "192.0.2.7", "linden-mysql-r1", "[::1]"):
        environment = {"DATABASE_URL": f"mysql://u:p@{host}/clms"}
        changed = redirected(school, environment, database_host="copy", cache_hosts={})
        assert urlsplit(changed["DATABASE_URL"]).hostname == "copy"
        assert environment == {"DATABASE_URL": f"mysql://u:p@{host}/clms"}


# containers


def test_the_container_of_a_service(school: School, new: Slot) -> None:
    spec = service_spec(school, new, school.service("backend"), {"DATABASE_URL": "mysql://u:canary@mysql/clms"})
    assert (spec.name, spec.image) == ("linden-backend-r2", new.services["backend"].image)
    assert (spec.network, spec.aliases) == ("linden-r2", ("backend",))
    assert spec.binds == (
        "linden-uploads-r2:/app/uploads:rw",
        "linden-logs-r1:/app/logs:rw",
        "/etc/clms/ca.crt:/app/ca.crt:ro",
    )
    assert spec.labels == labels(school, run=2, slot="r2", service="backend", purpose="service")
    assert spec.labels["clms.project"] == "linden"
    assert (spec.stop_grace, spec.command) == (30, None)
    assert "canary" not in repr(spec)


def test_the_environment_file_goes_before_the_description(school: School, new: Slot) -> None:
    service = school.service("backend")
    service.environment.update({"PORT": "1", "LEVEL": "info"})
    spec = service_spec(school, new, service, {"PORT": "2"})
    assert spec.environment == {"PORT": "2", "LEVEL": "info"}


def test_one_more_bind(school: School, new: Slot) -> None:
    spec = service_spec(school, new, school.service("mysql"), {})
    more = spec.with_bind("/x:/y:ro")
    assert more.binds == ("linden-mysql-data-r2:/var/lib/mysql:rw", "/x:/y:ro")
    assert len(spec.binds) == 1
