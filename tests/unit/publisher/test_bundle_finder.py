# SPDX-License-Identifier: GPL-3.0-or-later
"""Bundles where people put them: on drives, and on a file server with a page that lists a folder."""

from __future__ import annotations

import functools
import os
import ssl
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from werkzeug.serving import make_ssl_devcert

from ansible_collections.clms.update.plugins.module_utils.adapters import bundle_finder, offline
from ansible_collections.clms.update.plugins.module_utils.adapters.bundle_server import Served
from ansible_collections.clms.update.plugins.module_utils.disk import Mount

from .desk import Desk, flip, versions


def test_found_on_a_drive_and_looked_at_once(
    desk: Desk, school: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stick = tmp_path / "usb/librarian/stick"
    stick.mkdir(parents=True)
    desk.bundle("1.0.1").rename(stick / "copy of clms.zip")
    (stick / "holiday.zip").write_bytes(b"PK pictures")
    (stick / "linked.zip").symlink_to(desk.vendor.root)
    problems = bundle_finder.look_for_files(school)
    assert [(error.code, Path(str(error.values["path"])).name) for error in problems] == [
        ("BUNDLE_REFUSED", "holiday.zip")
    ]
    assert versions(school) == ["1.0.1"]
    monkeypatch.setattr(bundle_finder, "import_file", lambda *_, **__: pytest.fail("it was looked at twice"))
    assert bundle_finder.look_for_files(school) == []


@pytest.mark.parametrize("content", ["", "[]", "{", '{"x": 1}', '{"x": [1, 2, 3]}', '{"x": ["y", "z"]}'])
def test_what_was_looked_at_is_forgotten(desk: Desk, school: Any, tmp_path: Path, content: str) -> None:
    path = offline.folder_of(school) / "looked-at.json"
    path.parent.mkdir()
    path.write_text(content)
    desk.bundle("1.0.1").rename(tmp_path / "usb/clms.zip")
    assert bundle_finder.look_for_files(school) == []
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
    assert bundle_finder.look_for_files(school) == []
    assert versions(school) == ["1.0.1"]
    assert left_in(school) == ["clms-1.0.1-amd64.zip"]
    assert file_server.asked == ["/", "/clms%201.0.1%20%28new%29.zip"]
    offline.folder_of(school).joinpath("clms-1.0.1-amd64.zip").unlink()
    assert bundle_finder.look_for_files(school) == []
    assert versions(school) == [], "it was taken in twice"


def test_a_file_server_with_something_else(desk: Desk, school: Any, file_server: FileServer) -> None:
    path = file_server.folder / "clms.zip"
    desk.bundle("1.0.1").rename(path)
    flip(path, 0.5)
    (problem,) = bundle_finder.look_for_files(school)
    assert (problem.code, problem.values["path"]) == ("BUNDLE_REFUSED", f"{file_server.address}/clms.zip")
    assert bundle_finder.look_for_files(school) == []
    assert left_in(school) == []
    flip(path, 0.5)  # as good as new, and of another time
    os.utime(path, (1, 1))
    assert bundle_finder.look_for_files(school) == []
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
    assert bundle_finder.look_for_files(school) == []
    assert file_server.asked == ["/"]


@pytest.mark.parametrize("page", ["<" * 900_000, "<a href='" * 100_000, "href=" * 200_000], ids=["<", "a", "href"])
def test_a_page_that_would_keep_a_parser_busy(school: Any, file_server: FileServer, page: str) -> None:
    (file_server.folder / "index.html").write_text(page)
    assert bundle_finder.look_for_files(school) == []
    assert file_server.asked == ["/"]


def test_a_link_to_nothing(school: Any, file_server: FileServer) -> None:
    (file_server.folder / "index.html").write_text('<a href="clms.zip">gone</a>')
    assert codes(bundle_finder.look_for_files(school)) == ["FILE_SERVER"]


def test_a_file_server_that_is_silent_says_so_once(
    desk: Desk, school: Any, file_server: FileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent = "https://localhost:1"
    school.bundle_servers = (silent, file_server.address)
    desk.bundle("1.0.1").rename(file_server.folder / "clms.zip")
    (problem,) = bundle_finder.look_for_files(school)
    assert (problem.code, problem.values["url"]) == ("FILE_SERVER", f"{silent}/")
    assert versions(school) == ["1.0.1"], "one server is in the way of the other"
    assert bundle_finder.look_for_files(school) == []


def test_a_file_server_of_somebody_else(school: Any, file_server: FileServer) -> None:
    school.bundle_ca_file = None
    (problem,) = bundle_finder.look_for_files(school)
    assert (problem.code, "not trusted" in problem.happened) == ("FILE_SERVER", True)
    assert file_server.asked == []


def test_no_room_for_a_file(desk: Desk, school: Any, file_server: FileServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not fetched, and looked at again when there is room."""
    path = desk.bundle("1.0.1")
    with monkeypatch.context() as patched:
        free = 2 * path.stat().st_size - 1
        patched.setattr(offline, "mount_of", lambda _: Mount(1, "/srv", free))
        path.rename(file_server.folder / "clms.zip")
        (problem,) = bundle_finder.look_for_files(school)
        assert (problem.code, "1 bytes missing" in problem.happened) == ("DISK_TOO_SMALL", True), problem
        assert left_in(school) == []
    assert bundle_finder.look_for_files(school) == []
    assert versions(school) == ["1.0.1"]


def test_no_room_for_a_file_on_a_drive(
    desk: Desk, school: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = desk.bundle("1.0.1").rename(tmp_path / "usb/clms.zip")
    with monkeypatch.context() as patched:
        patched.setattr(offline, "mount_of", lambda _: Mount(1, "/srv", path.stat().st_size - 1))
        for _ in range(2):
            assert codes(bundle_finder.look_for_files(school)) == ["DISK_TOO_SMALL"]
    assert bundle_finder.look_for_files(school) == []
    assert versions(school) == ["1.0.1"]


def write_partly(served: Any, path: Path) -> None:
    path.write_bytes(b"half of it")
    raise OSError(28, "No space left on device")


def test_the_disk_fills_up_meanwhile(
    desk: Desk, school: Any, file_server: FileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.bundle("1.0.1").rename(file_server.folder / "clms.zip")
    monkeypatch.setattr(Served, "save", write_partly)
    (problem,) = bundle_finder.look_for_files(school)
    assert (problem.code, "No space left" in problem.happened) == ("BUNDLE_MISSING", True)
    assert left_in(school) == []
