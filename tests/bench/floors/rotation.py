"""The floor of a rotation: the same SDK and the same library, and nothing that makes a rotation safe.

``rotation.py PORT THING ROOTS CURRENT SPACING``: makes a key and a request, connects with the set in the folder that
the link CURRENT points at, asks for a certificate, registers it, connects with the new one, has a question answered,
writes the files beside the old ones and moves the link. Nothing is synced, recorded, judged, tried again or taken back.
SPACING is how many seconds lie between two CONNECTs; AWS allows one a second. It prints when it did what, in JSON.
"""

from __future__ import annotations

import time

STARTED = time.monotonic()

import json  # noqa: E402 - what is imported counts
import os  # noqa: E402
import sys  # noqa: E402
import threading  # noqa: E402
from pathlib import Path  # noqa: E402

from awscrt import io, mqtt5, mqtt_request_response  # noqa: E402
from awsiot import iotidentity, iotshadow  # noqa: E402
from cryptography import x509  # noqa: E402
from cryptography.hazmat.primitives import hashes, serialization  # noqa: E402
from cryptography.hazmat.primitives.asymmetric import ec  # noqa: E402
from cryptography.x509.oid import NameOID  # noqa: E402

PATIENCE = 20.0  # seconds

STEPS: list[tuple[str, float]] = [("interpreter runs", STARTED), ("imports done", time.monotonic())]
CONNECTS: list[float] = []


def step(name: str) -> None:
    """Note that something is done."""
    STEPS.append((name, time.monotonic()))


class Connection:
    """One connection, from the key and certificate on."""

    def __init__(self, address: tuple[str, str], roots: bytes, certificate: bytes, key: bytes) -> None:
        port, client_id = address
        tls = io.TlsContextOptions.create_client_with_mtls(certificate, key)
        tls.override_default_trust_store(roots)
        self._up, self._stopped = threading.Event(), threading.Event()
        group = io.EventLoopGroup(1)
        self.client = mqtt5.Client(
            mqtt5.ClientOptions(
                host_name="localhost",
                port=int(port),
                bootstrap=io.ClientBootstrap(group, io.DefaultHostResolver(group)),
                tls_ctx=io.ClientTlsContext(tls),
                connect_options=mqtt5.ConnectPacket(client_id=client_id, keep_alive_interval_sec=60),
                on_lifecycle_event_connection_success_fn=lambda _: self._up.set(),
                on_lifecycle_event_stopped_fn=lambda _: self._stopped.set(),
            )
        )
        self.began = time.monotonic()
        self.client.start()
        if not self._up.wait(PATIENCE):
            sys.exit("no connection")
        CONNECTS.append(time.monotonic() - self.began)
        self.options = mqtt_request_response.ClientOptions(
            max_request_response_subscriptions=4, max_streaming_subscriptions=1, operation_timeout_in_seconds=20
        )

    def close(self) -> None:
        """Say goodbye."""
        self.client.stop(mqtt5.DisconnectPacket())
        self._stopped.wait(PATIENCE)


def new_key(thing: str) -> tuple[bytes, str]:
    """Make a key and a request."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, thing)])
    request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return pem, request.public_bytes(serialization.Encoding.PEM).decode()


def issue(connection: Connection, request: str, thing: str) -> bytes:
    """Ask for a certificate and register it."""
    identity = iotidentity.IotIdentityClientV2(connection.client, connection.options)
    wish = iotidentity.CreateCertificateFromCsrRequest(certificate_signing_request=request)
    created = identity.create_certificate_from_csr(wish).result(PATIENCE)
    step("certificate issued")
    registration = iotidentity.RegisterThingRequest(
        template_name="gateway-rotation",
        certificate_ownership_token=created.certificate_ownership_token,
        parameters={"ThingName": thing},
    )
    identity.register_thing(registration).result(PATIENCE)
    step("certificate registered")
    return bytes(created.certificate_pem, "ascii")


def ask(connection: Connection, thing: str) -> None:
    """Have a question answered; that there is no shadow is an answer, too."""
    shadow = iotshadow.IotShadowClientV2(connection.client, connection.options)
    request = iotshadow.GetNamedShadowRequest(thing_name=thing, shadow_name="certificate")
    error = shadow.get_named_shadow(request).exception(PATIENCE)
    if error is not None and getattr(error, "modeled_error", None) is None:
        raise error


def write(link: Path, files: dict[str, bytes]) -> None:
    """Write the new set and move the link."""
    folder = link.parent / f"set-{os.getpid()}"
    folder.mkdir()
    for name, data in files.items():
        (folder / name).write_bytes(data)
    (link.parent / "next").symlink_to(folder)
    (link.parent / "next").rename(link)


def main(port: str, thing: str, roots_file: str, current: str, spacing: str) -> None:
    """Rotate."""
    link, roots = Path(current), Path(roots_file).read_bytes()
    key, request = new_key(thing)
    step("key made")
    old = Connection((port, thing), roots, (link / "certificate.pem").read_bytes(), (link / "key.pem").read_bytes())
    step("connected with the old set")
    certificate = issue(old, request, thing)
    old.close()
    step("closed")
    time.sleep(max(0.0, old.began + float(spacing) - time.monotonic()))
    step("waited")
    new = Connection((port, thing), roots, certificate, key)
    step("connected with the new set")
    ask(new, thing)
    step("proven")
    files = {"key.pem": key, "certificate.pem": certificate, "credential.pem": key + certificate, "trust.pem": roots}
    write(link, files)
    step("current moved")
    new.close()
    print(json.dumps({"steps": STEPS, "connects": CONNECTS}))


main(*sys.argv[1:])
