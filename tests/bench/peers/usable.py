"""Whether key and certificate on a gateway's disk let it in, at this moment: they parse, they match, they connect."""

from __future__ import annotations

import socket
import ssl
from typing import TYPE_CHECKING

from cryptography import x509

from agent.backend.values import Status
from agent.sandbox.account.authority import fingerprint
from agent.sandbox.account.policies import GATEWAY
from bench.place import THING

if TYPE_CHECKING:
    from pathlib import Path

    from bench.place import Place

PATIENCE = 10.0  # seconds
_CONNECT = b"\x10%c\x00\x04MQTT\x04\x02\x00\x3c\x00%c%s"  # MQTT 3.1.1, clean, 60 seconds
_ACCEPTED = b"\x20\x02\x00\x00"


def trusted_elsewhere(here: Place, authorities: bytes) -> None:
    """Let the cloud take certificates of another authority, as an account does that has it registered."""
    for context in here.gateway.service.front._contexts.values():
        context.load_verify_locations(cadata=authorities.decode())


def registered(here: Place, certificate: Path) -> None:
    """Register a certificate of another authority, as an account does when it first sees one."""
    for found in x509.load_pem_x509_certificates(certificate.read_bytes())[:1]:
        if fingerprint(found) not in here.gateway.cloud.registry:
            entry = here.gateway.cloud.registry.add(found, Status.ACTIVE)
            entry.policies, entry.thing_name = [GATEWAY], THING


def why_not(here: Place, key: Path, certificate: Path, *, elsewhere: bool) -> str:
    """Return why they do not let the gateway in, or an empty text.

    Args:
        here: The gateway and its cloud.
        key: The private key.
        certificate: The certificate.
        elsewhere: Whether another authority signs.
    """
    try:
        if elsewhere:
            registered(here, certificate)
        context = ssl.create_default_context(cafile=str(here.gateway.directory / "roots.pem"))
        context.load_cert_chain(certificate, key)
        with (
            socket.create_connection(("localhost", here.gateway.service.port), PATIENCE) as plain,
            context.wrap_socket(plain, server_hostname="localhost") as connection,
        ):
            name = THING.encode()
            connection.sendall(_CONNECT % (12 + len(name), len(name), name))
            answer = connection.recv(4)
    except (OSError, ValueError) as error:
        return f"{type(error).__name__}: {error}"
    return "" if answer == _ACCEPTED else f"the broker says {answer!r}"
