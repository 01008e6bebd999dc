"""A gateway before the emulated account that has a token and no claim, and the TLS that the emulator's HTTP API lacks.

The agent demands HTTPS, and API Gateway is always asked by it; the emulator serves an API in plain HTTP, under a path
of its own. So each request is taken by a front with a certificate, and handed on as it is: method, body and answer.
"""

from __future__ import annotations

import urllib.error
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Self

from agent.sandbox.account.authority import Authority
from agent.sandbox.network.vending import VendingFront
from support.emulator.account import PORT
from support.emulator.device import Device

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path


@dataclass
class Counter:
    """Where the vending machine's address is served by HTTPS.

    Attributes:
        front: It listens there.
        authority: Who has signed its certificate, in PEM.
        statuses: What each request was answered with, in order.
    """

    front: VendingFront
    authority: bytes
    statuses: list[int] = field(default_factory=list)


@contextmanager
def counter(url: str) -> Iterator[Counter]:
    """Serve a stack's `VendingUrl`."""
    host, _, path = url.partition("//")[2].partition("/")
    plain = f"http://127.0.0.1:{PORT}/_aws/execute-api/{host.partition('.')[0]}/$default/{path}"
    now = datetime.now(UTC)
    authority = Authority("API Gateway's root", now)
    server = authority.issue_server("localhost", now - timedelta(days=1), now + timedelta(days=1))

    def answer(event: Mapping[str, object]) -> Mapping[str, object]:
        status, body = _post(plain, str(event["body"]).encode())
        found.statuses.append(status)
        return {"statusCode": status, "body": body.decode()}

    found = Counter(VendingFront(answer, server), authority.pem)
    with found.front:
        yield found


def _post(url: str, body: bytes) -> tuple[int, bytes]:
    asked = urllib.request.Request(url, data=body, method="POST")  # noqa: S310 - as written here
    try:
        with urllib.request.urlopen(asked) as answer:  # noqa: S310 - see there
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


@dataclass(kw_only=True)
class Shopper(Device):
    """One gateway, which buys its first certificate.

    Attributes:
        counter: Where.
    """

    counter: Counter

    def __enter__(self) -> Self:
        (self.directory / "claim").mkdir(mode=0o700)
        (self.directory / "claim" / "token").touch(mode=0o600)
        self.show_token(self.token)
        (self.directory / "roots.pem").write_bytes(self.account.anchors)
        (self.directory / "authority.pem").write_bytes(self.counter.authority)
        self.config = self.directory / "config.yaml"
        self.config.write_text(self._configuration())
        return self

    def _enrollment(self) -> str:
        return f"""\
  method: vending-machine
  url: {self.counter.front.url}
  ca: {self.directory}/authority.pem
  token: {{file: {self.directory}/claim/token}}
  parameters: {{SerialNumber: "{self.serial}"}}
"""

    @property
    def steps(self) -> Path:
        """Where the steps of a run are noted that was not killed."""
        return self.directory / "steps"
