"""The floor of an idle daemon: a bare interpreter that holds one connection of the SDK, and does nothing else.

``session.py PORT CLIENT_ID ROOTS CERTIFICATE KEY [MODULE]``, of which the module is read before; it says ``up``, says
``down`` where the connection goes, and stays until its standard input ends.
"""

from __future__ import annotations

import os
import sys

from awscrt import io, mqtt5

KEEP_ALIVE = 45  # seconds, as the agent


def main(port: str, client_id: str, roots: str, certificate: str, key: str, module: str = "sys") -> None:
    """Connect and stay connected; one thread of the SDK, as the agent has."""
    __import__(module)
    tls = io.TlsContextOptions.create_client_with_mtls_from_path(certificate, key)
    tls.override_default_trust_store_from_path(None, roots)
    group = io.EventLoopGroup(1)
    client = mqtt5.Client(
        mqtt5.ClientOptions(
            host_name="localhost",
            port=int(port),
            bootstrap=io.ClientBootstrap(group, io.DefaultHostResolver(group)),
            tls_ctx=io.ClientTlsContext(tls),
            connect_options=mqtt5.ConnectPacket(client_id=client_id, keep_alive_interval_sec=KEEP_ALIVE),
            on_lifecycle_event_connection_success_fn=lambda _: os.write(1, b"up\n"),
            on_lifecycle_event_disconnection_fn=lambda _: os.write(1, b"down\n"),
            on_lifecycle_event_connection_failure_fn=lambda _: os._exit(1),
        )
    )
    client.start()
    os.read(0, 1)


main(*sys.argv[1:])
