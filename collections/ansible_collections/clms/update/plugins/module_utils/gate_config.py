# SPDX-License-Identifier: GPL-3.0-or-later
"""The configuration of the gate: an HAProxy that owns every published port of CLMS (architecture.md, decision 8).

The gate is in one of four modes. ``open``: requests go to the slot that the configuration names. ``held``:
requests wait (for short switches). ``closed``: the maintenance page. ``blocked``: a forced update is overdue, and only
what its release names as reading goes to the slot. On disk the mode is never ``held``, and the configuration names the
committed slot, so a gate that is restarted at any moment cannot serve the wrong one.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
from collections.abc import Sequence

from .maintenance import name_of
from .maintenance_texts import LANGUAGES, ORIGINAL
from .school import Gate
from .slots import Slot

MODE_KEY, PHASE_KEY, PERCENT_KEY = "mode", "phase", "percent"
"""What the gate can be told while it runs: its mode, and how far an update has come."""
READING, READING_BELOW = "reading.map", "reading-below.map"
"""Files with what may be read while the gate is blocked: exactly this route, and all that begins like it."""
DEFINITION = "clms.definition"
"""The label of the gate's container that says what it was made of."""
PARKED = "127.0.0.1 port 1"
"""Where held requests are pointed at: nothing listens there, so each tries again every half second."""

_NOTHING = "nothing.invalid"
_SERVER = re.compile(r"(?m)^\s*server live (\S+):\d+ resolvers")

_HEAD = """\
# Written by CLMS Update; changes are overwritten.
global
    log stdout format raw local0 notice
    stats socket /gate/run/admin.sock mode 600 level admin
    maxconn 4000
    # what the running process has read: `show info` gives it back
    description {fingerprint}

defaults
    log global
    timeout connect 500ms
    timeout client 75s
    timeout server 75s
    timeout http-request 30s
    timeout tunnel 1h

resolvers engine
    nameserver dns 127.0.0.11:53
    # a name that does not resolve for a while (its container restarts) must not lose its server's address
    hold nx 24h
    hold other 24h
    hold refused 24h
    hold timeout 24h
    hold obsolete 24h
    hold valid 2s
    resolve_retries 2
    timeout resolve 500ms
    timeout retry 500ms
"""

_HTTP = """
frontend {name}
    mode http
    bind :{listen}{tls}
    option forwardfor
    http-request set-var(txn.mode) str(mode),map(/gate/state.map,closed)
    http-request set-var(txn.path) path
    http-request set-var(txn.route) method,concat(:,txn.path)
    acl reading var(txn.route),map_str(/gate/reading.map,no) -m str yes
    acl reading var(txn.route),map_beg(/gate/reading-below.map,no) -m str yes
    acl odd path -m sub .. %
    http-request set-var(txn.mode) str(open) if {{ var(txn.mode) -m str blocked }} reading !odd
    # de-AT is de, for us
    http-request set-var(txn.language) req.fhdr(accept-language),lower,regsub(-[a-z0-9]+,,g),language({languages})
    http-request return status 503 content-type application/json hdr Retry-After 10 hdr Cache-Control no-store \
lf-file /gate/maintenance.json if {{ var(txn.mode) -m str closed }} {{ path_beg /api/ }}
    http-request return status 503 content-type application/json hdr Retry-After 600 hdr Cache-Control no-store \
file /gate/blocked.json if {{ var(txn.mode) -m str blocked }} {{ path_beg /api/ }}
{pages}\
    use_backend held_{name} if {{ var(txn.mode) -m str held }}
    # these stay open for hours, so nobody waits for their end
    use_backend stream_{name} if {{ req.hdr(Upgrade) -i websocket }} or {{ req.hdr(Accept) -m sub text/event-stream }}
    default_backend live_{name}

backend live_{name}
    mode http
    retries 4
    option redispatch 1
    retry-on conn-failure
    server live {server} resolvers engine resolve-prefer ipv4 init-addr last,libc,127.0.0.1

backend stream_{name}
    mode http
    server live {server} resolvers engine resolve-prefer ipv4 init-addr last,libc,127.0.0.1

backend held_{name}
    mode http
    retries 200
    option redispatch 1
    retry-on conn-failure
    server live 127.0.0.1:1
"""

_PAGES = """\
    http-request return status 503 content-type "text/html; charset=utf-8" hdr Retry-After 10 \
hdr Cache-Control no-store lf-file /gate/{closed} if {{ var(txn.mode) -m str closed }}{asked}
    http-request return status 503 content-type "text/html; charset=utf-8" hdr Retry-After 600 \
hdr Cache-Control no-store file /gate/{blocked} if {{ var(txn.mode) -m str blocked }}{asked}
"""

_TCP = """
frontend {name}
    mode tcp
    bind :{listen}{tls}
    tcp-request connection reject if {{ str(mode),map(/gate/state.map,closed) -m str closed blocked }}
    default_backend live_{name}

backend live_{name}
    mode tcp
    server live {server} resolvers engine resolve-prefer ipv4 init-addr last,libc,127.0.0.1
"""


def port_name(listen: int) -> str:
    """The name of the frontend for a port."""
    return f"port_{listen}"


def servers(gate: Gate, slot: Slot | None) -> dict[int, str]:
    """Port of the gate -> ``container:port`` that serves it; empty when no slot is named."""
    if slot is None:
        return {}
    return {port.listen: f"{slot.services[port.service].container}:{port.port}" for port in gate.ports}


def render(gate: Gate, slot: Slot | None, fingerprint: str) -> str:
    """The text of ``haproxy.cfg`` that names ``slot``.

    :param fingerprint: of :func:`fingerprint`
    """
    named = servers(gate, slot)
    parts = [_HEAD.format(fingerprint=fingerprint)]
    for port in gate.ports:
        tls = " ssl crt /gate/certificate.pem alpn h2,http/1.1" if gate.certificate_file and port.mode == "http" else ""
        # without a slot the name resolves to nothing and the mode is closed anyway
        server = named.get(port.listen, f"{_NOTHING}:{port.port}")
        template = _HTTP if port.mode == "http" else _TCP
        facts = {"name": port_name(port.listen), "listen": port.listen, "tls": tls, "server": server}
        parts.append(template.format(**facts, languages=";".join(LANGUAGES), pages=_pages()))
    return "".join(parts)


def _pages() -> str:
    """Answers for people; the last ones are for whoever asks for no language that is there."""
    parts = []
    for language in sorted(LANGUAGES, key=lambda language: language == ORIGINAL):
        parts.append(
            _PAGES.format(
                closed=name_of("maintenance.html", language),
                blocked=name_of("blocked.html", language),
                asked="" if language == ORIGINAL else f" {{ var(txn.language) -m str {language} }}",
            )
        )
    return "".join(parts)


def fingerprint(gate: Gate, files: dict[str, bytes]) -> str:
    """Stands for everything that a running gate cannot be told over its socket: all but the names of the containers.

    :param files: name -> content of the files beside the configuration
    """
    digest = hashlib.sha256(render(gate, None, "").encode())
    for name, content in sorted(files.items()):
        digest.update(name.encode() + b"\0" + hashlib.sha256(content).digest())
    return digest.hexdigest()


def definition(gate: Gate) -> dict[str, str]:
    """What a gate's container is made of; a change of it needs a new container."""
    return {
        "image": gate.image,
        "address": gate.address,
        "ports": ", ".join(str(port) for port in sorted(port.listen for port in gate.ports)),
    }


def differences(current: str | None, gate: Gate) -> list[tuple[str, str, str]]:
    """Name, current and desired value of everything in which an existing container differs from :func:`definition`.

    :param current: the label :data:`DEFINITION` of the container; None where it has none
    """
    try:
        decoded = json.loads(current or "{}")
    except ValueError:
        decoded = None
    found: dict[str, str] = decoded if isinstance(decoded, dict) else {}
    desired = definition(gate)
    return [(name, found.get(name, "unknown"), value) for name, value in desired.items() if found.get(name) != value]


def named_containers(config: str) -> frozenset[str]:
    """The containers that a configuration of :func:`render` sends requests to; empty where it names no slot."""
    return frozenset(name for name in _SERVER.findall(config) if name != _NOTHING)


def state(mode: str) -> str:
    """The file with the mode; how far an update has come is only told to the running process."""
    return f"{MODE_KEY} {mode}\n{PHASE_KEY} -\n{PERCENT_KEY} 0\n"


def is_open(state: str) -> bool:
    """Whether the file with the mode says that users reach the slot; of a blocked gate they do, for reading."""
    return mode_of(state) in ("open", "blocked")


def mode_of(state: str) -> str:
    """The mode in the file with the mode; ``closed`` where it says none."""
    for line in state.splitlines():
        key, _, value = line.partition(" ")
        if key == MODE_KEY:
            return value
    return "closed"


def reading_maps(routes: Sequence[str]) -> dict[str, list[str]]:
    """Name of a file -> the routes in it.

    :param routes: what a release names as reading: ``GET /api/books``, ``GET /assets/*``
    """
    found: dict[str, list[str]] = {READING: [], READING_BELOW: []}
    for route in dict.fromkeys(routes):
        method, path = route.split(" ", 1)
        found[READING_BELOW if path.endswith("*") else READING].append(f"{method}:{path.removesuffix('*')}")
    return found


def sessions(statistics: str, *, backend: str) -> int:
    """Requests in progress on one backend.

    :param statistics: the answer to ``show stat`` (CSV; HAProxy management guide 9.1)
    """
    rows = csv.DictReader(io.StringIO(statistics.lstrip("# ")))
    return sum(int(row["scur"] or 0) for row in rows if (row.get("pxname"), row.get("svname")) == (backend, "BACKEND"))
