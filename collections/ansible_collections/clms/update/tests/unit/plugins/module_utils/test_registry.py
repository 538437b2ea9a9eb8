# SPDX-License-Identifier: GPL-3.0-or-later
"""The registry client against a fake registry."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from ansible_collections.clms.update.plugins.module_utils.https import Answer, HttpsError
from ansible_collections.clms.update.plugins.module_utils.registry import Configuration, Registry, latest

BASE = "https://registry.test:5000/v2"
LAYER = "sha256:" + "1" * 64
V2 = "application/vnd.docker.distribution.manifest.v2+json"


def digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


CONFIGURATION = json.dumps({"architecture": "amd64", "os": "linux", "rootfs": {"diff_ids": [LAYER]}}).encode()
DOCUMENT = {"schemaVersion": 2, "mediaType": V2, "config": {"digest": digest(CONFIGURATION)}}
DOCUMENT["layers"] = [{"digest": LAYER, "size": 5}]
MANIFEST = json.dumps(DOCUMENT).encode()
DIGEST = digest(MANIFEST)
BY_DIGEST = f"{BASE}/clms/backend/manifests/{DIGEST}"


class FakeHttp:
    """Answers each address with what is listed for it, the last answer again and again."""

    def __init__(self, answers: Mapping[str, Any]) -> None:
        self.answers = {url: list(found) if isinstance(found, list) else [found] for url, found in answers.items()}
        self.asked: list[tuple[str, str | None]] = []

    def get(self, url: str, headers: Mapping[str, str], limit: int) -> Answer:
        """As of an HttpsClient."""
        self.asked.append((url, headers.get("Authorization")))
        listed = self.answers.get(url, [404])
        found = listed.pop(0) if len(listed) > 1 else listed[0]
        if isinstance(found, Exception):
            raise found
        if isinstance(found, int):
            return Answer(found, {}, b"")
        return found if isinstance(found, Answer) else Answer(200, {}, found)


@pytest.fixture
def login(tmp_path: Path) -> Path:
    path = tmp_path / "login.json"
    path.touch(mode=0o600)
    path.write_text('{"username": "school", "password": "secret"}')
    return path


BASIC = "Basic " + base64.b64encode(b"school:secret").decode()


def registry(answers: Mapping[str, Any], credentials: Path | None = None) -> tuple[Registry, FakeHttp, list[float]]:
    http, waited = FakeHttp(answers), []
    return Registry("registry.test:5000", http=http, credentials=credentials, sleep=waited.append), http, waited


def refused(call: Callable[[], object]) -> ClmsError:
    with pytest.raises(ClmsError) as caught:
        call()
    return caught.value


def test_a_manifest_and_its_configuration() -> None:
    there, _http, _waited = registry(
        {BY_DIGEST: MANIFEST, f"{BASE}/clms/backend/blobs/{digest(CONFIGURATION)}": CONFIGURATION}
    )
    manifest = there.verify("clms/backend", DIGEST, digest(CONFIGURATION))
    assert (manifest.digest, manifest.config, manifest.layers) == (DIGEST, digest(CONFIGURATION), (LAYER,))
    assert there.configuration("clms/backend", manifest) == Configuration("amd64", (LAYER,))


def changed(**changes: Any) -> bytes:
    return json.dumps({**DOCUMENT, **changes}).encode()


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(changed(mediaType="application/vnd.docker.distribution.manifest.list.v2+json"), id="list"),
        pytest.param(changed(mediaType=None, manifests=[], config=None), id="index without media type"),
        pytest.param(changed(config={"digest": "sha256:short"}), id="config digest is none"),
        pytest.param(changed(layers="none"), id="layers are no list"),
        pytest.param(changed(layers=[{"digest": 5}]), id="layer digest is no text"),
        pytest.param(b"[]", id="no mapping"),
        pytest.param(b"\xff", id="no text"),
        pytest.param(b"[" * 50_000, id="nested too deeply"),
    ],
)
def test_a_manifest_that_makes_no_sense(body: bytes) -> None:
    there, _http, _waited = registry({f"{BASE}/clms/backend/manifests/{digest(body)}": body})
    assert refused(lambda: there.manifest("clms/backend", digest(body))).code == "IMAGE_MISMATCH"


def test_a_registry_that_sends_another_manifest() -> None:
    there, _http, _waited = registry({BY_DIGEST: changed(extra=1)})
    error = refused(lambda: there.manifest("clms/backend", DIGEST))
    assert error.code == "IMAGE_MISMATCH"
    assert "sent something else" in error.happened


def test_another_configuration_than_signed() -> None:
    there, _http, _waited = registry({BY_DIGEST: MANIFEST})
    assert refused(lambda: there.verify("clms/backend", DIGEST, LAYER)).code == "IMAGE_MISMATCH"


@pytest.mark.parametrize("wrong", ["1.0.1", "", "sha512:" + "0" * 128, DIGEST.upper(), "../" + DIGEST])
def test_only_digests_are_digests(wrong: str) -> None:
    there, http, _waited = registry({})
    assert refused(lambda: there.manifest("clms/backend", wrong)).code == "IMAGE_MISMATCH"
    assert http.asked == []


LOST = HttpsError("the connection broke")


@pytest.mark.parametrize(
    ("answers", "code", "waits"),
    [
        pytest.param([MANIFEST], None, [], id="at once"),
        pytest.param([LOST, MANIFEST], None, [1], id="second try"),
        pytest.param([LOST, 503, 429, MANIFEST], None, [1, 2, 4], id="fourth try"),
        pytest.param([LOST], "REGISTRY_UNREACHABLE", [1, 2, 4], id="never"),
        pytest.param([500], "REGISTRY_UNREACHABLE", [1, 2, 4], id="always 500"),
        pytest.param([404], "REGISTRY_DIGEST_MISSING", [], id="missing"),
        pytest.param([403], "REGISTRY_LOGIN", [], id="forbidden"),
        pytest.param([418], "REGISTRY_UNREACHABLE", [], id="something else"),
        pytest.param([401], "REGISTRY_UNREACHABLE", [], id="login of an unknown kind"),
    ],
)
def test_retries_and_statuses(answers: list[Any], code: str | None, waits: list[float]) -> None:
    there, _http, waited = registry({BY_DIGEST: answers})
    if code is None:
        assert there.manifest("clms/backend", DIGEST).digest == DIGEST
    else:
        assert refused(lambda: there.manifest("clms/backend", DIGEST)).code == code
    assert waited == waits


def challenge(text: str) -> Answer:
    return Answer(401, {"www-authenticate": text}, b"")


BEARER = 'Bearer realm="https://auth.test/token",service="registry.test",scope="repository:clms/backend:pull"'
TOKEN_URL = "https://auth.test/token?service=registry.test&scope=repository%3Aclms%2Fbackend%3Apull"


def test_basic_login_is_sent_only_when_asked_for_and_then_kept(login: Path) -> None:
    there, http, _waited = registry({BY_DIGEST: [challenge('Basic realm="x"'), MANIFEST]}, login)
    there.manifest("clms/backend", DIGEST)
    there.manifest("clms/backend", DIGEST)
    assert [sent for _url, sent in http.asked] == [None, BASIC, BASIC]


@pytest.mark.parametrize("field", ["token", "access_token"])
def test_bearer_login(field: str, login: Path) -> None:
    token = json.dumps({field: "abc", "expires_in": 300}).encode()
    there, http, _waited = registry({BY_DIGEST: [challenge(BEARER), MANIFEST], TOKEN_URL: token}, login)
    there.manifest("clms/backend", DIGEST)
    assert http.asked == [(BY_DIGEST, None), (TOKEN_URL, BASIC), (BY_DIGEST, "Bearer abc")]


def test_bearer_without_a_login_is_anonymous() -> None:
    there, http, _waited = registry({BY_DIGEST: [challenge(BEARER), MANIFEST], TOKEN_URL: b'{"token": "abc"}'})
    there.manifest("clms/backend", DIGEST)
    assert http.asked[1] == (TOKEN_URL, None)


@pytest.mark.parametrize(
    ("challenged", "token", "code"),
    [
        pytest.param('Basic realm="x"', 200, "REGISTRY_LOGIN", id="wrong password"),
        pytest.param(BEARER, 401, "REGISTRY_LOGIN", id="token refused"),
        pytest.param(BEARER, b"{}", "REGISTRY_UNREACHABLE", id="no token in the answer"),
        pytest.param(BEARER, b'{"token": "abc"}', "REGISTRY_LOGIN", id="token is not enough"),
        pytest.param('Bearer service="x"', 200, "REGISTRY_UNREACHABLE", id="no realm"),
        pytest.param("Negotiate", 200, "REGISTRY_UNREACHABLE", id="unknown scheme"),
    ],
)
def test_a_login_that_fails(challenged: str, token: Any, code: str, login: Path) -> None:
    there, _http, _waited = registry({BY_DIGEST: challenge(challenged), TOKEN_URL: token}, login)
    error = refused(lambda: there.manifest("clms/backend", DIGEST))
    assert error.code == code
    assert "secret" not in str(error)


def test_basic_login_without_credentials() -> None:
    there, _http, _waited = registry({BY_DIGEST: challenge('Basic realm="x"')})
    assert refused(lambda: there.manifest("clms/backend", DIGEST)).code == "REGISTRY_LOGIN"


TAGS = f"{BASE}/clms/backend/tags/list?n=1000"


def tags_answer(tags: Any, link: str = "") -> Answer:
    return Answer(200, {"link": link} if link else {}, json.dumps({"name": "clms/backend", "tags": tags}).encode())


def test_tags_over_several_pages() -> None:
    following = f"{BASE}/clms/backend/tags/list?n=1000&last=b"
    there, _http, _waited = registry(
        {
            TAGS: tags_answer(["a", "b"], '</v2/clms/backend/tags/list?n=1000&last=b>; rel="next"'),
            following: tags_answer(["c"]),
        }
    )
    assert there.tags("clms/backend") == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        pytest.param(404, [], id="unknown repository"),
        pytest.param(tags_answer(None), [], id="all tags deleted"),
        pytest.param(tags_answer([1]), "REGISTRY_UNREACHABLE", id="tag is no text"),
        pytest.param(b"<html>", "REGISTRY_UNREACHABLE", id="a web page"),
        pytest.param(tags_answer(["a"], "<https://other.test/v2/x>"), "REGISTRY_UNREACHABLE", id="other host"),
        pytest.param(tags_answer(["a"], f"<{TAGS}>"), "REGISTRY_UNREACHABLE", id="never ends"),
    ],
)
def test_lists_of_tags(answer: Any, expected: Any) -> None:
    there, _http, _waited = registry({TAGS: answer})
    if isinstance(expected, list):
        assert there.tags("clms/backend") == expected
    else:
        assert refused(lambda: there.tags("clms/backend")).code == expected


def test_the_digest_of_a_tag_is_computed_here() -> None:
    there, _http, _waited = registry({f"{BASE}/clms/backend/manifests/1.0.1": MANIFEST})
    assert there.digest("clms/backend", "1.0.1") == DIGEST
    assert refused(lambda: there.digest("clms/backend", "../1")).code == "REGISTRY_DIGEST_MISSING"


@pytest.mark.parametrize(
    "address", ["https://registry.test", "registry.test/x", "", "a b", "user@host", "host:port", "-"]
)
def test_addresses_that_are_none(address: str) -> None:
    assert refused(lambda: Registry(address, http=FakeHttp({}))).code == "SERVER_ADDRESS"


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ([], None),
        (["latest", "main"], None),
        (["1.0.9", "1.0.10", "latest"], "1.0.10"),
        (["1.0.0", "1.1.0-rc.1"], "1.0.0"),
        (["1.1.0-rc.1", "1.1.0-rc.2"], "1.1.0-rc.2"),
    ],
)
def test_latest(tags: list[str], expected: str | None) -> None:
    assert latest(tags) == expected
