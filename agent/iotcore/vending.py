"""The vending machine's client: one session, over which a certificate is bought for a serial number and its token.

Rules:

* A session is opened with a look at both servers: the vending machine, which is verified before it is shown anything,
  and the endpoint, which the certificate is for. Where either cannot be reached, nothing is asked for.
* What is bought is registered already: the thing's name stands in the ownership token's place, and to register is to
  return it.
* The token goes into the body of that one request, to the URL that is configured, and nowhere else: no redirection is
  followed, and no message repeats what was sent.

What is sent, and what each status means: ``docs/vending-machine.md``.
"""

from __future__ import annotations

import json
from dataclasses import field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from urllib3.exceptions import HTTPError

from agent.core.aws.endpoints import Endpoint
from agent.core.aws.replies import MAX_REPLY, text
from agent.core.change.acceptance import MAX_CERTIFICATE_PEM, MAX_THING_NAME
from agent.core.failure import failures, vending_failures
from agent.core.frozen import frozen
from agent.core.jsonio import PlainError, decode
from agent.core.values import THING, VENDED
from agent.errors import CloudError
from agent.iotcore import https, path, tls
from agent.ports import CreatedCertificate
from agent.system.clock import monotonic

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from agent.core.aws.endpoints import Proxy
    from agent.core.failure.failure import Failure
    from agent.core.values import TrustBundle
    from agent.iotcore.client_options import Timeouts

_BUY = "the request for a certificate"
_HTTPS = 443
_OK = 200


@frozen
class Machine:
    """A vending machine and who is to verify it.

    Attributes:
        url: Where it is asked, an `https` URL.
        authorities: What its certificate must chain to; nothing else counts.
        proxy: The way out, or None.
        timeouts: How long to wait for a connection and for an answer.
    """

    url: str
    authorities: TrustBundle
    proxy: Proxy | None
    timeouts: Timeouts

    @property
    def endpoint(self) -> Endpoint:
        """Where to connect."""
        parts = urlsplit(self.url)
        whole = self.timeouts.connect
        return Endpoint(
            host=parts.hostname or "",
            port=parts.port or _HTTPS,
            proxy=self.proxy,
            timeout=min(Endpoint.timeout, whole),
            whole=whole,
        )

    def unreached(self, failure: Failure) -> Failure:
        """Return what a connection met as a failure of this machine's."""
        return vending_failures.on_the_way(failure, proxied=self.proxy is not None)


@frozen
class Purse:
    """What a certificate is bought with.

    Attributes:
        serial: The gateway's serial number.
        token: The token of it; a secret.
    """

    serial: str
    token: str = field(repr=False)


def connect(machine: Machine, purse: Purse, endpoint: Endpoint, anchors: TrustBundle) -> VendingSession:
    """Return a session, once both servers are verified.

    Args:
        machine: The vending machine.
        purse: What it is shown.
        endpoint: Where the certificate is to be used.
        anchors: What the endpoint must chain to.

    Raises:
        CloudError: One of them cannot be reached, or is not who it should be; the failure says which.
    """
    anchor = tls.preflight(endpoint, anchors).anchor
    try:
        tls.preflight(machine.endpoint, machine.authorities)
    except CloudError as error:
        raise CloudError(machine.unreached(error.failure)) from None
    return VendingSession(machine, purse, anchor)


class VendingSession:
    """What stands for a connection, as `agent.ports.Session`; each request has one of its own."""

    def __init__(self, machine: Machine, purse: Purse, anchor: str) -> None:
        self.anchor = anchor  # see `agent.ports.Session`
        self._machine = machine
        self._purse = purse

    def create_certificate(self, request_pem: bytes) -> CreatedCertificate:
        """See `agent.ports.Session`: the same request is sold the same certificate."""
        body = {
            "serialNumber": self._purse.serial,
            "registrationToken": self._purse.token,
            "certificateSigningRequest": request_pem.decode(),
        }
        status, reply = self._post(json.dumps(body).encode())
        if status != _OK:
            raise CloudError(_declined(status, reply, self._purse.serial))
        return _sold(reply)

    def register_thing(self, _template: str, token: str, _parameters: Mapping[str, str]) -> str:
        """See `agent.ports.Session`: it was registered when it was sold."""
        if not token.startswith(VENDED):
            raise CloudError(failures.refused("RegisterThing", 400, "InvalidCertificateOwnershipToken", "not sold"))
        return token.removeprefix(VENDED)

    def ask(self) -> None:
        """A vending machine proves no set."""
        raise ValueError("a vending machine has no thing to ask about")

    def retire(self, _certificate_id: str) -> None:
        """A vending machine takes nothing away."""
        raise ValueError("a vending machine has nothing to retire")

    def denied(self, _topics: Iterable[str]) -> tuple[str, ...]:
        """A vending machine has no topics."""
        raise ValueError("a vending machine has no topics")

    def close(self) -> None:
        """See `agent.ports.Session`; nothing is open between two requests."""

    def _post(self, body: bytes) -> tuple[int, bytes]:
        """Return the status and what came with it.

        Raises:
            CloudError: There is no answer, or no end of it.
        """
        machine, end = self._machine, monotonic() + self._machine.timeouts.request
        patience = min(machine.timeouts.request, https.SILENCE)
        pool = https.connections(tls.context_for(machine.endpoint, machine.authorities), machine.proxy, end)
        headers = {**https.HEADERS, "Content-Type": "application/json"}
        try:
            response = pool.request(
                "POST", machine.url, body=body, headers=headers, redirect=False, preload_content=False, timeout=patience
            )
            try:
                reply = https.body(response, MAX_REPLY)
            finally:
                response.close()
        except CloudError as error:
            raise CloudError(machine.unreached(error.failure)) from None
        except (OSError, HTTPError, ValueError) as error:
            raise CloudError(vending_failures.unheard(path.reason(https.reason(error)))) from None
        if len(reply) > MAX_REPLY:
            raise CloudError(failures.garbled(_BUY, f"it has more than {MAX_REPLY} bytes"))
        return response.status, reply


def _declined(status: int, reply: bytes, serial: str) -> Failure:
    """Return what a status other than 200 means; only the function itself gives a code."""
    try:
        body = decode(reply, "the reply", limit=MAX_REPLY).plain()
    except PlainError:
        body = {}
    message = body.get("message")
    said = message if isinstance(message, str) else ""
    return vending_failures.declined(status, said, serial, its_own="code" in body)


def _sold(reply: bytes) -> CreatedCertificate:
    try:
        body = decode(reply, f"the reply to {_BUY}", limit=MAX_REPLY).plain()
    except PlainError as error:
        raise CloudError(failures.garbled(_BUY, str(error))) from None
    thing = text(_BUY, "thingName", body.get("thingName"), MAX_THING_NAME)
    if THING.fullmatch(thing) is None:
        raise CloudError(failures.garbled(_BUY, "thingName is no thing's name"))
    return CreatedCertificate(
        certificate_pem=text(_BUY, "certificatePem", body.get("certificatePem"), MAX_CERTIFICATE_PEM),
        certificate_id=text(_BUY, "certificateId", body.get("certificateId"), MAX_REPLY),
        token=VENDED + thing,
    )
