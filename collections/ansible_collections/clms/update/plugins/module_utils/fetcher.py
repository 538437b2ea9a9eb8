# SPDX-License-Identifier: GPL-3.0-or-later
"""How The Update Framework's client reaches the release server."""

from __future__ import annotations

from collections.abc import Iterator

from .https import HttpsClient, HttpsError

try:
    from tuf.api.exceptions import DownloadError, DownloadHTTPError
    from tuf.ngclient import FetcherInterface
except ImportError:  # modules say so: module_end.require_libraries
    FetcherInterface = object  # type: ignore[misc, assignment]

METADATA_SECONDS = 60.0
"""Total time for one metadata file, which is at most a few megabytes."""


class HttpsFetcher(FetcherInterface):
    """Fetches over :class:`HttpsClient`; the caller's length limit is enforced while the data comes in."""

    def __init__(self, client: HttpsClient) -> None:
        self._client = client

    def _fetch(self, url: str) -> Iterator[bytes]:
        """The content of ``url``.

        :raises DownloadHTTPError: for a status other than 200
        :raises DownloadError: when the server cannot be reached or is too slow
        """
        try:
            with self._client.open(url, {}) as (response, chunks):
                if response.status != 200:
                    raise DownloadHTTPError(f"it answered {response.status}", response.status)
                yield from chunks
        except HttpsError as error:
            raise DownloadError(str(error)) from None

    def download_bytes(self, url: str, max_length: int) -> bytes:
        """Metadata, at most ``max_length`` bytes, within :data:`METADATA_SECONDS`."""
        with self._client.within(METADATA_SECONDS):
            return super().download_bytes(url, max_length)
