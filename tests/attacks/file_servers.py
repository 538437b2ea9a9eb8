# SPDX-License-Identifier: GPL-3.0-or-later
"""A file server of the school's own network that lies: in its list of files, in their length, in what it sends.

Whatever it does, news come from the vendor as always, people are told once, and nothing stays on the disk.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from tests.e2e.observe import wait_for

from .bench import CHAIN, Bench
from .bundles import copy_of
from .cases import HELD, REFUSED, Case, Result
from .desk import flip
from .liar import FOLDER, Answer, Liar, drip, endless, head, liar, page, silence, whole
from .special import VERSION
from .transport import LONGEST

MOST_SENT = 30_000_000
"""bytes that a school may take of what never ends: some megabytes are in the buffers of two sockets"""
MOST_MEMORY = 300_000_000
"""bytes that a check may take; without a file server it takes about 100 MB"""
MOST_FILES = 50
FILE = f"{FOLDER}a.zip"
_CHUNKED = "Transfer-Encoding: chunked"
_PIECE = b"fff0\r\n" + b"x" * 0xFFF0 + b"\r\n"
_SERVER, _REFUSED, _SPACE = "The file server at https://", "The file https://", "There is not enough free space: "
"""how the words for FILE_SERVER, BUNDLE_REFUSED and DISK_TOO_SMALL begin"""
Told = list[tuple[str, str]]
Answers = Callable[[Bench], Mapping[str, Answer]]


def look(bench: Bench, *servers: Liar) -> Told:
    """The school asks for news while it knows these servers: that works, and takes neither long nor much memory.

    :returns: kind and text of what the journal says of files since, oldest first
    """
    newest = _events(bench)[-1][0]
    described = {
        "clms_bundle_servers": [server.url for server in servers],
        "clms_bundle_ca_file": str(servers[0].certificate),
    }
    with bench.school.described(**described):
        process = bench.stand.start("clms-update", "--config", bench.school.folder / "etc", "check", "--json")
        memory = [0]

        def ended() -> bool:
            found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{process.pid}/status").read_text())
            memory.append(1024 * int(found.group(1)) if found else 0)
            return process.poll() is not None

        wait_for(ended, seconds=LONGEST, what="the end of the check")
        assert process.stdout is not None
        said = process.stdout.read()
    assert process.returncode == 0, said
    assert "Traceback" not in said, said
    assert json.loads(said)["latestVersion"] == CHAIN[-1], said
    assert 0 < max(memory) < MOST_MEMORY, f"it took {max(memory)} bytes of memory"
    assert left(bench) == []
    return [event[1:] for event in _events(bench) if event[0] > newest and event[1].startswith("FILE_")]


def _events(bench: Bench) -> list[tuple[int, str, str]]:
    """Number, kind and text, oldest first."""
    with bench.school.journal() as journal:
        found = journal.events(limit=10_000)
    return [(event["id"], event["type"], event["message"]) for event in reversed(found)]


def taken(bench: Bench) -> list[str]:
    """The bundles that were taken in."""
    return sorted(path.name for path in (bench.school.home / "bundles").glob("*.zip"))


def left(bench: Bench) -> list[str]:
    """What lies where files are fetched to."""
    return [path.name for path in (bench.school.home / "bundles").rglob("*") if path.parent.name != "bundles"]


def lies(answers: Answers, begins: tuple[str, ...], says: str, bench: Bench, _: Result, *, again: bool = False) -> str:
    """Such a server; nothing of it is taken in.

    :param begins: how each of the refusals in the journal begins, in the order of the files
    :param says: what has to be read in each of them
    :param again: whether it is asked once more, and people are told nothing new
    """
    with liar(bench.folder, answers(bench)) as server:
        with bench.unchanged(moves="signed"):
            told = look(bench, server)
        assert [kind for kind, _ in told] == ["FILE_REFUSED"] * len(begins), told
        for (_, text), begin in zip(told, begins, strict=True):
            assert (text.startswith(begin), says in text) == (True, True), f"{begin!r} and {says!r} are not in {text!r}"
            assert text.isprintable(), text
        assert taken(bench) == []
        assert server.sent < MOST_SENT, f"it got rid of {server.sent} bytes"
        assert server.asked, "it was not asked"
        if again:
            assert look(bench, server) == [], "it was told twice"
    return REFUSED


def _one(answer: Answer) -> Answers:
    """A page with a file, and that file."""
    return lambda _: {FOLDER: page("a.zip"), FILE: answer}


def _listed(answer: Answer) -> Answers:
    """A page."""
    return lambda _: {FOLDER: answer}


def good(bench: Bench) -> bytes:
    """A bundle as the vendor has made it."""
    return bench.special.bundle.read_bytes()


def tampered(bench: Bench) -> bytes:
    """The same with a bit turned over."""
    path = copy_of(bench)
    flip(path)
    return path.read_bytes()


def _told_of_both(told: Told, refused: str = _REFUSED) -> None:
    assert sorted(kind for kind, _ in told) == ["FILE_IMPORTED", "FILE_REFUSED"], told
    assert any(text.startswith(refused) for _, text in told), told


def beside(bench: Bench, _: Result) -> str:
    """A tampered bundle, and a good one beside it: that one is taken in."""
    answers = {FOLDER: page("a.zip", "b.zip"), FILE: whole(tampered(bench)), f"{FOLDER}b.zip": whole(good(bench))}
    with liar(bench.folder, answers) as server:
        _told_of_both(look(bench, server))
        assert look(bench, server) == [], "it was told twice"
    (name,) = taken(bench)
    assert (bench.school.home / "bundles" / name).read_bytes() == good(bench)
    assert bench.school.clms_update("list", "--json").json()["releases"][-1]["version"] == VERSION
    return HELD


def another_later(bench: Bench, _: Result) -> str:
    """A good bundle at first, and at the second request another file under its name; what was taken in stays."""
    answers = {FOLDER: page("a.zip"), FILE: whole(good(bench), 'ETag: "1"')}
    with liar(bench.folder, answers) as server:
        assert [kind for kind, _ in look(bench, server)] == ["FILE_IMPORTED"]
        before = taken(bench)
        for mark, content in (("2", tampered(bench)), ("3", b"PK something else")):
            server.answers[FILE] = whole(content, f'ETag: "{mark}"')
            with bench.unchanged(moves="signed"):
                ((kind, text),) = look(bench, server)
            assert (kind, text.startswith(_REFUSED)) == ("FILE_REFUSED", True), text
    assert taken(bench) == before
    assert (bench.school.home / "bundles" / before[0]).read_bytes() == good(bench)
    return REFUSED


def longer(bench: Bench, _: Result) -> str:
    """A gigabyte follows on a good bundle; no more of it is read than the server has said."""
    content = good(bench)
    answers = {FOLDER: page("a.zip"), FILE: endless(head(f"Content-Length: {len(content)}") + content, bytes(65_536))}
    with liar(bench.folder, answers) as server:
        assert [kind for kind, _ in look(bench, server)] == ["FILE_IMPORTED"]
        assert server.sent < MOST_SENT + len(content), f"it got rid of {server.sent} bytes"
    return HELD


def elsewhere(bench: Bench, _: Result) -> str:
    """Its page leads to another server, to the folder above, and to files of this computer."""
    with liar(bench.folder, {"/updates/a.zip": whole(good(bench))}) as other:
        links = (
            f"{other.url}a.zip", other.url.removeprefix("https:") + "a.zip", "../a.zip", "..%2fa.zip", "%2e%2e/a.zip",
            "/a.zip", "..\\a.zip", "b/a.zip", "file:///etc/passwd.zip", "a.zip?b=../x", "https:a.zip@elsewhere/a.zip",
            "//[/a.zip", "javascript:a.zip",
        )  # fmt: skip
        with liar(bench.folder, {FOLDER: page(*links)}) as server:
            with bench.unchanged(moves="signed"):
                told = look(bench, server, other)
            assert all(path.startswith(FOLDER) and "/" not in path[len(FOLDER) :] for path in server.asked), (
                server.asked
            )
        assert other.asked == [FOLDER], "a link led there"
    assert all(kind == "FILE_REFUSED" and text.startswith(_SERVER) for kind, text in told), told
    assert taken(bench) == []
    return REFUSED


def odd_names(bench: Bench, _: Result) -> str:
    """Names that order a terminal about, that are longer than a disk takes, or lead upwards when they are decoded; a
    good bundle under the last of them is taken in.
    """
    odd = ["%1b[2J.zip", "\x1b[2J.zip", "&#27;c.zip", "\u202epiz.zip", "%00.zip", "€" * 150 + ".zip", ".zip", "..zip",
           "%2e%2e%2f%2e%2e%2fetc.zip", "a%20b.zip", "x" * 490 + ".zip", "'$(id)'.zip", "{{ 7 * 7 }}.zip"]  # fmt: skip
    answers: dict[str, Answer] = {FOLDER: page(*odd, "~.zip"), f"{FOLDER}~.zip": whole(good(bench))}
    answers |= {
        f"{FOLDER}{'%E2%82%AC' * 150}.zip": whole(b"no bundle"),
        f"{FOLDER}{'x' * 490}.zip": whole(b"no bundle"),
    }
    with liar(bench.folder, answers) as server:
        told = look(bench, server)
    assert [kind for kind, _ in told if kind != "FILE_REFUSED"] == ["FILE_IMPORTED"], told
    assert all(text.isprintable() for _, text in told), told
    assert sum(text.startswith(_REFUSED) for _, text in told) == 2, told
    assert len(taken(bench)) == 1
    return HELD


def redirected(bench: Bench, _: Result) -> str:
    """The page of one server, and a file of another one, are to be had from a third."""
    with ExitStack() as stack:
        other = stack.enter_context(liar(bench.folder, {FOLDER: page("a.zip"), FILE: whole(good(bench))}))
        there = whole(b"", f"Location: {other.url}", status="302 Found")
        file = whole(b"", f"Location: {other.url}a.zip", status="307 Temporary Redirect")
        servers = [
            stack.enter_context(liar(bench.folder, answers))
            for number, answers in enumerate(({FOLDER: there}, {FOLDER: page("a.zip"), FILE: file}))
        ]
        with bench.unchanged(moves="signed"):
            told = look(bench, *servers)
        assert other.asked == [], "the school went there"
    assert len(told) == 2, told
    assert all(text.startswith(_SERVER) and "redirects" in text for _, text in told), told
    assert taken(bench) == []
    return REFUSED


def many_links(bench: Bench, _: Result) -> str:
    """As many links as a page may have, each to a file of another name; the school looks at some of them."""
    with liar(bench.folder, {FOLDER: page(*(f"{number:06}.zip" for number in range(25_000)))}) as server:
        with bench.unchanged(moves="signed"):
            told = look(bench, server)
        assert len(server.asked) == 1 + MOST_FILES, len(server.asked)
    assert len(told) <= MOST_FILES, f"{len(told)} events"
    return REFUSED


def mute(bench: Bench, _: Result) -> str:
    """It accepts connections and says nothing, while the server beside it has a good bundle."""
    answers = {FOLDER: page("a.zip"), FILE: whole(good(bench))}
    with (
        liar(bench.folder, {}, mute=True) as server,
        liar(bench.folder, answers) as other,
    ):
        _told_of_both(look(bench, server, other), _SERVER)
    assert len(taken(bench)) == 1
    return HELD


def silent_files(bench: Bench, _: Result) -> str:
    """It lists 50 files, and says nothing when it is asked for one of them."""
    names = [f"{number:02}.zip" for number in range(MOST_FILES)]
    answers: dict[str, Answer] = {f"{FOLDER}{name}": silence() for name in names}
    with liar(bench.folder, answers | {FOLDER: page(*names)}) as server, bench.unchanged(moves="signed"):
        told = look(bench, server)
    assert all(text.startswith(_SERVER) and "too slowly" in text for _, text in told), told
    return REFUSED


def packed(size: int) -> bytes:
    """So many times 10 MB of nothing but links, packed to about a thousandth."""
    piece = gzip.compress(b'<a href="a.zip"' * 666_666 + b">")
    return whole(piece * size, "Content-Encoding: gzip")


def cases() -> Iterator[Case]:
    """All of them."""
    links, size = b'<a href="x.zip">' * 4096, 10_000_000_000_000
    for name, injected, answers, begins, says, slow in (
        ("a page without end", "Its page never ends.", _listed(endless(head(), links)), (_SERVER,), "longer", False),
        ("a million links", "Its page has a million links, which is more than a page may have.",
         lambda _: {FOLDER: page(*(f"{number}.zip" for number in range(1_000_000)))}, (_SERVER,), "longer", False),
        ("chunks without end", "Its page comes in chunks, which never end.",
         _listed(endless(head(_CHUNKED), _PIECE)), (_SERVER,), "longer", False),
        ("a chunk without end", "The length of a chunk never ends.",
         _listed(endless(head(_CHUNKED), b"0" * 65_536)), (_SERVER,), "", False),
        ("headers after the end", "Its page ends, and header upon header follows.",
         _listed(endless(head(_CHUNKED) + b"0\r\n", b"X: x\r\n" * 10_000)), (_SERVER,), "", False),
        ("answers before the answer", "It says again and again that the answer is to come.",
         _listed(endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 3000)), (_SERVER,), "", False),
        ("a file in chunks without end", "A file is longer than it has said, in chunks, which never end.",
         _one(endless(head(_CHUNKED, "Content-Length: 1000"), _PIECE)), (_SERVER,), "more than it said", False),
        ("a file shorter than said", "The connection ends before the file does.",
         _one(head("Content-Length: 1000000") + bytes(1000)), (_SERVER,), "broke", False),
        ("a file of 10 TB", "A file is said to have 10 TB.",
         _one(endless(head(f"Content-Length: {size}"), bytes(65_536))), (_SPACE,), "20.0 TB", False),
        ("a byte every 2 seconds", "A file comes in with one byte every 2 seconds.",
         _one(drip(head("Content-Length: 1000"), seconds=2)), (_SERVER,), "too slowly", True),
        ("a byte every 5 seconds, page", "Its page comes in with one byte every 5 seconds.",
         _listed(drip(head("Content-Length: 1000"), seconds=5)), (_SERVER,), "too slowly", True),
        ("a bomb as the page", "Its page is packed, and becomes 500 MB when it is unpacked.",
         lambda _: {FOLDER: packed(50)}, (), "", False),
        ("a bomb as a file", "A file is said to be packed, and becomes 2 GB when it is unpacked.",
         lambda _: {FOLDER: page("a.zip"), FILE: packed(200)}, (_REFUSED,), "no file of the vendor", False),
    ):  # fmt: skip
        act = partial(lies, answers, begins, says, again=name.startswith("a file"))
        yield Case(f"file server: {name}", injected, act, slow=slow)
    for name, attack, slow in (
        ("a tampered file beside a good one", beside, False),
        ("another file at the second request", another_later, False),
        ("a file longer than said", longer, False),
        ("links elsewhere", elsewhere, False),
        ("odd names", odd_names, False),
        ("redirects", redirected, False),
        ("25,000 files", many_links, False),
        ("mute", mute, False),
        ("silent about each file", silent_files, True),
    ):
        yield Case(f"file server: {name}", attack.__doc__ or "", attack, slow=slow)
