"""Downloads over HTTPS, bounded in size and time, for signed bundles. What comes is not trusted for coming over TLS.

Rules:

* `https` alone, also after a redirect. The server is verified with the system's store and the gateway's own anchors.
* A URL may be presigned, and then it is a secret: messages name host and path, never the query.
* Every read has a limit, and all of them together an end.
"""

from __future__ import annotations

import ssl
import string
from typing import TYPE_CHECKING
from urllib.parse import quote, urljoin, urlsplit

from urllib3.exceptions import HTTPError, IncompleteRead

from agent.errors import BundleError, CloudError
from agent.iotcore import https
from agent.iotcore.https import SILENCE
from agent.system.clock import monotonic

if TYPE_CHECKING:
    from collections.abc import Iterator

    import urllib3

    from agent.core.aws.endpoints import Proxy

PIECE = 65_536
WHOLE = 120.0  # seconds for everything

_REDIRECTIONS = 10
_ELSEWHERE = frozenset({301, 302, 303, 307, 308})


def plain_url(url: str) -> str:
    """Return a URL for people: without the query, which may be a secret, and without a user."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname or ''}{f':{parts.port}' if parts.port else ''}{parts.path}"


def check_url(url: str) -> None:
    """Refuse a URL that nothing is downloaded from.

    Raises:
        BundleError: It is not `https` with a host.
    """
    try:
        parts = urlsplit(url)
        sound = parts.scheme == "https" and bool(parts.hostname) and parts.port != 0 and "@" not in parts.netloc
    except ValueError:
        sound = False
    if not sound or not url.isascii() or not url.isprintable() or " " in url or "#" in url:
        raise BundleError("url", "The bundle's URL is not one that begins with https:// and names a host.")


class MissingError(BundleError):
    """The server says that there is nothing under this URL."""


class Downloader:
    """Gets one bundle's files. The time for all of them runs from its making."""

    def __init__(self, anchors_pem: bytes = b"", proxy: Proxy | None = None, *, whole: float = WHOLE) -> None:
        """Make one.

        Args:
            anchors_pem: Trust anchors besides the system's.
            proxy: The way out, or None.
            whole: Seconds for everything.
        """
        context = ssl.create_default_context()
        if anchors_pem:
            context.load_verify_locations(cadata=anchors_pem.decode())
        self._end = monotonic() + whole
        self._pool = https.connections(context, proxy, self._end)

    def read(self, url: str, limit: int) -> bytes:
        """Return what is under a URL.

        Raises:
            MissingError: There is nothing.
            BundleError: It cannot be had, or is larger than `limit`.
        """
        data = bytearray()
        for piece in self.pieces(url):
            data += piece
            if len(data) > limit:
                raise BundleError("too-large", f"{plain_url(url)} sends more than the {limit} bytes allowed.")
        return bytes(data)

    def pieces(self, url: str) -> Iterator[bytes]:
        """Return what is under a URL, piece by piece; the caller counts.

        Raises:
            MissingError: There is nothing.
            BundleError: It cannot be had.
        """
        check_url(url)
        try:
            response = self._answer(url)
            try:
                while piece := response.read1(PIECE, decode_content=False):
                    yield piece
                    self._patience(url)
            finally:
                response.close()
        except CloudError as error:
            text = f"{plain_url(url)} cannot be reached: {error}"
            raise BundleError("unavailable", text, hint=error.hint, passing=True) from None
        except (OSError, HTTPError, ValueError) as error:
            raise _unavailable(url, https.reason(error)) from None

    def _answer(self, url: str) -> urllib3.BaseHTTPResponse:
        """Return the answer that has the file, after as many redirections as it takes."""
        place = url
        for _ in range(_REDIRECTIONS + 1):
            timeout = self._patience(url)
            response = self._pool.request("GET", place, timeout=timeout, redirect=False, preload_content=False)
            if response.status // 100 == 2:  # noqa: PLR2004 - as RFC 9110 classes them
                return response
            response.close()
            target = response.headers.get("Location") if response.status in _ELSEWHERE else None
            if target is None:
                break
            place = urljoin(place, quote(target, safe=string.punctuation, encoding="iso-8859-1"))  # as it was sent
            check_url(place)
        raise _refused(url, response.status)

    def _patience(self, url: str) -> float:
        left = self._end - monotonic()
        if left <= 0:
            raise BundleError("slow", f"{plain_url(url)} did not send everything in time.", passing=True)
        return min(left, SILENCE)


def _refused(url: str, status: int) -> BundleError:
    if status in {403, 404, 410}:
        return MissingError(
            "missing",
            f"{plain_url(url)} is not there, or not any more ({status}).",
            hint="A presigned URL has an end; make a new one.",
        )
    return BundleError("unavailable", f"{plain_url(url)} answers with status {status}.", passing=True)


def _unavailable(url: str, reason: BaseException) -> BundleError:
    if isinstance(reason, IncompleteRead):
        return BundleError("cut-off", f"{plain_url(url)} sent less than it announced.", passing=True)
    if isinstance(reason, ssl.SSLCertVerificationError):
        why = f"its certificate is not trusted: {reason.verify_message}".rstrip(".")  # OpenSSL ends some with one
        return BundleError("download-trust", f"{plain_url(url)} cannot be read, {why}.", passing=True)
    if isinstance(reason, TimeoutError):
        return BundleError("slow", f"{plain_url(url)} did not answer in time.", passing=True)
    why = getattr(reason, "strerror", None) or type(reason).__name__
    return BundleError("unavailable", f"{plain_url(url)} cannot be reached ({why}).", passing=True)
