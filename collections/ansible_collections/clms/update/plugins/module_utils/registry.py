# SPDX-License-Identifier: GPL-3.0-or-later
"""Questions to an image registry over HTTPS (Docker Registry HTTP API v2).

An image is always asked for by digest and its manifest hashed here: what a registry says about a tag, or about
the digest of what it sends, is not believed.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote, urlencode, urljoin, urlsplit

from .errors import ClmsError
from .fields import FieldError, Fields
from .https import Answer, HttpsError
from .secret_file import Credentials, read_credentials
from .version import Version

SINGLE_IMAGE_TYPES = (
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
)
_ACCEPT = ", ".join(SINGLE_IMAGE_TYPES)
_DIGEST = r"sha256:[0-9a-f]{64}"
_LIMIT = 4 * 1024 * 1024
_PAGES = 100
ATTEMPTS = 4
"""How often a request is sent by default; the waits between are 1, 2, 4 … seconds."""


class Http(Protocol):
    """What is needed of :class:`.https.HttpsClient`."""

    def get(self, url: str, headers: Mapping[str, str], limit: int) -> Answer:
        """A whole answer; raises HttpsError or ClmsError."""


@dataclass(frozen=True)
class Manifest:
    """The verified manifest of one image."""

    digest: str
    config: str
    """digest of the image configuration"""
    layers: tuple[str, ...]
    """digests of the compressed layers as they lie in the registry, lowest first"""
    media_type: str


@dataclass(frozen=True)
class Configuration:
    """What a verified image configuration says."""

    architecture: str
    layers: tuple[str, ...]
    """digests of the uncompressed layers (``RootFS.Layers``), lowest first"""


class Registry:
    """One registry, and the login this school has there."""

    def __init__(
        self,
        address: str,
        *,
        http: Http,
        credentials: Path | None = None,
        attempts: int = ATTEMPTS,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Reads the login but does not touch the network.

        :param address: ``host`` or ``host:port``
        :param credentials: secret file with ``{"username": …, "password": …}``
        :param attempts: how often a request is sent before the registry counts as unreachable
        :raises ClmsError: SERVER_ADDRESS, SECRET_FILE
        """
        if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?(:\d{1,5})?", address):
            raise ClmsError("SERVER_ADDRESS", url=address[:200], detail="it must be like registry.example.org:5000")
        self._address = address
        self._base = f"https://{address}/v2/"
        self._http = http
        self._credentials: Credentials | None = None if credentials is None else read_credentials(credentials)
        self._attempts = attempts
        self._sleep = sleep
        self._authorization: str | None = None

    def check_answers(self) -> None:
        """Make sure that somebody is there, with one question and no login.

        :raises ClmsError: REGISTRY_UNREACHABLE
        """
        try:
            self._http.get(self._base, {}, _LIMIT)
        except HttpsError as error:
            raise self._unreachable(str(error)) from None

    def tags(self, repository: str) -> list[str]:
        """All tags of a repository, in no order; empty when the registry does not know the repository.

        :raises ClmsError: REGISTRY_UNREACHABLE, REGISTRY_LOGIN
        """
        found: list[str] = []
        url = f"{self._url(repository, 'tags', 'list')}?n=1000"
        for _page in range(_PAGES):
            answer = self._ask(url)
            if answer.status == 404:
                return []
            try:
                fields = Fields(json.loads(answer.body))
                found += fields.texts("tags", default=[])
            except (ValueError, RecursionError):
                raise self._unreachable("its list of tags cannot be read") from None
            following = re.match(r"<([^>]+)>", answer.headers.get("link", ""))
            if not following:
                return found
            url = urljoin(url, following.group(1))
            if urlsplit(url)[:2] != urlsplit(self._base)[:2]:
                raise self._unreachable("its list of tags goes on at another address")
        raise self._unreachable("its list of tags has no end")

    def digest(self, repository: str, tag: str) -> str:
        """The digest of the single-image manifest that ``tag`` names right now; never a proof of anything.

        :raises ClmsError: REGISTRY_UNREACHABLE, REGISTRY_LOGIN, REGISTRY_DIGEST_MISSING
        """
        answer = self._found(self._url(repository, "manifests", tag), f"{repository}:{tag}")
        return _hash(answer.body)

    def manifest(self, repository: str, digest: str) -> Manifest:
        """The manifest with exactly this digest.

        :raises ClmsError: REGISTRY_UNREACHABLE, REGISTRY_LOGIN, REGISTRY_DIGEST_MISSING, IMAGE_MISMATCH
        """
        image = f"{repository}@{digest}"
        if not re.fullmatch(_DIGEST, digest):
            raise ClmsError("IMAGE_MISMATCH", image=image, detail="that is no digest")
        body = self._by_digest("manifests", repository, digest)
        try:
            fields = Fields(json.loads(body))
            media_type = fields.text("mediaType", limit=200, default=SINGLE_IMAGE_TYPES[1])
            if media_type not in SINGLE_IMAGE_TYPES:
                raise FieldError("it is not the manifest of a single image")
            return Manifest(
                digest=digest,
                config=fields.sub("config").text("digest", pattern=_DIGEST),
                layers=tuple(layer.text("digest", pattern=_DIGEST) for layer in fields.each("layers")),
                media_type=media_type,
            )
        except (ValueError, RecursionError) as error:
            raise ClmsError("IMAGE_MISMATCH", image=image, detail=str(error)[:200]) from None

    def verify(self, repository: str, digest: str, config: str | None) -> Manifest:
        """The manifest with this digest, which must name this image configuration unless that is None.

        :raises ClmsError: as :meth:`manifest`
        """
        manifest = self.manifest(repository, digest)
        if config not in (None, manifest.config):
            detail = f"its configuration is {manifest.config} instead of {config}"
            raise ClmsError("IMAGE_MISMATCH", image=f"{repository}@{digest}", detail=detail)
        return manifest

    def configuration(self, repository: str, manifest: Manifest) -> Configuration:
        """The image configuration that a manifest names.

        :raises ClmsError: as :meth:`manifest`
        """
        body = self._by_digest("blobs", repository, manifest.config)
        try:
            fields = Fields(json.loads(body))
            return Configuration(
                architecture=fields.text("architecture", limit=40),
                layers=tuple(fields.sub("rootfs").texts("diff_ids", pattern=_DIGEST)),
            )
        except (ValueError, RecursionError) as error:
            image = f"{repository}@{manifest.digest}"
            raise ClmsError("IMAGE_MISMATCH", image=image, detail=str(error)[:200]) from None

    def _by_digest(self, kind: str, repository: str, digest: str) -> bytes:
        image = f"{repository}@{digest}"
        body = self._found(self._url(repository, kind, digest), image).body
        if _hash(body) != digest:
            detail = f"the registry sent something else ({_hash(body)})"
            raise ClmsError("IMAGE_MISMATCH", image=image, detail=detail)
        return body

    def _url(self, repository: str, kind: str, name: str) -> str:
        return f"{self._base}{quote(repository)}/{kind}/{quote(name, safe=':')}"

    def _found(self, url: str, image: str) -> Answer:
        answer = self._ask(url)
        if answer.status == 404:
            raise ClmsError("REGISTRY_DIGEST_MISSING", registry=self._address, image=image)
        return answer

    def _ask(self, url: str) -> Answer:
        """An answer of status 200 or 404, after logging in where the registry asks for it."""
        answer = self._send(url, self._headers())
        if answer.status == 401:
            self._authorization = self._login(answer.headers.get("www-authenticate", ""))
            answer = self._send(url, self._headers())
        if answer.status in (401, 403):
            raise ClmsError("REGISTRY_LOGIN", registry=self._address)
        if answer.status not in (200, 404):
            raise self._unreachable(f"it answered {answer.status}")
        return answer

    def _headers(self) -> dict[str, str]:
        return {"Accept": _ACCEPT, **({"Authorization": self._authorization} if self._authorization else {})}

    def _send(self, url: str, headers: Mapping[str, str]) -> Answer:
        """Send with retries: a lost connection and a busy or failing server may recover."""
        for attempt in range(self._attempts):
            if attempt:
                self._sleep(2.0 ** (attempt - 1))
            try:
                answer = self._http.get(url, headers, _LIMIT)
            except HttpsError as error:
                problem = str(error)
                continue
            if answer.status != 429 and answer.status < 500:
                return answer
            problem = f"it answered {answer.status}"
        raise self._unreachable(problem)

    def _login(self, challenge: str) -> str:
        """The ``Authorization`` header that answers a challenge.

        :raises ClmsError: REGISTRY_LOGIN, REGISTRY_UNREACHABLE, SERVER_ADDRESS (a token service without TLS)
        """
        scheme, _space, rest = challenge.partition(" ")
        basic = None if self._credentials is None else _basic(self._credentials)
        if scheme.lower() == "basic":
            if basic is None:
                raise ClmsError("REGISTRY_LOGIN", registry=self._address)
            return basic
        parameters = dict(re.findall(r'(\w+)="([^"]*)"', rest))
        if scheme.lower() != "bearer" or "realm" not in parameters:
            raise self._unreachable("it asks for a kind of login that is not known")
        # The token service may have another name than the registry, as at all large ones. Its address comes from
        # the registry itself, over verified TLS, which could ask for the password directly as well.
        query = urlencode({name: parameters[name] for name in ("service", "scope") if name in parameters})
        answer = self._send(f"{parameters['realm']}?{query}", {"Authorization": basic} if basic else {})
        if answer.status != 200:
            raise ClmsError("REGISTRY_LOGIN", registry=self._address)
        try:
            decoded: Any = json.loads(answer.body)
            fields = Fields(decoded)
            token = fields.text("token", limit=16_384, default=None) or fields.text("access_token", limit=16_384)
        except (ValueError, RecursionError):
            raise self._unreachable("its token cannot be read") from None
        return f"Bearer {token}"

    def _unreachable(self, detail: str) -> ClmsError:
        return ClmsError("REGISTRY_UNREACHABLE", registry=self._address, detail=detail)


def latest(tags: list[str]) -> str | None:
    """The newest of the tags that are versions; a pre-release only counts when there is nothing else."""
    versions = []
    for tag in tags:
        try:
            versions.append(Version(tag))
        except ValueError:
            continue
    finished = [version for version in versions if version.pre_release is None]
    return max(finished or versions).text if versions else None


def _hash(body: bytes) -> str:
    return "sha256:" + hashlib.sha256(body).hexdigest()


def _basic(credentials: Credentials) -> str:
    login = f"{credentials.username}:{credentials.password}"
    return "Basic " + base64.b64encode(login.encode()).decode()
