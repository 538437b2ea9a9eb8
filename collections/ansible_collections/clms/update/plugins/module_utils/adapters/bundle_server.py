# SPDX-License-Identifier: GPL-3.0-or-later
"""Bundles on a file server of the school's network: a folder that it serves over HTTPS, with a page that lists it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from html import unescape
from pathlib import Path
from urllib.parse import urldefrag, urljoin

from ..bundle import SUFFIX
from ..errors import ClmsError
from ..https import HttpsClient, HttpsError

_LIST_BYTES = 1_000_000
_LINK = re.compile(r"""\bhref=["']([^"'<>\s]{1,500})["']""", re.IGNORECASE)
"""A link of a page. A parser of HTML would understand more, and can be kept busy or broken by a page made for that."""
_MOST = 50
"""files of one server that are looked at"""


@dataclass(frozen=True)
class Served:
    """A file whose content is about to come."""

    address: str
    size: int
    """bytes, as the server says; no more than these come"""
    mark: str
    """another one when the file is another one"""
    _chunks: Iterator[bytes]

    def save(self, path: Path) -> None:
        """Write the content to a new file, readable for its owner only.

        :raises ClmsError: FILE_SERVER when it does not come whole
        :raises OSError: when it cannot be written
        """
        path.touch(mode=0o600, exist_ok=False)
        with _as_error(self.address), path.open("wb") as file:
            for chunk in self._chunks:  # in pieces it may be longer than the header says
                if file.tell() + len(chunk) > self.size:
                    raise HttpsError("it sends more than it said")
                file.write(chunk)


class BundleServer:
    """One folder on a file server."""

    def __init__(self, address: str, client: HttpsClient) -> None:
        """:param address: of the folder, beginning with ``https://``"""
        self._address = f"{address.rstrip('/')}/"
        self._client = client

    def addresses(self) -> list[str]:
        """The bundles that the folder's page links to, as nginx, Apache and others make it.

        :raises ClmsError: FILE_SERVER when there is no such page
        """
        with _as_error(self._address):
            answer = self._client.get(self._address, {}, _LIST_BYTES)
        if answer.status != 200:
            raise ClmsError("FILE_SERVER", url=self._address, detail=f"it answers {answer.status}")
        links = (unescape(link) for link in _LINK.findall(answer.body.decode(errors="replace")))
        found = {self._absolute(link) for link in links}
        return sorted(address for address in found if self._is_bundle(address))[:_MOST]

    def _absolute(self, link: str) -> str:
        try:
            return urldefrag(urljoin(self._address, link)).url
        except ValueError:  # no address at all
            return ""

    def _is_bundle(self, address: str) -> bool:
        name = address.removeprefix(self._address)
        return name != address and name.endswith(SUFFIX) and name.isprintable() and not set(name) & set("/?\\")

    @contextmanager
    def open(self, address: str) -> Iterator[Served]:
        """Ask for one of the :meth:`addresses`.

        :raises ClmsError: FILE_SERVER when it cannot be had
        """
        with _as_error(address), self._client.open(address, {}) as (response, chunks):
            length = response.headers.get("Content-Length", "")
            if response.status != 200:
                raise ClmsError("FILE_SERVER", url=address, detail=f"it answers {response.status}")
            if not re.fullmatch("[0-9]{1,15}", length):
                raise ClmsError("FILE_SERVER", url=address, detail="it does not say how long the file is")
            mark = response.headers.get("ETag") or response.headers.get("Last-Modified") or ""
            yield Served(address, int(length), f"{length} {mark[:200]}", chunks)


@contextmanager
def _as_error(address: str) -> Iterator[None]:
    """:raises ClmsError: FILE_SERVER in place of HttpsError"""
    try:
        yield
    except HttpsError as error:
        raise ClmsError("FILE_SERVER", url=address, detail=str(error)) from None
