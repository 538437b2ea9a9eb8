# SPDX-License-Identifier: GPL-3.0-or-later
"""Between a school and its vendor: too much data, too slow data, other hosts, other certificates."""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from ansible_collections.clms.update.plugins.module_utils.https import pin_of

from .bench import Bench
from .cases import HELD, REFUSED, Case, Result
from .impostor import certificate_of, impostor

NOT_BELIEVED = "SERVER_REFUSED"
NEXT = "NEXT"
"""stands for the release after the one that runs"""
LONGEST = 90
"""seconds that a school may be held up by one command"""


def own(bench: Bench) -> tuple[Path, Path]:
    """The certificate and the key of the vendor's server."""
    return bench.tls / "server.crt", bench.tls / "server.key"


def in_a_mood(mood: str, at: str, code: str, says: str, command: tuple[str, ...], bench: Bench, _: Result) -> str:
    """The vendor's server itself, with its own certificate, is in a mood."""
    command = tuple(bench.next_version() if part == NEXT else part for part in command)
    bench.forget_news()  # or it would not be asked for
    bench.forget_files()
    with impostor(bench.address, bench.served, own(bench), mood=mood, at=at) as server, bench.trusting(url=server.url):
        began = time.monotonic()
        bench.refused(code, *command, says=says, moves="signed" if command != ("check",) else "online")
        assert time.monotonic() - began < LONGEST
        assert any(at in path for path in server.asked), server.asked
    return REFUSED


def redirected(to: str, bench: Bench, _: Result) -> str:
    """The server leads to another address, where the very same files are."""
    with impostor(bench.address, bench.served, own(bench)) as other:
        target = other.url if to == "https" else f"http://{bench.address}:9"
        for at in ("timestamp.json", "root.json"):
            with (
                impostor(bench.address, bench.served, own(bench), mood="redirect", at=at, to=target) as server,
                bench.trusting(url=server.url),
            ):
                bench.refused(NOT_BELIEVED, "check", says="redirects")
        assert other.asked == [], "the school went there"
    return REFUSED


def plain_http(bench: Bench, _: Result) -> str:
    """The address of the release server is one without TLS."""
    with bench.trusting(url=bench.url.replace("https:", "http:")):
        bench.refused(("SERVER_ADDRESS", "SCHOOL_INCOMPLETE"), "check")
    return REFUSED


def other_certificate(authority: bool, bench: Bench, _: Result) -> str:
    """A valid certificate for the right address, by somebody else."""
    certificate = certificate_of(bench.folder / "other", bench.address, authority=authority)
    with impostor(bench.address, bench.served, certificate) as server, bench.trusting(url=server.url):
        bench.refused(NOT_BELIEVED, "check", says="certificate is not trusted")
        if authority:
            bench.refused(NOT_BELIEVED, "update", says="certificate is not trusted")
        assert server.asked == [], "something was asked of it"
    return REFUSED


def pin(certificate: Path) -> str:
    """The pin of a certificate in PEM form."""
    return pin_of(ssl.PEM_cert_to_DER_cert(certificate.read_text()))


def pins_work(bench: Bench, _: Result) -> str:
    """Two pins in place of an authority; then the server comes with the key of the second one."""
    backup = certificate_of(bench.folder / "backup", bench.address, authority=False)
    pins = [pin(own(bench)[0]), pin(backup[0])]
    with bench.trusting(ca_file=None, pins=pins):
        bench.check_works()
    with impostor(bench.address, bench.served, backup) as server:
        with bench.trusting(ca_file=None, pins=pins, url=server.url):
            bench.check_works()
        with bench.trusting(ca_file=None, pins=None, url=server.url):
            bench.refused(NOT_BELIEVED, "check")  # without pins nobody vouches for it
    return HELD


def wrong_pins(keep_authority: bool, bench: Bench, _: Result) -> str:
    """The server's key is none of the two that the school knows."""
    pins = [
        pin(certificate_of(bench.folder / f"strange{number}", bench.address, authority=False)[0]) for number in (1, 2)
    ]
    changes = {"pins": pins} if keep_authority else {"pins": pins, "ca_file": None}
    with bench.trusting(**changes):
        bench.refused(NOT_BELIEVED, "check", says="key is none of those")
    return REFUSED


def one_pin(bench: Bench, _: Result) -> str:
    """One pin alone would lock the school out on the day on which that key is lost."""
    with bench.trusting(ca_file=None, pins=[pin(own(bench)[0])]):
        bench.refused("SCHOOL_INCOMPLETE", "check", says="second key")
    return REFUSED


def cases() -> Iterator[Case]:
    """All of them."""
    update = ("update", "--version", NEXT)
    for name, injected, mood, at, code, says, command, slow in (
        ("+10 MB of targets.json", "10 MB follow on the list of releases.", "longer", "targets.json",
         "TRUST_REFUSED", "", ("check",), False),
        ("+10 MB of timestamp.json", "10 MB follow on the timestamp.", "longer", "timestamp.json",
         "TRUST_REFUSED", "", ("check",), True),
        ("endless snapshot", "A snapshot that never ends.", "endless", "snapshot.json",
         "TRUST_REFUSED", "", ("check",), False),
        ("a byte a second", "timestamp.json comes in with one byte each second.", "drip", "timestamp.json",
         NOT_BELIEVED, "too slowly", ("check",), True),
        ("a byte a second, update", "The list of releases comes in with one byte each second.", "drip",
         "targets.json", NOT_BELIEVED, "too slowly", ("update",), True),
        ("headers drip", "The headers come in with one byte each second.", "drip headers", "timestamp.json",
         NOT_BELIEVED, "too slowly", ("check",), True),
        ("endless package", "A package that never ends.", "endless", "packages/",
         "PACKAGE_CORRUPT", "", update, True),
    ):  # fmt: skip
        yield Case(f"endless or slow: {name}", injected, partial(in_a_mood, mood, at, code, says, command), slow=slow)
    for to in ("https", "http"):
        yield Case(
            f"redirect: to another host ({to})", redirected.__doc__ or "", partial(redirected, to), slow=to == "http"
        )
    yield Case("redirect: no TLS at all", plain_http.__doc__ or "", plain_http)
    for name, authority in (("another authority", True), ("signed by itself", False)):
        yield Case(
            f"TLS: {name}", other_certificate.__doc__ or "", partial(other_certificate, authority), slow=authority
        )
    yield Case("TLS: pins, and the backup pin", pins_work.__doc__ or "", pins_work)
    yield Case("TLS: wrong pins", wrong_pins.__doc__ or "", partial(wrong_pins, False))
    beside = partial(wrong_pins, True)
    yield Case("TLS: wrong pins beside the right authority", wrong_pins.__doc__ or "", beside, slow=True)
    yield Case("TLS: a single pin", one_pin.__doc__ or "", one_pin)
