"""Downloads over HTTPS, bounded in size and time, for signed bundles. What comes is not trusted for coming over TLS.

Rules:

* `https` alone, also after a redirect. The server is verified with the system's store and the gateway's own anchors.
* A URL may be presigned, and then it is a secret: messages name host and path, never the query.
* Every read has a limit, and all of them together an end.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import urllib.error
import urllib.request
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from agent.errors import BundleError
from agent.system.clock import monotonic

if TYPE_CHECKING:
    from collections.abc import Iterator
    from email.message import Message
    from typing import IO, Any

    from agent.core.aws.endpoints import Proxy

PIECE = 65_536
SILENCE = 15.0  # seconds without a byte
WHOLE = 120.0  # seconds for everything


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


class _OnlyHttps(urllib.request.HTTPRedirectHandler):
    def http_error_302(self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Message) -> Any:
        try:
            return super().http_error_302(req, fp, code, msg, headers)  # type: ignore[arg-type] # as it came
        except (ValueError, BundleError):
            fp.close()  # the library leaves it open
            raise

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> urllib.request.Request | None:
        check_url(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)  # type: ignore[arg-type] # as it came


class _Way(urllib.request.BaseHandler):
    """The proxy that the configuration names; the library's own asks the environment whom to go to without it."""

    handler_order = 100  # before the connection is opened

    def __init__(self, proxy: Proxy) -> None:
        self._host = f"{proxy.host}:{proxy.port}"

    def https_open(self, request: urllib.request.Request) -> None:
        request.set_proxy(self._host, "http")


def _hurried(end: float) -> type[ssl.SSLSocket]:
    """Return a TLS socket whose reads together end at an instant, however little each of them gets."""

    class Hurried(ssl.SSLSocket):
        def recv_into(self, *given: Any, **named: Any) -> int:
            left = end - monotonic()
            if left <= 0:
                raise TimeoutError
            self.settimeout(min(left, SILENCE))
            return super().recv_into(*given, **named)

    return Hurried


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
        context.sslsocket_class = _hurried(self._end)
        handlers = [urllib.request.HTTPSHandler(context=context), _OnlyHttps(), *([_Way(proxy)] if proxy else [])]
        self._opener = urllib.request.OpenerDirector()
        for handler in (*handlers, urllib.request.HTTPDefaultErrorHandler(), urllib.request.HTTPErrorProcessor()):
            self._opener.add_handler(handler)

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
            with self._opener.open(url, timeout=self._patience(url)) as response:
                declared, got = response.headers.get("Content-Length"), 0
                while piece := response.read1(PIECE):
                    got += len(piece)
                    yield piece
                    self._patience(url)
                if declared is not None and declared.isdecimal() and got < int(declared[:12]):
                    raise _cut_off(url)
        except urllib.error.HTTPError as error:
            error.close()
            raise _refused(url, error.code) from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise _unavailable(url, error) from None

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


def _cut_off(url: str) -> BundleError:
    return BundleError("cut-off", f"{plain_url(url)} sent less than it announced.", passing=True)


def _unavailable(url: str, error: BaseException) -> BundleError:
    reason = getattr(error, "reason", error)
    if isinstance(reason, ssl.SSLCertVerificationError):
        why = f"its certificate is not trusted: {reason.verify_message}"
        return BundleError("download-trust", f"{plain_url(url)} cannot be read, {why}.", passing=True)
    if isinstance(reason, TimeoutError | socket.timeout):
        return BundleError("slow", f"{plain_url(url)} did not answer in time.", passing=True)
    why = getattr(reason, "strerror", None) or type(reason).__name__
    return BundleError("unavailable", f"{plain_url(url)} cannot be reached ({why}).", passing=True)
