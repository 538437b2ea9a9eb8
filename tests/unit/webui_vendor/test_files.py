# SPDX-License-Identifier: GPL-3.0-or-later
"""The repository as files: for clients that want parts, caches in front, and people who want other files."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from .conftest import PACKAGE, Server, Vendor, problem_of

PACKAGE_PATH = f"/targets/packages/{hashlib.sha256(PACKAGE).hexdigest()}.clms-1.0.1.zip"
FOREVER = "public, max-age=31536000, immutable"


@pytest.mark.parametrize(
    ("path", "media_type", "cache"),
    [
        (PACKAGE_PATH, "application/octet-stream", FOREVER),
        ("/metadata/1.root.json", "application/json", FOREVER),
        ("/metadata/3.targets.json", "application/json", FOREVER),
        ("/metadata/3.snapshot.json", "application/json", FOREVER),
        ("/metadata/timestamp.json", "application/json", "public, no-cache"),
    ],
)
def test_a_file(server: Server, vendor: Vendor, path: str, media_type: str, cache: str) -> None:
    content = (vendor.served / path[1:]).read_bytes()
    response = server.ask(path)
    assert (response.status_code, response.data, response.mimetype) == (200, content, media_type)
    assert response.headers["Cache-Control"] == cache
    assert response.headers["Accept-Ranges"] == "bytes"
    assert response.headers["ETag"] == f'"{hashlib.sha256(content).hexdigest()}"'
    modified = response.headers["Last-Modified"]

    head = server.ask(path, "HEAD")
    assert (head.status_code, head.data, head.headers["Content-Length"]) == (200, b"", str(len(content)))
    for headers in ({"If-None-Match": response.headers["ETag"]}, {"If-Modified-Since": modified}):
        again = server.ask(path, headers=headers)
        assert (again.status_code, again.data) == (304, b"")
        assert again.headers["Cache-Control"] == cache
    assert server.ask(path, headers={"If-None-Match": '"other"'}).status_code == 200


@pytest.mark.parametrize("path", [PACKAGE_PATH, "/metadata/timestamp.json"])
@pytest.mark.parametrize(("wanted", "part"), [("bytes=0-3", slice(0, 4)), ("bytes=5-", slice(5, None))])
def test_a_part(server: Server, vendor: Vendor, path: str, wanted: str, part: slice) -> None:
    content = (vendor.served / path[1:]).read_bytes()
    response = server.ask(path, headers={"Range": wanted})
    assert (response.status_code, response.data) == (206, content[part])
    assert response.headers["Content-Range"].endswith(f"/{len(content)}")
    etag = server.ask(path).headers["ETag"]
    assert server.ask(path, headers={"Range": wanted, "If-Range": etag}).status_code == 206
    assert server.ask(path, headers={"Range": wanted, "If-Range": '"other"'}).status_code == 200


def test_a_part_that_is_not_there(server: Server) -> None:
    response = server.ask(PACKAGE_PATH, headers={"Range": "bytes=1000000-"})
    problem_of(response, 416, "REQUEST_RANGE")


@pytest.mark.parametrize(
    "path",
    [
        "/metadata/",
        "/metadata",
        "/targets/",
        "/targets/packages",
        "/targets/packages/",
        "/metadata/99.root.json",
        "/metadata/root.json",
        "/metadata/.timestamp.json.part",
        "/metadata/../../home/metadata/timestamp.json",
        "/metadata/..%2f..%2fserver.db",
        "/targets/../metadata/timestamp.json",
        "/targets/%2e%2e/metadata/timestamp.json",
        "/targets/packages/../../../server.db",
        "/targets//etc/passwd",
        "/targets/packages/clms-1.0.1.zip",
        "/targets/packages/" + "0" * 64 + ".clms-1.0.1.zip",
        "/targets/packages/" + "0" * 64 + ".a%00b",
        "/metadata/timestamp.json%00",
        "/metadata/timestamp.json%0a",
    ],
)
def test_what_is_not_served(server: Server, path: str) -> None:
    response = server.ask(path)
    problem_of(response, 404, "REQUEST_PATH")


@pytest.mark.parametrize("place", ["file", "folder", "metadata", "folder of files"])
def test_links_are_not_followed(server: Server, vendor: Vendor, tmp_path: Path, place: str) -> None:
    name = "0" * 64 + ".secret.zip"
    secret = tmp_path / "secrets"
    secret.mkdir()
    (secret / name).write_text("secret")
    path = f"/targets/packages/{name}"
    if place == "file":
        (vendor.served / path[1:]).symlink_to(secret / name)
    elif place == "folder":
        path = f"/targets/linked/{name}"
        (vendor.served / "targets/linked").symlink_to(secret)
    elif place == "metadata":
        path = "/metadata/99.root.json"
        (vendor.served / path[1:]).symlink_to(secret / name)
    else:
        (vendor.served / path[1:]).mkdir()
    problem_of(server.ask(path), 404, "REQUEST_PATH")


def test_the_folder_itself_may_be_a_link(server: Server, vendor: Vendor, tmp_path: Path) -> None:
    vendor.served.rename(tmp_path / "moved")
    vendor.served.symlink_to(tmp_path / "moved")
    assert server.ask("/metadata/timestamp.json").status_code == 200
