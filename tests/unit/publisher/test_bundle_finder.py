# SPDX-License-Identifier: GPL-3.0-or-later
"""Bundles where people put them: on drives, and on a file server with a page that lists a folder."""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import socketserver
import ssl
import threading
from collections.abc import Callable, Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from werkzeug.serving import make_ssl_devcert

from ansible_collections.clms.update.plugins.module_utils.adapters import bundle_finder, looked, offline
from ansible_collections.clms.update.plugins.module_utils.adapters.bundle_server import Served
from ansible_collections.clms.update.plugins.module_utils.disk import Mount
from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError

from .desk import Desk, flip, versions


def test_found_on_a_drive_and_looked_at_once(
    desk: Desk, school: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stick = tmp_path / "usb/librarian/stick"
    stick.mkdir(parents=True)
    desk.bundle("1.0.1").rename(stick / "copy of clms.zip")
    (stick / "holiday.zip").write_bytes(b"PK pictures")
    (stick / "linked.zip").symlink_to(desk.vendor.root)
    found = bundle_finder.look_for_files(school)
    assert [(error.code, Path(str(error.values["path"])).name) for error in found.problems] == [
        ("BUNDLE_REFUSED", "holiday.zip")
    ]
    assert [taken.told.message for taken in found.taken] == [
        "Version 1.0.1 was taken in with the file clms-1.0.1-amd64.zip."
    ]
    assert versions(school) == ["1.0.1"]
    monkeypatch.setattr(bundle_finder, "import_file", lambda *_, **__: pytest.fail("it was looked at twice"))
    assert bundle_finder.look_for_files(school).problems == []


@pytest.mark.parametrize("content", ["", "[]", "{", '{"x": 1}', '{"x": [1, 2, 3]}', '{"x": ["y", "z"]}'])
def test_what_was_looked_at_is_forgotten(desk: Desk, school: Any, tmp_path: Path, content: str) -> None:
    path = offline.folder_of(school) / "looked-at.json"
    path.parent.mkdir()
    path.write_text(content)
    desk.bundle("1.0.1").rename(tmp_path / "usb/clms.zip")
    assert bundle_finder.look_for_files(school).problems == []
    assert versions(school) == ["1.0.1"]


class FileServer:
    """A folder behind nginx, as far as a school sees of it."""

    def __init__(self, folder: Path, address: str, certificate: Path) -> None:
        self.folder = folder
        self.address = address
        self.certificate = certificate
        self.asked: list[str] = []


@pytest.fixture
def file_server(tmp_path: Path, school: Any) -> Iterator[FileServer]:
    """A file server that the school knows."""
    folder = tmp_path / "served"
    folder.mkdir()
    certificate, key = make_ssl_devcert(str(tmp_path / "server"), host="localhost")
    found = FileServer(folder, "", Path(certificate))

    class Handler(SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            found.asked.append(self.path)
            super().do_GET()

        def log_message(self, *_: Any) -> None:
            """Nothing: the output belongs to the tests."""

    class Threads(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: Any) -> None:
            """Nothing: a school hangs up on what it knows already."""

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with Threads(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder))) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        found.address = f"https://localhost:{server.server_address[1]}"
        school.bundle_servers, school.bundle_ca_file = (found.address,), certificate
        yield found
        server.shutdown()
        thread.join()


def codes(problems: list[Any]) -> list[str]:
    return [problem.code for problem in problems]


def left_in(school: Any) -> list[str]:
    """What lies in the folder for bundles, beside bundles."""
    folder = offline.folder_of(school)
    return sorted(path.name for path in folder.rglob("*") if path.is_file() and path.name != "looked-at.json")


def test_fetched_from_a_file_server_once(desk: Desk, school: Any, file_server: FileServer) -> None:
    desk.bundle("1.0.1").rename(file_server.folder / "clms 1.0.1 (new).zip")
    (file_server.folder / "readme.txt").write_text("not a bundle")
    (file_server.folder / "old").mkdir()
    assert bundle_finder.look_for_files(school).problems == []
    assert versions(school) == ["1.0.1"]
    assert left_in(school) == ["clms-1.0.1-amd64.zip"]
    assert file_server.asked == ["/", "/clms%201.0.1%20%28new%29.zip"]
    offline.folder_of(school).joinpath("clms-1.0.1-amd64.zip").unlink()
    assert bundle_finder.look_for_files(school).problems == []
    assert versions(school) == [], "it was taken in twice"


def test_a_file_server_with_something_else(desk: Desk, school: Any, file_server: FileServer) -> None:
    path = file_server.folder / "clms.zip"
    desk.bundle("1.0.1").rename(path)
    flip(path, 0.5)
    (problem,) = bundle_finder.look_for_files(school).problems
    assert (problem.code, problem.values["path"]) == ("BUNDLE_REFUSED", f"{file_server.address}/clms.zip")
    assert bundle_finder.look_for_files(school).problems == []
    assert left_in(school) == []
    flip(path, 0.5)  # as good as new, and of another time
    os.utime(path, (1, 1))
    assert bundle_finder.look_for_files(school).problems == []
    assert versions(school) == ["1.0.1"]


@pytest.mark.parametrize(
    "link",
    [
        pytest.param("https://elsewhere.test/clms.zip", id="another server"),
        pytest.param("//elsewhere.test/clms.zip", id="another server, the short way"),
        pytest.param("sub/clms.zip", id="a folder below"),
        pytest.param("clms.zip?from=https://elsewhere.test", id="a question"),
        pytest.param("file:///etc/clms.zip", id="a file here"),
        pytest.param("clms.tar", id="no bundle"),
        pytest.param("http://[/clms.zip", id="no address"),
    ],
)
def test_links_that_are_not_followed(school: Any, file_server: FileServer, link: str) -> None:
    (file_server.folder / "index.html").write_text(f'<![x[ <a name="x"><p><a href="{link}">here</a><a href>')
    assert bundle_finder.look_for_files(school).problems == []
    assert file_server.asked == ["/"]


@pytest.mark.parametrize("page", ["<" * 900_000, "<a href='" * 100_000, "href=" * 200_000], ids=["<", "a", "href"])
def test_a_page_that_would_keep_a_parser_busy(school: Any, file_server: FileServer, page: str) -> None:
    (file_server.folder / "index.html").write_text(page)
    assert bundle_finder.look_for_files(school).problems == []
    assert file_server.asked == ["/"]


def test_a_link_to_nothing(school: Any, file_server: FileServer) -> None:
    (file_server.folder / "index.html").write_text('<a href="clms.zip">gone</a>')
    assert codes(bundle_finder.look_for_files(school).problems) == ["FILE_SERVER"]


def test_a_file_server_that_is_silent_says_so_once(
    desk: Desk, school: Any, file_server: FileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent = "https://localhost:1"
    school.bundle_servers = (silent, file_server.address)
    desk.bundle("1.0.1").rename(file_server.folder / "clms.zip")
    (problem,) = bundle_finder.look_for_files(school).problems
    assert (problem.code, problem.values["url"]) == ("FILE_SERVER", f"{silent}/")
    assert versions(school) == ["1.0.1"], "one server is in the way of the other"
    assert bundle_finder.look_for_files(school).problems == []


def test_a_file_server_of_somebody_else(school: Any, file_server: FileServer) -> None:
    school.bundle_ca_file = None
    (problem,) = bundle_finder.look_for_files(school).problems
    assert (problem.code, "not trusted" in problem.happened) == ("FILE_SERVER", True)
    assert file_server.asked == []


def test_no_room_for_a_file(desk: Desk, school: Any, file_server: FileServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not fetched, and looked at again when there is room."""
    path = desk.bundle("1.0.1")
    with monkeypatch.context() as patched:
        free = 2 * path.stat().st_size - 1
        patched.setattr(offline, "mount_of", lambda _: Mount(1, "/srv", free))
        path.rename(file_server.folder / "clms.zip")
        (problem,) = bundle_finder.look_for_files(school).problems
        assert (problem.code, "1 bytes missing" in problem.happened) == ("DISK_TOO_SMALL", True), problem
        assert left_in(school) == []
    assert bundle_finder.look_for_files(school).problems == []
    assert versions(school) == ["1.0.1"]


def test_no_room_for_a_file_on_a_drive(
    desk: Desk, school: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = desk.bundle("1.0.1").rename(tmp_path / "usb/clms.zip")
    with monkeypatch.context() as patched:
        patched.setattr(offline, "mount_of", lambda _: Mount(1, "/srv", path.stat().st_size - 1))
        assert codes(bundle_finder.look_for_files(school).problems) == ["DISK_TOO_SMALL"]
        assert bundle_finder.look_for_files(school).problems == [], "it was told twice"
    assert bundle_finder.look_for_files(school).problems == []
    assert versions(school) == ["1.0.1"]


def write_partly(served: Any, path: Path) -> None:
    path.write_bytes(b"half of it")
    raise OSError(28, "No space left on device")


def test_the_disk_fills_up_meanwhile(
    desk: Desk, school: Any, file_server: FileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.bundle("1.0.1").rename(file_server.folder / "clms.zip")
    monkeypatch.setattr(Served, "save", write_partly)
    (problem,) = bundle_finder.look_for_files(school).problems
    assert (problem.code, "No space left" in problem.happened) == ("BUNDLE_MISSING", True)
    assert left_in(school) == []


def test_one_bad_file_is_not_in_the_way_of_the_next(desk: Desk, school: Any, file_server: FileServer) -> None:
    desk.bundle("1.0.1").rename(file_server.folder / "b.zip")
    (file_server.folder / "index.html").write_text('<a href="a.zip">gone</a> <a href="b.zip">there</a>')
    (problem,) = bundle_finder.look_for_files(school).problems
    assert (problem.code, problem.values["url"]) == ("FILE_SERVER", f"{file_server.address}/a.zip")
    assert versions(school) == ["1.0.1"]


@pytest.mark.parametrize("error", ["CLOCK_WRONG", "TRUST_STORE", "BUNDLE_MISSING"])
def test_what_says_nothing_of_the_file_is_not_remembered(
    desk: Desk, school: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: str
) -> None:
    """Once the clock is right, or the drive in again, it is taken in; until then that is told once."""
    desk.bundle("1.0.1").rename(tmp_path / "usb/clms.zip")
    with monkeypatch.context() as patched:

        def fail(*_: Any, **__: Any) -> None:
            raise ClmsError(error, now="x", seen="y", path="z", detail="d")

        patched.setattr(bundle_finder, "import_file", fail)
        assert codes(bundle_finder.look_for_files(school).problems) == [error]
        assert bundle_finder.look_for_files(school).problems == []
    assert bundle_finder.look_for_files(school).problems == []
    assert versions(school) == ["1.0.1"]


@pytest.mark.parametrize("error", ["TRUST_EXPIRED", "TRUST_REFUSED", "RELEASE_INVALID"])
def test_what_may_be_judged_in_another_way_tomorrow(
    desk: Desk, school: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: str
) -> None:
    """The clock may have been wrong, keys be learned, CLMS Update be a newer one; people are told once."""
    desk.bundle("1.0.1").rename(tmp_path / "usb/clms.zip")
    asked: list[str] = []
    with monkeypatch.context() as patched:

        def fail(*_: Any, **__: Any) -> None:
            asked.append(error)
            raise ClmsError(error, version="1.0.1", detail="d")

        patched.setattr(bundle_finder, "import_file", fail)
        assert codes(bundle_finder.look_for_files(school).problems) == [error]
        assert bundle_finder.look_for_files(school).problems == []
        assert len(asked) == 1
        patched.setattr(bundle_finder, "_for_today", lambda mark: f"{mark} tomorrow")
        assert bundle_finder.look_for_files(school).problems == []
        assert len(asked) == 2
    assert bundle_finder.look_for_files(school).problems == []
    assert versions(school) == ["1.0.1"]


def test_a_better_copy_with_the_same_size_and_time(desk: Desk, school: Any, tmp_path: Path) -> None:
    """People are told to copy it again, and some programs keep the time of a file."""
    good, path = desk.bundle("1.0.1"), tmp_path / "usb/clms.zip"
    shutil.copy2(good, path)
    flip(path, 0.5)
    os.utime(path, ns=(good.stat().st_atime_ns, good.stat().st_mtime_ns))
    assert codes(bundle_finder.look_for_files(school).problems) == ["BUNDLE_REFUSED"]
    shutil.copy2(good, path)
    assert bundle_finder.look_for_files(school).problems == []
    assert versions(school) == ["1.0.1"]


def test_many_files_are_each_looked_at_once(desk: Desk, school: Any, tmp_path: Path) -> None:
    """However many there are, and a good one is found among them; nobody is told of all of them."""
    for number in range(1100):
        (tmp_path / f"usb/{number}.zip").write_bytes(b"no bundle")
    desk.bundle("1.0.1").rename(tmp_path / "usb/500a.zip")
    found = bundle_finder.look_for_files(school)
    assert codes(found.problems) == ["BUNDLE_REFUSED"] * 50
    assert [told.message for told in found.refusals[50:]] == [
        "1050 more files were refused at the same time. Move what is not the vendor's elsewhere."
    ]
    assert versions(school) == ["1.0.1"]
    for _ in range(2):
        found = bundle_finder.look_for_files(school)
        assert (found.taken, found.refusals) == ([], [])


def test_a_drive_that_is_away_for_a_while(school: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its newest files are remembered."""
    monkeypatch.setattr(looked, "_REMEMBERED", 3)
    for number in range(10):
        (tmp_path / f"usb/{number}.zip").write_bytes(b"no bundle")
    assert len(bundle_finder.look_for_files(school).problems) == 10
    (tmp_path / "usb").rename(tmp_path / "away")
    assert bundle_finder.look_for_files(school).problems == []
    (tmp_path / "away").rename(tmp_path / "usb")
    assert len(bundle_finder.look_for_files(school).problems) == 7


def test_a_folder_with_more_files_than_are_looked_at(
    desk: Desk, school: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The vendor's by name come first, then the newest; that is told once."""
    monkeypatch.setattr(bundle_finder, "_MOST", 3)
    path = tmp_path / "usb/clms-1.0.1.zip"
    shutil.copy(desk.bundle("1.0.1"), path)
    os.utime(path, (1, 1))
    for number in range(5):
        (tmp_path / f"usb/{number}.zip").write_bytes(b"no bundle")
    found = bundle_finder.look_for_files(school)
    assert versions(school) == ["1.0.1"]
    assert sorted(Path(str(error.values["path"])).name for error in found.problems) == ["3.zip", "4.zip"]
    assert [told.message for told in found.refusals[2:]] == [
        f"In {tmp_path}/usb lie more than 3 ZIP files; the newest were looked at."
    ]
    assert bundle_finder.look_for_files(school).refusals == []
    for number in (2, 3, 4):
        (tmp_path / f"usb/{number}.zip").unlink()
    assert len(bundle_finder.look_for_files(school).refusals) == 2
    for number in (2, 3):
        (tmp_path / f"usb/{number}.zip").write_bytes(b"no bundle")
    assert len(bundle_finder.look_for_files(school).refusals) == 3, "it is crowded anew"


def test_files_that_take_long(school: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next look goes on with those that were not begun, and remembers the others."""
    for number in range(3):
        (tmp_path / f"usb/{number}.zip").write_bytes(b"no bundle")
    now = [0.0]
    monkeypatch.setattr(bundle_finder.time, "monotonic", lambda: now[0])
    import_file = bundle_finder.import_file

    def slowly(*arguments: Any, **named: Any) -> Any:
        now[0] += 50
        return import_file(*arguments, **named)

    monkeypatch.setattr(bundle_finder, "import_file", slowly)
    assert [len(bundle_finder.look_for_files(school).problems) for _ in range(3)] == [2, 1, 0]


def test_looked_for_twice_at_once(desk: Desk, school: Any, file_server: FileServer) -> None:
    desk.bundle("1.0.1").rename(file_server.folder / "clms.zip")
    found: list[Any] = []
    threads = [
        threading.Thread(target=lambda: found.append(bundle_finder.look_for_files(school).problems)) for _ in range(3)
    ]  # fmt: skip
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [[], [], []]
    assert versions(school) == ["1.0.1"]
    assert left_in(school) == ["clms-1.0.1-amd64.zip"]


@pytest.fixture
def liar(tmp_path: Path, school: Any) -> Iterator[Callable[..., None]]:
    """A file server whose only file is answered with these very bytes."""
    certificate, key = make_ssl_devcert(str(tmp_path / "liar"), host="localhost")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    answers: list[bytes] = []
    names = ["clms"]

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            asked = self.rfile.readline()
            while self.rfile.readline().strip():
                pass
            with contextlib.suppress(OSError):  # the school has hung up
                page = f'<a href="{names[-1]}.zip">'.encode()
                listed = HEAD + f"Content-Length: {len(page)}\r\n\r\n".encode() + page
                self.wfile.write(listed if b" / " in asked else answers[0])

    class Threads(socketserver.ThreadingTCPServer):
        daemon_threads = True

        def handle_error(self, *_: Any) -> None:
            """Nothing: a school hangs up here."""

    with Threads(("127.0.0.1", 0), Handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        school.bundle_servers, school.bundle_ca_file = (f"https://localhost:{server.server_address[1]}",), certificate

        def begin(answer: bytes, name: str = "clms") -> None:
            answers.append(answer)
            names.append(name)

        yield begin
        server.shutdown()
        thread.join()


HEAD = b"HTTP/1.1 200 OK\r\nConnection: close\r\n"
PIECE = b"fff\r\n" + b"x" * 0xFFF + b"\r\n"


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        pytest.param(
            HEAD + b"Content-Length: 10\r\nTransfer-Encoding: chunked\r\n\r\n" + PIECE * 500 + b"0\r\n\r\n",
            "more than it said", id="more than it says",
        ),
        pytest.param(HEAD + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n", "how long", id="a number without end"),
        pytest.param(HEAD + b"Content-Length: -1\r\n\r\n", "", id="less than nothing"),
        pytest.param(HEAD + b"Content-Length: 1e3\r\n\r\n", "how long", id="no number"),
        pytest.param(HEAD + b"\r\n" + b"x" * 100, "how long", id="no length"),
        pytest.param(HEAD + b"Content-Length: 100\r\n\r\nx", "broke", id="less than it says"),
        pytest.param(b"HTTP/1.1 302 Found\r\nLocation: https://elsewhere.test/\r\n\r\n", "redirects", id="redirect"),
        pytest.param(b"nonsense", "", id="no HTTP"),
        pytest.param(b"HTTP/1.1 100 Continue\r\n\r\n" * 100_000, "headers", id="answers before the answer"),
    ],
)  # fmt: skip
def test_a_file_server_that_lies(school: Any, liar: Callable[..., None], answer: bytes, words: str) -> None:
    liar(answer)
    (problem,) = bundle_finder.look_for_files(school).problems
    assert (problem.code, words in problem.happened) == ("FILE_SERVER", True), problem
    assert left_in(school) == []
    assert bundle_finder.look_for_files(school).problems == []


def test_headers_after_the_end(school: Any, liar: Callable[..., None]) -> None:
    liar(HEAD + b"Content-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n" + b"X: x\r\n" * 500_000)
    (problem,) = bundle_finder.look_for_files(school).problems
    assert (problem.code, "headers without end" in problem.happened) == ("FILE_SERVER", True), problem
    assert left_in(school) == []


@pytest.mark.parametrize("name", ["€" * 150, "x" * 300], ids=["bytes", "characters"])
def test_a_name_that_is_too_long_for_a_disk(desk: Desk, school: Any, liar: Callable[..., None], name: str) -> None:
    content = desk.bundle("1.0.1").read_bytes()
    liar(HEAD + f"Content-Length: {len(content)}\r\n\r\n".encode() + content, name)
    assert bundle_finder.look_for_files(school).problems == []
    assert versions(school) == ["1.0.1"]
    assert left_in(school) == ["clms-1.0.1-amd64.zip"]


def test_a_name_on_a_drive_that_is_as_long_as_it_can_be(desk: Desk, school: Any, tmp_path: Path) -> None:
    desk.bundle("1.0.1").rename(tmp_path / f"usb/{'€' * 83}.zip")
    assert bundle_finder.look_for_files(school).problems == []
    assert versions(school) == ["1.0.1"]


def test_a_server_that_takes_long_for_each_file(
    school: Any, file_server: FileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is looked at for a while only."""
    (file_server.folder / "index.html").write_text('<a href="a.zip">a</a> <a href="b.zip">b</a>')
    monkeypatch.setattr(bundle_finder, "_SERVER_SECONDS", 0)
    assert bundle_finder.look_for_files(school).problems == []
    assert file_server.asked == ["/"]
