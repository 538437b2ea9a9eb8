# SPDX-License-Identifier: GPL-3.0-or-later
"""How The Update Framework's client reaches the release server."""

from __future__ import annotations

import json
from collections.abc import Iterator

from .adapters.bundle_file import Bundle
from .bundle import BundleError
from .https import HttpsClient, HttpsError

try:
    from tuf.api.exceptions import DownloadError, DownloadHTTPError
    from tuf.ngclient import FetcherInterface
except ImportError:  # modules say so: module_end.require_libraries
    FetcherInterface = object  # type: ignore[misc, assignment]

BUNDLE_URL = "https://bundle.invalid"
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
            data: bytes = super().download_bytes(url, max_length)
        if url.endswith("/timestamp.json") and is_offline(data):
            # it counts for months: a server that has no newer one to show is not to be believed
            raise DownloadError("it serves the metadata of an offline bundle")
        return data


class BundleFetcher(FetcherInterface):
    """Takes from a bundle what a release server would serve; an address is :data:`BUNDLE_URL` and a member's name."""

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle

    def _fetch(self, url: str) -> Iterator[bytes]:
        """The content of ``url``.

        :raises DownloadHTTPError: when the bundle does not hold it
        :raises DownloadError: when the bundle is damaged
        """
        try:
            yield self._bundle.read(url.removeprefix(f"{BUNDLE_URL}/"))
        except KeyError:
            raise DownloadHTTPError("the bundle does not hold it", 404) from None
        except BundleError as error:
            raise DownloadError(str(error)) from None


def is_offline(timestamp: bytes) -> bool:
    """Whether a timestamp was made for a bundle, where it counts for longer."""
    try:
        return bool(json.loads(timestamp)["signed"].get("offline"))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return False  # it is no timestamp at all, which is refused elsewhere
