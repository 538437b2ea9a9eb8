# SPDX-License-Identifier: GPL-3.0-or-later
"""What people bring through the page of their school: a real page over TLS, a real agent behind it, real requests."""

from __future__ import annotations

import html
import re
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import requests

from ansible_collections.clms.update.plugins.module_utils.errors import CATALOGUE
from tests.e2e.observe import wait_for

from .bench import Bench
from .bundles import copy_of
from .cases import HELD, REFUSED, Case, Result
from .desk import Desk, flip
from .special import VERSION
from .zips import bomb, changed, stranger

_BOUNDARY = "clms-attack"
_SECONDS = 30.0
Spoil = Callable[[Desk, Path], None]


class Visitor:
    """A browser in front of the page of a school."""

    def __init__(self, url: str, certificate: Path) -> None:
        self.url, self.certificate = url, certificate
        self.session = requests.Session()
        self.session.trust_env, self.session.verify = False, str(certificate)
        self._context = ssl.create_default_context(cafile=str(certificate))

    def sign_in(self, login: dict[str, str]) -> None:
        """As a person does."""
        answer = self.session.post(
            f"{self.url}/sign-in",
            data={"csrf_token": self.token("/sign-in"), "name": login["username"], "password": login["password"]},
            headers={"Referer": f"{self.url}/sign-in"},
            timeout=_SECONDS,
        )
        assert answer.url == f"{self.url}/", answer.text

    def token(self, path: str) -> str:
        """What a form of that page has to show."""
        answer = self.session.get(self.url + path, timeout=_SECONDS)
        found = re.search(r'name="csrf_token"[^>]*value="([^"]+)"', answer.text)
        assert found, answer.text
        return found.group(1)

    def bring(self, path: Path, *, token: str) -> requests.Response:
        """Send the form with a file."""
        with path.open("rb") as file:
            return self.session.post(
                f"{self.url}/files",
                data={"csrf_token": token},
                files={"file": ("../../etc/clms.zip", file)},
                headers={"Referer": f"{self.url}/files"},
                timeout=_SECONDS,
            )

    def form(self, content: bytes, token: str) -> bytes:
        """The body of such a request."""
        parts = (
            f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="csrf_token"\r\n\r\n{token}\r\n'
            f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="clms.zip"\r\n\r\n'
        )
        return parts.encode() + content + f"\r\n--{_BOUNDARY}--\r\n".encode()

    @contextmanager
    def sending(self, body: bytes, length: int | str) -> Iterator[ssl.SSLSocket]:
        """A request by hand, on a connection that is cut at the end.

        :param length: what is said of the body
        """
        parts = urlsplit(self.url)
        assert parts.hostname is not None
        cookies = "; ".join(f"{cookie.name}={cookie.value}" for cookie in self.session.cookies)
        head = (
            f"POST /files HTTP/1.1\r\nHost: {parts.netloc}\r\nReferer: {self.url}/files\r\nCookie: {cookies}\r\n"
            f"User-Agent: {self.session.headers['User-Agent']}\r\n"
            f"Content-Type: multipart/form-data; boundary={_BOUNDARY}\r\nContent-Length: {length}\r\n\r\n"
        )
        with (
            socket.create_connection((parts.hostname, parts.port or 443), _SECONDS) as connection,
            self._context.wrap_socket(connection, server_hostname=parts.hostname) as secured,
        ):
            secured.sendall(head.encode() + body)
            yield secured


@contextmanager
def at_the_page(bench: Bench, *, signed_in: bool = True) -> Iterator[Visitor]:
    """Somebody at the page; agent and page are there for as long as that.

    Afterwards nothing is left of what was sent, nobody has seen a traceback, and the page answers.
    """
    stand, school = bench.stand, bench.school.name
    stand.start_agent(school)
    page = stand.page(school)
    logs = [bench.school.folder / "page/gunicorn.log", bench.school.folder / "agent.log"]
    try:
        page.start()
        said = [log.stat().st_size for log in logs]
        visitor = Visitor(page.url, page.certificate)
        login = page.login()
        if signed_in:
            visitor.sign_in(login)
        with visitor.session:
            yield visitor
        # where a connection was cut, the page notices a moment later
        wait_for(lambda: not list(bench.uploads.iterdir()), seconds=10, what="an empty folder for uploads")
        other = Visitor(page.url, page.certificate)
        with other.session:
            other.sign_in(login)
            assert "Files of the vendor" in other.session.get(f"{page.url}/files", timeout=_SECONDS).text
        for log, size in zip(logs, said, strict=True):
            assert b"Traceback" not in log.read_bytes()[size:], log.read_text()[size:]
    finally:
        page.stop()
        stand.stop_agent(school)


def zips(bench: Bench) -> list[str]:
    """What was taken in."""
    return sorted(path.name for path in (bench.school.home / "bundles").glob("*.zip"))


def said_by(answer: requests.Response, code: str) -> str:
    """The refusal that a person reads beside the field: what happened, and what to do."""
    assert answer.status_code == 422, (answer.status_code, answer.text)
    assert "Traceback" not in answer.text
    found = re.search(r'id="file-error"[^>]*>([^<]+)<', answer.text)
    assert found, answer.text
    text = html.unescape(found.group(1)).strip()
    assert text.endswith(CATALOGUE[code].remedy), text
    return text


def spoilt(spoil: Spoil, says: str, bench: Bench, _: Result) -> str:
    """Somebody brings such a file; people are told why it is refused, on the page and in the journal."""
    path = copy_of(bench)
    spoil(bench.special.desk, path)
    with at_the_page(bench) as visitor, bench.unchanged(moves="signed"):
        text = said_by(visitor.bring(path, token=visitor.token("/files")), "BUNDLE_REFUSED")
        assert says in text, text
        assert "etc/clms.zip" not in text, "the browser has named it"
        with bench.school.journal() as journal:
            told = [event["message"] for event in journal.events(limit=20) if event["type"] == "FILE_REFUSED"]
        assert told[:1] == [text], told
    assert zips(bench) == []
    return REFUSED


def no_zip(_: Desk, path: Path) -> None:
    """A file that is something else."""
    path.write_bytes(b"\x89PNG\r\n\x1a\n" * 100_000)


def without_session(bench: Bench, _: Result) -> str:
    """Somebody who has not signed in sends a good file, with the token of the page for signing in; what is sent is not
    even read.
    """
    with at_the_page(bench, signed_in=False) as visitor, bench.unchanged(moves="signed"):
        body = visitor.form(copy_of(bench).read_bytes(), visitor.token("/sign-in"))
        with visitor.sending(body[:1000], len(body)) as secured:
            answer = secured.recv(65_536).decode()
            assert answer.startswith("HTTP/1.1 302"), answer
            assert "\r\nLocation: /sign-in\r\n" in answer, answer
            assert list(bench.uploads.iterdir()) == []
    assert zips(bench) == []
    return REFUSED


def without_token(token: str, bench: Bench, _: Result) -> str:
    """Another site has the browser of somebody who has signed in send a good file."""
    with at_the_page(bench) as visitor, bench.unchanged(moves="signed"):
        answer = visitor.bring(copy_of(bench), token=token)
        assert answer.status_code == 400, answer.text
        assert "FORM_EXPIRED" in answer.text
        assert list(bench.uploads.iterdir()) == []
    assert zips(bench) == []
    return REFUSED


def cut(bench: Bench, _: Result) -> str:
    """Half of a good file comes; the page is there for others until the connection is cut."""
    with at_the_page(bench) as visitor, bench.unchanged(moves="signed"):
        body = visitor.form(copy_of(bench).read_bytes(), visitor.token("/files"))
        with visitor.sending(body[: len(body) // 2], len(body)):
            wait_for(lambda: bool(list(bench.uploads.iterdir())), seconds=10, what="a file that is coming in")
            assert visitor.session.get(f"{visitor.url}/files", timeout=_SECONDS).status_code == 200
    assert zips(bench) == []
    return REFUSED


def too_short(bench: Bench, _: Result) -> str:
    """A good file is all there, but its request has said that more comes; the page is there for others until the
    connection is cut. The file is taken in whole, if at all.
    """
    good = copy_of(bench).read_bytes()
    with at_the_page(bench) as visitor:
        body = visitor.form(good, visitor.token("/files"))
        with visitor.sending(body, len(body) + 100_000):
            wait_for(lambda: bool(list(bench.uploads.iterdir())), seconds=10, what="a file that is coming in")
            assert visitor.session.get(f"{visitor.url}/files", timeout=_SECONDS).status_code == 200
            assert zips(bench) == [], "it was not waited for"
    found = zips(bench)
    assert all((bench.school.home / "bundles" / name).read_bytes() == good for name in found)
    return "taken in, whole" if found else REFUSED


def too_long(bench: Bench, _: Result) -> str:
    """A good file is longer than its request has said; what follows is no request."""
    with at_the_page(bench) as visitor, bench.unchanged(moves="signed"):
        body = visitor.form(copy_of(bench).read_bytes(), visitor.token("/files"))
        with visitor.sending(body, len(body) - 100_000) as secured:
            answer = first_line(secured)
        assert answer == b"" or answer.startswith(b"HTTP/1.1 4"), answer
    assert zips(bench) == []
    return REFUSED


def first_line(secured: ssl.SSLSocket) -> bytes:
    """How the page answers; nothing where it has hung up."""
    try:
        return secured.recv(1000).partition(b"\r\n")[0]
    except OSError:
        return b""


def impossible_length(length: str, status: bytes, bench: Bench, _: Result) -> str:
    """A request says of itself what cannot be; nothing of it is written."""
    with at_the_page(bench) as visitor, bench.unchanged(moves="signed"):
        body = visitor.form(b"x" * 1000, visitor.token("/files"))
        with visitor.sending(body, length) as secured:
            answer = first_line(secured)
            assert answer.startswith(b"HTTP/1.1 " + status), answer
            assert list(bench.uploads.iterdir()) == []
    return REFUSED


def counterpart(bench: Bench, _: Result) -> str:
    """A file as the vendor makes it."""
    good = copy_of(bench)
    with at_the_page(bench) as visitor:
        answer = visitor.bring(good, token=visitor.token("/files"))
        assert (answer.status_code, answer.url) == (200, f"{visitor.url}/files"), answer.text
        assert f"Version {VERSION} is on this server now" in answer.text
    (name,) = zips(bench)
    assert (bench.school.home / "bundles" / name).read_bytes() == good.read_bytes()
    return HELD


def cases() -> Iterator[Case]:
    """All of them; each has an agent and a page of its own, which come and go within ten seconds."""
    yield Case("upload: the counterpart", counterpart.__doc__ or "", counterpart, slow=True)
    for name, injected, spoil, says in (
        ("tampered", "One bit of an image in it turned over.", lambda desk, path: flip(path), "not what was"),
        ("sealed by a stranger", stranger.__doc__, stranger, "does not count here"),
        ("bomb", bomb.__doc__, changed(bomb), "packed"),
        ("no ZIP", no_zip.__doc__, no_zip, "no file of the vendor"),
    ):
        yield Case(f"upload: {name}", injected or "", partial(spoilt, spoil, says), slow=name != "tampered")
    yield Case("upload: nobody has signed in", without_session.__doc__ or "", without_session, slow=True)
    for name, token in (("no token", ""), ("a forged token", "forged")):
        yield Case(f"upload: {name}", without_token.__doc__ or "", partial(without_token, token), slow=True)
    yield Case("upload: cut off", cut.__doc__ or "", cut, slow=True)
    yield Case("upload: shorter than said", too_short.__doc__ or "", too_short, slow=True)
    yield Case("upload: longer than said", too_long.__doc__ or "", too_long, slow=True)
    for name, length, status in (
        ("a length of 10 TB", "10000000000000", b"422"),
        ("a length below zero", "-1", b"400"),
        ("a length that is no number", "1e9", b"400"),
    ):
        act = partial(impossible_length, length, status)
        yield Case(f"upload: {name}", impossible_length.__doc__ or "", act, slow=True)
