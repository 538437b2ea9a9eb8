# SPDX-License-Identifier: GPL-3.0-or-later
"""The only way out to the vendor's servers: HTTPS with bounded time, bounded size and no redirects."""

from __future__ import annotations

import base64
import hashlib
import re
import ssl
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import date
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from .errors import ClmsError

with suppress(ImportError):  # modules say so: module_end.require_libraries
    import urllib3
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

CHUNK = 64 * 1024
RATE_GRACE = 20.0
"""Seconds after the first byte from which on the average rate is looked at."""
MOST_AROUND = 1_000_000
"""Bytes that may come around the body of an answer, besides as many as the body has: headers, the lengths of chunks."""
_ABOUT_TIME = (9, 10)
"""OpenSSL's X509_V_ERR_CERT_NOT_YET_VALID and X509_V_ERR_CERT_HAS_EXPIRED."""


class HttpsError(Exception):
    """A request got no complete answer; the text says why, in words for a person."""


class HttpsRefusal(HttpsError):
    """Somebody answers, but not as the server may: without its certificate, with a redirect, or too slowly for good."""


@dataclass(frozen=True)
class Answer:
    """A complete answer; names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Meter:
    """Watches one answer: it has to be complete within a deadline, may not trickle in, and not consist of headers."""

    def __init__(self, *, deadline: float, minimum_rate: float, clock: Callable[[], float] = time.monotonic) -> None:
        """:param deadline: seconds from now  :param minimum_rate: bytes per second, on average"""
        self._clock = clock
        self._end = clock() + deadline
        self._minimum_rate = minimum_rate
        self._first: float | None = None
        self._bytes = 0
        self.exceeded = False
        """whether an answer was begun that came too late or too slowly"""
        self.swamped = False
        """whether that was because of what is no part of its body"""
        self.body = 0
        """bytes of the body, as far as somebody has got them"""

    def count(self, size: int) -> None:
        """:raises TimeoutError: when ``size`` more bytes leave the answer late or too slow, or are too many for it"""
        now = self._clock()
        if self._first is None:
            self._first = now
        self._bytes += size
        elapsed = now - self._first
        if now > self._end or (elapsed > RATE_GRACE and self._bytes / elapsed < self._minimum_rate):
            self.exceeded = True
            raise TimeoutError
        if self._bytes > 2 * self.body + MOST_AROUND:  # else headers without end are read until the deadline
            self.exceeded = self.swamped = True
            raise TimeoutError


class HttpsClient:
    """Requests from one thread at a time; connections are kept and used again.

    A socket's own timeout starts anew with every byte, so that a server could hold a client for hours with one
    byte every few seconds, in the headers already. Every read of the socket is therefore metered.
    """

    def __init__(
        self,
        *,
        ca_file: Path | None = None,
        pins: Collection[str] = (),
        connect_timeout: float = 10.0,
        read_timeout: float = 30.0,
        deadline: float = 3600.0,
        minimum_rate: float = 1024.0,
    ) -> None:
        """All times in seconds, the rate in bytes per second.

        :param ca_file: the only certificate authorities that are trusted; without it the system's
        :param pins: the server's key has to be one of these, see :func:`pin_of`; without ``ca_file`` it is then no
            matter who has certified it
        :raises ClmsError: CA_FILE
        """
        self._deadline = deadline
        self._minimum_rate = minimum_rate
        self._meter = Meter(deadline=deadline, minimum_rate=minimum_rate)
        self._pins = frozenset(pins)
        try:
            context = ssl.create_default_context(cafile=None if ca_file is None else str(ca_file))
        except OSError as error:  # ssl.SSLError is one too
            raise ClmsError("CA_FILE", path=ca_file, detail=error.strerror or "it is no certificate") from None
        if pins and ca_file is None:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            # the key is looked at right after the handshake, before anything is sent
            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
        context.sslsocket_class = self._metered_socket()
        self._pool = urllib3.PoolManager(
            num_pools=4,
            retries=False,
            ssl_context=context,
            timeout=urllib3.Timeout(connect=connect_timeout, read=read_timeout),
            # identity: a few compressed bytes could otherwise become gigabytes
            headers={"User-Agent": "clms-update", "Accept-Encoding": "identity"},
        )

    def _metered_socket(self) -> type[ssl.SSLSocket]:
        client = self

        class MeteredSocket(ssl.SSLSocket):
            def do_handshake(self, block: bool = False) -> None:
                super().do_handshake(block)
                if client._pins:
                    client._check_pin(self.getpeercert(binary_form=True) or b"")

            def recv_into(self, *args: Any, **kwargs: Any) -> int:
                size = super().recv_into(*args, **kwargs)
                client._meter.count(size)
                return size

        return MeteredSocket

    def _check_pin(self, certificate: bytes) -> None:
        """:raises ssl.SSLError: which has the connection closed at once"""
        try:
            known = pin_of(certificate) in self._pins
        except ValueError:
            known = False
        if not known:
            raise _OtherKeyError(1, "its key is none of those that this school knows")

    @contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """A shorter total deadline for the requests made inside."""
        before, self._deadline = self._deadline, min(seconds, self._deadline)
        try:
            yield
        finally:
            self._deadline = before

    def close(self) -> None:
        """Close the kept connections."""
        self._pool.clear()

    @contextmanager
    def open(
        self, url: str, headers: Mapping[str, str], *, post: bytes | None = None
    ) -> Iterator[tuple[urllib3.BaseHTTPResponse, Iterator[bytes]]]:
        """Ask for ``url``; the answer's status, headers and, bit by bit, its body.

        :param post: what to send, in place of asking only
        :raises ClmsError: SERVER_ADDRESS for anything but https
        :raises HttpsError: no connection, no answer in time, or a body cut short
        :raises HttpsRefusal: another certificate or key, a redirect, or an answer that drips or has headers without end
        """
        check_address(url)
        self._meter = Meter(deadline=self._deadline, minimum_rate=self._minimum_rate)
        response = None
        try:
            # what is given here replaces the pool's own headers
            response = self._pool.request(
                "GET" if post is None else "POST", url, body=post, headers={**self._pool.headers, **headers},
                preload_content=False, redirect=False,
            )  # fmt: skip
            if 300 <= response.status < 400:
                raise HttpsRefusal("it redirects to another address, which is not allowed")
            yield response, self._counted(response.stream(CHUNK, decode_content=False))
        except urllib3.exceptions.NewConnectionError as error:  # a timeout too, by its class
            raise _explained(error) from None
        except (urllib3.exceptions.TimeoutError, TimeoutError):
            refused = HttpsRefusal if self._meter.exceeded else HttpsError
            raise refused("it sends headers without end" if self._meter.swamped else "it answers too slowly") from None
        except urllib3.exceptions.HTTPError as error:
            raise _explained(error) from None
        finally:
            if response is not None:
                # an answer that was not read to its end leaves a connection that cannot be used again
                response.close()

    def _counted(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            self._meter.body += len(chunk)
            yield chunk

    def get(self, url: str, headers: Mapping[str, str], limit: int) -> Answer:
        """A whole answer with at most ``limit`` bytes of body.

        :raises ClmsError: SERVER_ADDRESS
        :raises HttpsError: as :meth:`open`, and for a longer body
        """
        return self._whole(url, headers, limit, None)

    def post(self, url: str, headers: Mapping[str, str], body: bytes, limit: int) -> Answer:
        """The answer to ``body``; raises as :meth:`get`."""
        return self._whole(url, headers, limit, body)

    def _whole(self, url: str, headers: Mapping[str, str], limit: int, post: bytes | None) -> Answer:
        with self.open(url, headers, post=post) as (response, chunks):
            body = bytearray()
            for chunk in chunks:
                body += chunk
                if len(body) > limit:
                    raise HttpsError(f"its answer is longer than {limit} bytes")
            lower = {name.lower(): value for name, value in response.headers.items()}
            return Answer(response.status, lower, bytes(body))


def pin_of(certificate: bytes) -> str:
    """The pin of a certificate's key: base64 of the SHA-256 of its SubjectPublicKeyInfo (RFC 7469, section 2.4).

    :param certificate: DER
    :raises ValueError: when it is no certificate
    """
    key = x509.load_der_x509_certificate(certificate).public_key()
    digest = hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).digest()
    return base64.b64encode(digest).decode()


def check_address(url: str) -> None:
    """:raises ClmsError: SERVER_ADDRESS unless ``url`` is an https address without a login in it."""
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        parts, host = urlsplit(""), None
    if parts.scheme != "https" or not host:
        raise ClmsError("SERVER_ADDRESS", url=url[:200], detail="it must begin with https://")
    if "@" in parts.netloc:
        raise ClmsError("SERVER_ADDRESS", url=f"https://…@{host}", detail="it must not contain a login")
    try:
        usable = parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise ClmsError("SERVER_ADDRESS", url=url[:200], detail="its port must be a number from 1 to 65535")


def retry_after(header: str | None, now: float) -> float | None:
    """Seconds that a server wants to be left alone for, by its header ``Retry-After`` (RFC 9110, 10.2.3), or None.

    :param now: seconds since 1970
    """
    text = (header or "").strip()
    if re.fullmatch(r"\d{1,9}", text):
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - now)
    except (TypeError, ValueError, OverflowError):
        return None


class _OtherKeyError(ssl.SSLError):
    """The server's key is none of the pinned ones."""


def _explained(error: urllib3.exceptions.HTTPError) -> HttpsError:
    """The innermost cause without urllib3's own wrapping, which repeats the address."""
    cause: BaseException = error
    while inner := cause.__cause__ or cause.__context__:
        cause = inner
    if isinstance(cause, ssl.SSLCertVerificationError):
        # a certificate is wrong about the time less often than a server is
        clock = f"; this server's clock says {date.today()}" if cause.verify_code in _ABOUT_TIME else ""
        return HttpsRefusal(f"its certificate is not trusted ({cause.verify_message}){clock}")
    if isinstance(cause, _OtherKeyError):
        return HttpsRefusal(str(cause.strerror))
    if isinstance(error, urllib3.exceptions.ProtocolError):
        return HttpsError("the connection broke before the answer was complete")
    if isinstance(cause, OSError) and cause.strerror:
        return HttpsError(cause.strerror)
    return HttpsError(str(cause)[:200])
