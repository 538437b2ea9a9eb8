# SPDX-License-Identifier: GPL-3.0-or-later
"""How The Update Framework's client reaches the release server."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager

from .adapters.bundle_file import Bundle
from .bundle import BundleError
from .https import HttpsClient, HttpsError, HttpsRefusal, retry_after

try:
    from tuf.api.exceptions import DownloadError, DownloadHTTPError
    from tuf.ngclient import FetcherInterface
except ImportError:  # modules say so: module_end.require_libraries
    FetcherInterface = object  # type: ignore[misc, assignment]
    DownloadError = DownloadHTTPError = Exception  # type: ignore[misc, assignment]

BUNDLE_URL = "https://bundle.invalid"
METADATA_SECONDS = 60.0
"""Total time for one metadata file, which is at most a few megabytes."""


class DownloadRefusedError(DownloadError):
    """Somebody answers in place of the release server, or it answers as it must not."""


class ServerBusyError(DownloadHTTPError):
    """The server wants to be left alone for a while."""

    def __init__(self, status: int, seconds: float) -> None:
        super().__init__(f"it answered {status}", status)
        self.retry_after = seconds


class Fetcher(FetcherInterface):
    """A fetcher that can go on where another attempt has broken off."""

    def fetch_from(self, url: str, start: int) -> Iterator[bytes]:
        """The content of ``url`` without its first ``start`` bytes.

        :raises DownloadError: when it cannot be had
        """
        return _without(self.fetch(url), start)

    @contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """What is fetched inside has to be there in that time, where it comes through a network."""
        yield


class HttpsFetcher(Fetcher):
    """Fetches over :class:`HttpsClient`; the caller's length limit is enforced while the data comes in."""

    def __init__(self, client: HttpsClient) -> None:
        self._client = client

    @contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """A shorter total deadline for what is fetched inside."""
        with self._client.within(seconds):
            yield

    def _fetch(self, url: str) -> Iterator[bytes]:
        """The content of ``url``; raises as :meth:`fetch_from`."""
        return self.fetch_from(url, 0)

    def fetch_from(self, url: str, start: int) -> Iterator[bytes]:
        """The same with a request for the rest only, where the server knows ranges (RFC 9110, section 14).

        :raises DownloadHTTPError: for another status than 200, or 206 for the rest; 416 when there is no such rest
        :raises ServerBusyError: where the server says when to come again
        :raises DownloadError: when the server cannot be reached
        :raises DownloadRefusedError: when somebody answers, but not as the server may
        """
        headers = {"Range": f"bytes={start}-"} if start else {}
        try:
            with self._client.open(url, headers) as (response, chunks):
                status = response.status
                begins = response.headers.get("Content-Range", "").startswith(f"bytes {start}-")
                if status == 200 and start:
                    chunks = _without(chunks, start)
                elif not (status == 206 and start and begins) and status != 200:
                    seconds = retry_after(response.headers.get("Retry-After"), time.time())
                    if seconds is not None:
                        raise ServerBusyError(status, seconds)
                    raise DownloadHTTPError(f"it answered {status}", status)
                yield from chunks
        except HttpsRefusal as error:
            raise DownloadRefusedError(str(error)) from None
        except HttpsError as error:
            raise DownloadError(str(error)) from None

    def download_bytes(self, url: str, max_length: int) -> bytes:
        """Metadata, at most ``max_length`` bytes, within :data:`METADATA_SECONDS`."""
        with self._client.within(METADATA_SECONDS):
            data: bytes = super().download_bytes(url, max_length)
        if url.endswith("/timestamp.json") and is_offline(data):
            # it counts for months: a server that has no newer one to show is not to be believed
            raise DownloadRefusedError("it serves the metadata of an offline bundle")
        return data


class BundleFetcher(Fetcher):
    """Takes from a bundle what a release server would serve; an address is :data:`BUNDLE_URL` and a member's name."""

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle

    def _fetch(self, url: str) -> Iterator[bytes]:
        """The content of ``url``.

        :raises DownloadHTTPError: when the bundle does not hold it
        :raises DownloadError: when the bundle is damaged
        """
        try:
            yield from self._bundle.chunks(url.removeprefix(f"{BUNDLE_URL}/"))
        except KeyError:
            raise DownloadHTTPError("the bundle does not hold it", 404) from None
        except BundleError as error:
            raise DownloadError(str(error)) from None


def _without(chunks: Iterator[bytes], count: int) -> Iterator[bytes]:
    """What follows on the first ``count`` bytes: of a server that knows no ranges."""
    for chunk in chunks:
        yield chunk[count:]
        count -= min(count, len(chunk))


def is_offline(timestamp: bytes) -> bool:
    """Whether a timestamp was made for a bundle, where it counts for longer."""
    try:
        return bool(json.loads(timestamp)["signed"].get("offline"))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return False  # it is no timestamp at all, which is refused elsewhere
