# SPDX-License-Identifier: GPL-3.0-or-later
"""Files of the vendor that people bring."""

from __future__ import annotations

import io
import os
from collections import namedtuple
from pathlib import Path

import pytest
from werkzeug.test import TestResponse

from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from webui.school import uploads
from webui.school.uploads import UploadRequest

from .conftest import Browser, FakeAgent

CONTENT = os.urandom(100_000)  # more than other forms may have
Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def folder(agent: FakeAgent, tmp_path: Path) -> Path:
    """Where uploads are put."""
    agent.folder = tmp_path / "uploads"
    agent.folder.mkdir()
    return agent.folder


def bring(browser: Browser, content: bytes | None = CONTENT, *, token: str | None = None) -> TestResponse:
    file = {} if content is None else {"file": (io.BytesIO(content), "../../etc/clms-1.0.1-amd64.zip")}
    page = browser.get("/files")
    found = page.split('name="csrf_token" value="')[1].split('"')[0] if token is None else token
    return browser.client.post(
        "/files",
        base_url=browser.base,
        data={"csrf_token": found, **file},
        headers={"Referer": f"{browser.base}/files"},
    )


def test_a_file_is_taken_in(signed_in: Browser, agent: FakeAgent, folder: Path) -> None:
    assert bring(signed_in).location == "/files"
    assert agent.taken == [CONTENT]
    (name,) = [request["file"] for request in agent.did("import")]
    assert name.startswith("upload-"), "the browser has named it"
    assert list(folder.iterdir()) == []
    assert "Version 1.0.1 is on this server now" in signed_in.get("/files")


def test_what_came_to_a_page_that_was_killed_is_removed_and_nothing_else(
    signed_in: Browser, agent: FakeAgent, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left, coming, other = (folder / name for name in ("upload-0a.zip", "upload-0b.zip", "clms-1.0.1-amd64.zip"))
    for path in (left, coming, other):
        path.touch()
    monkeypatch.setattr(uploads, "_coming", {coming.name: 0})
    assert bring(signed_in).location == "/files"
    assert set(folder.iterdir()) == {coming, other}
    assert uploads._coming == {coming.name: 0}


def test_what_is_there_is_listed(signed_in: Browser, agent: FakeAgent, folder: Path) -> None:
    assert "There is none." in signed_in.get("/files")
    agent.files = [
        {"version": "1.0.1", "size": 12_000_000, "file": "clms-1.0.1-amd64.zip", "created": "2026-11-24T10:11:12Z"}
    ]
    text = signed_in.get("/files")
    assert "clms-1.0.1-amd64.zip" in text
    assert "Tue 24 November 2026" in text


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ClmsError("BUNDLE_REFUSED", path="upload", detail="it is no file of the vendor"), "no file of the vendor"),
        (ClmsError("AGENT_SILENT", path="/run/x", detail="y"), "systemctl start"),
    ],
)
def test_a_refusal_stands_beside_the_field_and_the_file_is_gone(
    signed_in: Browser, agent: FakeAgent, folder: Path, error: ClmsError, words: str
) -> None:
    agent.refuses["import"] = error
    answer = bring(signed_in)
    assert (answer.status_code, words in answer.text) == (422, True)
    assert list(folder.iterdir()) == []


def test_a_full_disk_is_noticed_before_anything_is_written(
    signed_in: Browser, agent: FakeAgent, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = uploads.RESERVE_BYTES + 190_000
    monkeypatch.setattr(uploads.shutil, "disk_usage", lambda _: Usage(10**12, 0, free))
    monkeypatch.setattr(UploadRequest, "_get_file_stream", lambda *_, **__: pytest.fail("it was written"))
    answer = bring(signed_in)
    assert (answer.status_code, "not enough free space" in answer.text) == (507, True)
    assert agent.did("import") == []
    assert answer.request.environ["wsgi.input"].read() == b"", "a browser that is sending still reads no answer"


def test_a_disk_that_fills_up_meanwhile(
    signed_in: Browser, agent: FakeAgent, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full(io.FileIO):
        def write(self, data: object, /) -> int:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(uploads.os, "fdopen", lambda descriptor, mode: Full(descriptor, "w+"))
    answer = bring(signed_in)
    assert (answer.status_code, "No space left" in answer.text) == (507, True)
    assert answer.request.environ["wsgi.input"].read() == b""
    assert (list(folder.iterdir()), agent.did("import")) == ([], [])


@pytest.mark.parametrize("size", [None, uploads.MOST_BYTES + 1])
def test_a_size_that_cannot_be(folder: Path, size: int | None) -> None:
    with pytest.raises(ClmsError) as caught:
        uploads.reserve_room(folder, "upload-1.zip", size)
    assert caught.value.code == "REQUEST_TOO_LARGE"


def test_no_file(signed_in: Browser, agent: FakeAgent, folder: Path) -> None:
    assert "No file came" in bring(signed_in, None).text
    assert agent.did("import") == []


def test_a_folder_that_is_not_there(signed_in: Browser, agent: FakeAgent) -> None:
    assert "cannot be put into the folder" in bring(signed_in).text


@pytest.mark.parametrize("token", ["", "forged"])
def test_a_file_that_another_site_sends(signed_in: Browser, agent: FakeAgent, folder: Path, token: str) -> None:
    assert bring(signed_in, token=token).status_code == 400
    assert (list(folder.iterdir()), agent.did("import")) == ([], [])


def test_nobody_brings_files_before_signing_in(browser: Browser, agent: FakeAgent, folder: Path) -> None:
    answer = browser.client.post(
        "/files", base_url=browser.base, data={"file": (io.BytesIO(CONTENT), "clms.zip")},
        headers={"Referer": f"{browser.base}/files"},
    )  # fmt: skip
    assert answer.status_code == 302
    assert (list(folder.iterdir()), agent.did("import")) == ([], [])


def test_other_forms_take_no_files(signed_in: Browser, folder: Path) -> None:
    answer = signed_in.client.post(
        "/check", base_url=signed_in.base, data={"file": (io.BytesIO(CONTENT), "clms.zip")},
        headers={"Referer": f"{signed_in.base}/"},
    )  # fmt: skip
    assert answer.status_code in (400, 413)
    assert list(folder.iterdir()) == []
