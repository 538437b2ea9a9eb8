# SPDX-License-Identifier: GPL-3.0-or-later
"""The gate's configuration, its maintenance page, and what its statistics say."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import pytest

from ansible_collections.clms.update.plugins.module_utils import gate_config
from ansible_collections.clms.update.plugins.module_utils.gate_config import (
    definition,
    differences,
    fingerprint,
    port_name,
    reading_maps,
    render,
    servers,
    sessions,
)
from ansible_collections.clms.update.plugins.module_utils.school import Gate, GatePort, School
from ansible_collections.clms.update.plugins.module_utils.slots import Slot

FINGERPRINT = "0123abcd"


def sections(text: str) -> dict[str, list[str]]:
    """Heading -> lines, as HAProxy reads them: comments and empty lines left out."""
    found: dict[str, list[str]] = {}
    heading = ""
    for line in text.splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if line.startswith(" "):
            found[heading].append(line.strip())
        else:
            heading = line.strip()
            assert heading not in found, "HAProxy refuses two sections of one name"
            found[heading] = []
    return found


def gate_with(gate: Gate, *ports: tuple[int, str, int, str], certificate: str | None = None) -> Gate:
    return replace(gate, ports=tuple(GatePort(*port) for port in ports), certificate_file=certificate)


def test_which_server_is_behind_a_port(school: School, old: Slot) -> None:
    assert servers(school.gate, old) == {3000: "linden-frontend-r1:3000", 3306: "linden-mysql-r1:3306"}
    assert servers(school.gate, None) == {}


def test_each_port_has_a_frontend_and_its_backends(school: School, old: Slot) -> None:
    found = sections(render(school.gate, old, FINGERPRINT))
    assert [heading for heading in found if heading.split()[0] in ("frontend", "backend")] == [
        "frontend port_3000",
        "backend live_port_3000",
        "backend stream_port_3000",
        "backend held_port_3000",
        "frontend port_3306",
        "backend live_port_3306",
    ]
    assert found["frontend port_3000"][0] == "mode http"
    assert found["frontend port_3306"][0] == "mode tcp"


@pytest.mark.parametrize(
    ("mode", "certificate", "bind"),
    [
        pytest.param("http", None, "bind :443", id="http"),
        pytest.param("http", "/x.pem", "bind :443 ssl crt /gate/certificate.pem alpn h2,http/1.1", id="https"),
        pytest.param("tcp", None, "bind :443", id="tcp"),
        pytest.param("tcp", "/x.pem", "bind :443", id="tcp-never-ends-TLS"),
    ],
)
def test_tls(school: School, old: Slot, mode: str, certificate: str | None, bind: str) -> None:
    gate = gate_with(school.gate, (443, "frontend", 3000, mode), certificate=certificate)
    assert [
        line for line in sections(render(gate, old, FINGERPRINT))["frontend port_443"] if line.startswith("bind")
    ] == [bind]


def test_the_configuration_names_the_slot_and_no_other(school: School, old: Slot, new: Slot) -> None:
    found = sections(render(school.gate, new, FINGERPRINT))
    for kind in ("live", "stream"):
        assert found[f"backend {kind}_port_3000"][-1].startswith("server live linden-frontend-r2:3000 resolvers engine")
    assert found["backend live_port_3306"][-1].startswith("server live linden-mysql-r2:3306 resolvers engine")
    assert not [line for lines in found.values() for line in lines if "-r1" in line]


def test_without_a_slot_nothing_is_named(school: School) -> None:
    found = sections(render(school.gate, None, FINGERPRINT))
    assert found["backend live_port_3000"][-1].startswith("server live nothing.invalid:3000 ")


def test_without_a_word_on_its_mode_a_port_is_closed(school: School, old: Slot) -> None:
    found = sections(render(school.gate, old, FINGERPRINT))
    assert "http-request set-var(txn.mode) str(mode),map(/gate/state.map,closed)" in found["frontend port_3000"]
    assert (
        "tcp-request connection reject if { str(mode),map(/gate/state.map,closed) -m str closed blocked }"
        in found["frontend port_3306"]
    )


def test_a_closed_port_answers_before_it_asks_anybody(school: School, old: Slot) -> None:
    lines = sections(render(school.gate, old, FINGERPRINT))["frontend port_3000"]
    answers = [line for line in lines if line.startswith("http-request return")]
    for mode, name, pause in (("closed", "maintenance", 10), ("blocked", "blocked", 600)):
        here = [line for line in answers if f"{{ var(txn.mode) -m str {mode} }}" in line]
        programs, *people = here
        for line in here:
            assert "status 503 content-type" in line
            assert f"hdr Retry-After {pause} " in line
        assert f"{name}.json" in programs
        assert "{ path_beg /api/ }" in programs
        assert [re.findall(r"/gate/(\S+) if (.*)", line)[0] for line in people] == [
            (f"{name}.de.html", f"{{ var(txn.mode) -m str {mode} }} {{ var(txn.language) -m str de }}"),
            (f"{name}.html", f"{{ var(txn.mode) -m str {mode} }}"),  # for everybody else
        ]
    assert len(answers) == 6
    assert any(line.startswith("http-request set-var(txn.language) ") and "language(en;de)" in line for line in lines)
    assert lines.index(answers[-1]) < lines.index("use_backend held_port_3000 if { var(txn.mode) -m str held }")


def test_a_blocked_port_lets_through_what_is_named_as_reading(school: School, old: Slot) -> None:
    lines = sections(render(school.gate, old, FINGERPRINT))["frontend port_3000"]
    opens = "http-request set-var(txn.mode) str(open) if { var(txn.mode) -m str blocked } reading !odd"
    first = next(line for line in lines if line.startswith("http-request return"))
    assert lines.index(opens) < lines.index(first)
    assert "acl odd path -m sub .. %" in lines  # whatever is written in another way could be another path for CLMS
    assert reading_maps(["GET /api/books", "GET /assets/*", "POST /api/auth/login", "GET /api/books"]) == {
        "reading.map": ["GET:/api/books", "POST:/api/auth/login"],
        "reading-below.map": ["GET:/assets/"],
    }


@pytest.mark.parametrize(
    ("mode", "expected"), [("open", True), ("blocked", True), ("closed", False), ("held", False), ("", False)]
)
def test_whether_users_reach_the_slot(mode: str, expected: bool) -> None:
    assert gate_config.is_open(gate_config.state(mode)) is expected


def test_streams_go_through_a_backend_of_their_own(school: School, old: Slot) -> None:
    lines = sections(render(school.gate, old, FINGERPRINT))["frontend port_3000"]
    # a closed gate answers them and one that holds lets them wait, like all others
    assert lines[-3:] == [
        "use_backend held_port_3000 if { var(txn.mode) -m str held }",
        # `Upgrade: h2c` of an ordinary request is no stream
        "use_backend stream_port_3000 if { req.hdr(Upgrade) -i websocket }"
        " or { req.hdr(Accept) -m sub text/event-stream }",
        "default_backend live_port_3000",
    ]


def test_held_requests_wait_where_nobody_listens(school: School, old: Slot) -> None:
    lines = sections(render(school.gate, old, FINGERPRINT))["backend held_port_3000"]
    assert lines[-1] == "server live 127.0.0.1:1"
    assert "option redispatch 1" in lines
    assert "retries 200" in lines  # at half a second each


HEAD = "# pxname,svname,qcur,qmax,scur,smax,slim,stot,\n"


@pytest.mark.parametrize(
    ("rows", "count"),
    [
        pytest.param("", 0, id="nothing"),
        pytest.param("live_port_80,BACKEND,0,0,3,9,,12,\n", 3, id="three"),
        pytest.param("live_port_80,BACKEND,0,0,,9,,12,\n", 0, id="no-number"),
        pytest.param("live_port_80,live,0,0,3,9,,12,\nlive_port_80,BACKEND,0,0,3,9,,12,\n", 3, id="servers-left-out"),
        pytest.param("port_80,FRONTEND,0,0,7,9,,12,\nport_80,BACKEND,0,0,7,9,,12,\n", 0, id="frontends-left-out"),
        pytest.param("held_port_80,BACKEND,0,0,7,9,,12,\n", 0, id="held-requests-are-not-in-progress"),
        pytest.param("stream_port_80,BACKEND,0,0,7,9,,12,\n", 0, id="nobody-waits-for-streams"),
        pytest.param("live_port_8080,BACKEND,0,0,7,9,,12,\n", 0, id="another-port-that-begins-alike"),
    ],
)
def test_requests_in_progress(rows: str, count: int) -> None:
    assert sessions(HEAD + rows, backend="live_port_80") == count


def test_the_name_of_a_port() -> None:
    assert port_name(3000) == "port_3000"


# what a gate that runs can take up, and what needs another one


FILES = {"maintenance.html": b"page", "maintenance.json": b"{}"}


def test_the_configuration_says_what_it_stands_for(school: School, old: Slot) -> None:
    found = render(school.gate, old, FINGERPRINT)
    assert f"description {FINGERPRINT}" in sections(found)["global"]
    assert render(school.gate, old, "other") == found.replace(FINGERPRINT, "other")
    assert found.count(FINGERPRINT) == 1


@pytest.mark.parametrize(
    "files",
    [
        pytest.param({**FILES, "maintenance.html": b"page of another school"}, id="title"),
        pytest.param({**FILES, "certificate.pem": b"x"}, id="a file more"),
        pytest.param({"maintenance.html": b"page"}, id="a file fewer"),
        pytest.param({"maintenance.html": b"{}", "maintenance.json": b"page"}, id="exchanged"),
        pytest.param({"maintenance.htm": b"page", "maintenance.json": b"{}"}, id="name"),
        pytest.param({"maintenance.html": b"page\0", "maintenance.json": b"{}"}, id="one byte more"),
    ],
)
def test_a_fingerprint_stands_for_the_files(school: School, files: dict[str, bytes]) -> None:
    assert fingerprint(school.gate, files) != fingerprint(school.gate, FILES)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"certificate_file": "/x.pem"}, id="with a certificate"),
        pytest.param({"ports": (GatePort(3000, "frontend", 3000, "http"),)}, id="a port fewer"),
        pytest.param(
            {"ports": (GatePort(3000, "frontend", 3000, "http"), GatePort(3307, "mysql", 3306, "tcp"))},
            id="another port",
        ),
        pytest.param(
            {"ports": (GatePort(3000, "frontend", 3000, "http"), GatePort(3306, "mysql", 3306, "http"))},
            id="another mode",
        ),
    ],
)
def test_a_fingerprint_stands_for_the_description(school: School, changes: dict[str, Any]) -> None:
    assert fingerprint(replace(school.gate, **changes), FILES) != fingerprint(school.gate, FILES)


def test_a_fingerprint_stands_for_the_template(school: School, monkeypatch: pytest.MonkeyPatch) -> None:
    before = fingerprint(school.gate, FILES)
    monkeypatch.setattr(gate_config, "_HEAD", gate_config._HEAD.replace("timeout client 75s", "timeout client 60s"))
    assert fingerprint(school.gate, FILES) != before


def test_a_fingerprint_is_the_same_in_another_order_and_fits_into_one_word(school: School) -> None:
    found = fingerprint(school.gate, FILES)
    assert fingerprint(school.gate, dict(reversed(FILES.items()))) == found
    assert found.isalnum()


def test_a_definition_does_not_depend_on_the_order_of_ports(school: School) -> None:
    turned = replace(school.gate, ports=school.gate.ports[::-1])
    assert definition(turned) == definition(school.gate)
    assert definition(turned) == {"image": "clms-gate:1", "address": "0.0.0.0", "ports": "3000, 3306"}  # noqa: S104


SAME = {"image": "clms-gate:1", "address": "0.0.0.0", "ports": "3000, 3306"}  # noqa: S104


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        pytest.param(json.dumps(SAME), [], id="the same"),
        pytest.param(json.dumps({**SAME, "of a newer version": "x"}), [], id="more than we know"),
        pytest.param(json.dumps({**SAME, "ports": "3000"}), [("ports", "3000", "3000, 3306")], id="ports"),
        pytest.param(
            json.dumps({**SAME, "image": "clms-gate:0", "address": "192.0.2.7"}),
            [("image", "clms-gate:0", "clms-gate:1"), ("address", "192.0.2.7", "0.0.0.0")],  # noqa: S104
            id="several",
        ),
        pytest.param(
            json.dumps({name: value for name, value in SAME.items() if name != "address"}),
            [("address", "unknown", "0.0.0.0")],  # noqa: S104
            id="less than we know",
        ),
        *(
            pytest.param(label, [(name, "unknown", value) for name, value in SAME.items()], id=why)
            for label, why in (
                (None, "none"),
                ("", "empty"),
                ("{", "broken"),
                ("{}", "nothing in it"),
                ("[]", "a list"),
                ('["image", "address", "ports"]', "a list of names"),
                ('"image"', "a text"),
                ("5", "a number"),
                ("null", "null"),
                ("true", "a truth"),
            )
        ),
    ],
)
def test_differences(school: School, label: str | None, expected: list[tuple[str, str, str]]) -> None:
    assert differences(label, school.gate) == expected
