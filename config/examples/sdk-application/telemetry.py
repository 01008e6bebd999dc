"""Publishes a measurement every ten seconds, and connects anew with the set in use when it is told to (SIGHUP).

usage: telemetry.py ENDPOINT THING [PORT]; needs awsiotsdk.
"""

from __future__ import annotations

import json
import signal
import sys
import threading
from pathlib import Path

from awscrt import mqtt
from awsiot import mqtt_connection_builder

SET = Path("/var/lib/iot-cert-agent/current")
CONNECTED = Path("/run/telemetry/connected")
EVERY = 10.0  # seconds


def connect(endpoint: str, thing: str, port: int) -> mqtt.Connection:
    """Connect with the set in use as it is now; the directory is resolved once, so that no half of another is read."""
    directory = SET.resolve()
    connection = mqtt_connection_builder.mtls_from_path(
        endpoint=endpoint,
        port=port,
        cert_filepath=str(directory / "certificate.pem"),
        pri_key_filepath=str(directory / "key.pem"),
        ca_filepath=str(directory / "trust.pem"),
        client_id=thing,
        clean_session=True,
        keep_alive_secs=30,
    )
    connection.connect().result(60)
    CONNECTED.touch()
    return connection


def main(endpoint: str, thing: str, port: int = 8883) -> None:
    """Publish until told to stop."""
    anew, stop = threading.Event(), threading.Event()

    def on_signal(number: int, _: object) -> None:
        if number == signal.SIGTERM:
            stop.set()
        anew.set()

    for number in (signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, on_signal)
    connection, count = connect(endpoint, thing, port), 0
    while not stop.is_set():
        count += 1
        payload = json.dumps({"count": count})
        sent, _ = connection.publish(f"gateways/{thing}/telemetry", payload, mqtt.QoS.AT_LEAST_ONCE)
        sent.result(30)
        if anew.wait(EVERY) and not stop.is_set():
            anew.clear()
            connection.disconnect().result(30)  # first, since both have the same client id
            connection = connect(endpoint, thing, port)
    connection.disconnect().result(30)


if __name__ == "__main__":
    main(*sys.argv[1:3], *(int(port) for port in sys.argv[3:]))
