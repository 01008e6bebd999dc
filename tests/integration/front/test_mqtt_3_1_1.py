"""The local IoT Core, met by clients that speak MQTT 3.1.1."""

from __future__ import annotations

import json
import queue
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self

import mqtt5
import pytest
from awscrt import mqtt
from awscrt import mqtt5 as sdk
from awscrt.exceptions import AwsCrtError
from awsiot import mqtt_connection_builder

from agent.sandbox.cloud import Cloud, Status
from agent.sandbox.network.connection import MAX_FILTERS
from agent.sandbox.network.packets import MAX_PACKET
from agent.sandbox.replies.faults import Effect, Fault, Operation
from support.running.front import (
    ACCEPTED,
    AGENT,
    NOTIFY,
    OWN_TOPIC,
    PATIENCE,
    ROTATE,
    SHADOW,
    THING,
    Sdk,
    Wire,
    device,
    listener,
    publish,
    subscribe,
    wait_for_live,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.sandbox.account.authority import KeyPair
    from agent.sandbox.service import LocalCloud

# -- the SDK -----------------------------------------------------------------------------------------------------------


class OldSdk:
    """One client of the real SDK that speaks MQTT 3.1.1, with what happens to it in queues.

    It gives up as it is hung up on: told to later, the SDK would wait for its next attempt, a second or more away.
    """

    def __init__(self, local: LocalCloud, pair: KeyPair, client_id: str = THING, **options: Any) -> None:
        self.failed: queue.Queue[Any] = queue.Queue()
        self.interrupted: queue.Queue[Any] = queue.Queue()
        self.hung_up = False
        self.messages: queue.Queue[Any] = queue.Queue()
        self.connection = mqtt_connection_builder.mtls_from_bytes(
            pair.certificate_pem,
            pair.key_pem,
            ca_bytes=local.root_pem,
            endpoint="localhost",
            port=local.port,
            client_id=client_id,
            keep_alive_secs=60,
            on_connection_interrupted=self._give_up,
            on_connection_failure=lambda callback_data, **_: self.failed.put(callback_data.error),
            **{"clean_session": True, **options},
        )

    def connect(self) -> Any:
        """Connect and return whether there was a session."""
        return self.connection.connect().result(PATIENCE)["session_present"]

    def __enter__(self) -> Self:
        self.connect()
        return self

    def __exit__(self, *_: object) -> None:
        if not self.hung_up:
            self.disconnect()

    def _give_up(self, error: Exception, **_: object) -> None:
        self.interrupted.put((error, self.connection.disconnect()))

    def disconnect(self) -> None:
        """Say goodbye."""
        self.connection.disconnect().result(PATIENCE)

    def publish(self, topic: str, payload: bytes = b"{}", qos: mqtt.QoS = mqtt.QoS.AT_LEAST_ONCE) -> None:
        """Publish, with QoS 1 unless told otherwise, and wait for the PUBACK."""
        self.connection.publish(topic, payload, qos)[0].result(PATIENCE)

    def subscribe(self, topic_filter: str, qos: mqtt.QoS = mqtt.QoS.AT_LEAST_ONCE) -> Any:
        """Subscribe and return the QoS that was granted."""
        return self.connection.subscribe(topic_filter, qos, self._hear)[0].result(PATIENCE)["qos"]

    def _hear(self, topic: str, payload: bytes, qos: mqtt.QoS, **_: object) -> None:
        self.messages.put((topic, payload, qos))

    def hear(self) -> Any:
        """Return the topic, payload and QoS of the next message."""
        return self.messages.get(timeout=PATIENCE)

    def wait_for_hang_up(self) -> str:
        """Wait until the front hung up, and return what the SDK calls it."""
        error, gone = self.interrupted.get(timeout=PATIENCE)
        self.hung_up = True
        gone.result(PATIENCE)
        return str(error.name)


# -- MQTT 3.1.1 --------------------------------------------------------------------------------------------------------


HUNG_UP = "AWS_ERROR_MQTT_UNEXPECTED_HANGUP"
REFUSED = "AWS_ERROR_MQTT_PROTOCOL_ERROR"  # the older SDK's word for every CONNACK that refuses


def old_frame(first: int, body: bytes) -> bytes:
    """Return a packet of MQTT 3.1.1."""
    length, left = bytearray(), len(body)
    while left > 0x7F:
        length.append(left & 0x7F | 0x80)
        left >>= 7
    return bytes([first, *length, left]) + body


def old_connect(client_id: str = THING) -> bytes:
    """Return a clean CONNECT of MQTT 3.1.1."""
    return old_frame(0x10, b"\x00\x04MQTT\x04\x02\x00\x3c" + len(client_id).to_bytes(2, "big") + client_id.encode())


def old_publish(topic: str, packet_id: int, payload: bytes = b"{}", *, first: int = 0x32) -> bytes:
    """Return a PUBLISH of MQTT 3.1.1 that has a packet id, with QoS 1 unless told otherwise."""
    return old_frame(first, len(topic).to_bytes(2, "big") + topic.encode() + packet_id.to_bytes(2, "big") + payload)


def old_subscribe(*filters: str, packet_id: int = 7, options: int = 1) -> bytes:
    """Return a SUBSCRIBE of MQTT 3.1.1."""
    wanted = b"".join(len(item).to_bytes(2, "big") + item.encode() + bytes([options]) for item in filters)
    return old_frame(0x82, packet_id.to_bytes(2, "big") + wanted)


def connected(wire: Wire, client_id: str = THING) -> Wire:
    """Connect by MQTT 3.1.1 and return the connection."""
    wire.send(old_connect(client_id))
    assert wire.exactly(4) == b"\x20\x02\x00\x00"
    return wire


def test_the_older_sdk_publishes_and_hears(local: LocalCloud, cloud: Cloud) -> None:
    """With both QoS, of which the lower one of publisher and subscriber counts, until it unsubscribes."""
    identity = device(cloud)
    with OldSdk(local, identity.pair) as client:
        assert [live.certificate_id for live in local.front.live] == [identity.certificate_id]
        assert client.subscribe(OWN_TOPIC) == mqtt.QoS.AT_LEAST_ONCE
        assert client.subscribe(f"gateways/{THING}/once/+", mqtt.QoS.AT_MOST_ONCE) == mqtt.QoS.AT_MOST_ONCE
        client.publish(OWN_TOPIC, b"zero", mqtt.QoS.AT_MOST_ONCE)
        assert client.hear() == (OWN_TOPIC, b"zero", mqtt.QoS.AT_MOST_ONCE)
        client.publish(OWN_TOPIC, b"one" * 10_000)
        assert client.hear() == (OWN_TOPIC, b"one" * 10_000, mqtt.QoS.AT_LEAST_ONCE)
        client.publish(f"gateways/{THING}/once/more", b"")
        assert client.hear() == (f"gateways/{THING}/once/more", b"", mqtt.QoS.AT_MOST_ONCE)
        client.connection.unsubscribe(OWN_TOPIC)[0].result(PATIENCE)
        client.publish(OWN_TOPIC)
        client.publish(f"gateways/{THING}/once/last")
        assert client.hear()[0] == f"gateways/{THING}/once/last"
        assert client.interrupted.empty()
    wait_for_live(local, 0)
    assert [session.end for session in local.front.log.sessions] == ["closed"]


def test_both_versions_hear_each_other(local: LocalCloud, cloud: Cloud) -> None:
    """The older one without the properties that it does not know."""
    identity = device(cloud)
    with OldSdk(local, identity.pair) as older, Sdk(local, identity.pair, AGENT) as newer:
        newer.wait_connected()
        older.subscribe(f"gateways/{THING}/down")
        newer.subscribe(f"gateways/{THING}/up")
        older.publish(f"gateways/{THING}/up", b"21.5")
        heard = newer.messages.get(timeout=PATIENCE).publish_packet
        assert (heard.topic, heard.payload, heard.qos) == (f"gateways/{THING}/up", b"21.5", sdk.QoS.AT_LEAST_ONCE)
        packet = sdk.PublishPacket(
            topic=f"gateways/{THING}/down",
            payload=b"set",
            qos=sdk.QoS.AT_LEAST_ONCE,
            content_type="text/plain",
            user_properties=[sdk.UserProperty(name="n" * 100, value="v" * 100)],
        )
        newer.client.publish(packet).result(PATIENCE)
        assert older.hear() == (f"gateways/{THING}/down", b"set", mqtt.QoS.AT_LEAST_ONCE)


def test_a_session_of_the_older_sdk_outlives_its_connection(local: LocalCloud, cloud: Cloud) -> None:
    """Unless it is a clean one: what was published meanwhile with QoS 1 comes afterwards."""
    identity = device(cloud)
    client = OldSdk(local, identity.pair, clean_session=False)
    assert client.connect() is False
    client.subscribe(OWN_TOPIC)
    client.disconnect()
    with OldSdk(local, identity.pair, AGENT) as other:
        other.publish(OWN_TOPIC, b"meanwhile")
    again = OldSdk(local, identity.pair, clean_session=False)
    again.connection.on_message(again._hear)
    assert again.connect() is True
    assert again.hear() == (OWN_TOPIC, b"meanwhile", mqtt.QoS.AT_LEAST_ONCE)
    again.disconnect()
    clean = OldSdk(local, identity.pair)
    assert clean.connect() is False
    clean.disconnect()


def test_the_will_of_the_older_sdk_is_published(local: LocalCloud, cloud: Cloud) -> None:
    """When its connection is cut; a will to another gateway's topic is refused."""
    victim, identity = device(cloud), device(cloud)
    will = mqtt.Will(OWN_TOPIC, mqtt.QoS.AT_LEAST_ONCE, b"gone", retain=False)
    with OldSdk(local, identity.pair, AGENT) as witness:
        witness.subscribe(OWN_TOPIC)
        with OldSdk(local, victim.pair, will=will) as cut:
            local.revoke(victim.certificate_id)
            assert cut.wait_for_hang_up() == HUNG_UP
            assert witness.hear() == (OWN_TOPIC, b"gone", mqtt.QoS.AT_LEAST_ONCE)
    foreign = mqtt.Will("gateways/gw-2/data", mqtt.QoS.AT_LEAST_ONCE, b"gone", retain=False)
    with pytest.raises(AwsCrtError, match=REFUSED):
        OldSdk(local, identity.pair, will=foreign).connect()


def test_the_older_sdk_asks_the_cloud_and_hears_what_it_says(local: LocalCloud, cloud: Cloud) -> None:
    """Replies to a request, and what the cloud says by itself."""
    with OldSdk(local, device(cloud).pair) as client:
        client.subscribe(f"{SHADOW}/get/+")
        client.subscribe(NOTIFY)
        client.publish(f"{SHADOW}/get", b"")
        topic, payload, _ = client.hear()
        assert (topic, json.loads(payload)["code"]) == (f"{SHADOW}/get/rejected", 404)
        cloud.create_job(THING, json.dumps(ROTATE).encode())
        assert client.hear()[0] == NOTIFY


def test_a_refused_connect_has_a_return_code_of_mqtt_3_1_1(
    local: LocalCloud, cloud: Cloud, wire: Callable[..., Wire]
) -> None:
    """Then the connection ends; the older SDK has one error for all of them."""
    identity = device(cloud)
    for client_id, effect, code in [
        ("another-client", None, 5),
        (THING, Effect.UNAUTHORISED, 5),
        (THING, Effect.UNAVAILABLE, 3),
        (THING, Effect.THROTTLE, 3),
        ("x" * 129, None, 2),
        ("", None, 2),
    ]:
        if effect:
            cloud.faults.add(Fault(operation=Operation.CONNECT, effect=effect))
        client = wire(identity)
        client.send(old_connect(client_id))
        assert client.exactly(4) == bytes([0x20, 2, 0, code])
        assert client.rest() == []
    with pytest.raises(AwsCrtError, match=REFUSED):
        OldSdk(local, identity.pair, "another-client").connect()


def test_the_older_sdk_calls_an_inactive_certificate_an_unexpected_hang_up(local: LocalCloud, cloud: Cloud) -> None:
    """As the newer one does."""
    client = OldSdk(local, device(cloud, status=Status.INACTIVE).pair)
    with pytest.raises(AwsCrtError, match=HUNG_UP):
        client.connect()
    assert client.failed.get(timeout=PATIENCE).name == HUNG_UP


def test_a_forbidden_filter_is_an_error_of_the_older_sdk(local: LocalCloud, cloud: Cloud) -> None:
    """Whichever part would handle it; the connection stays."""
    with OldSdk(local, device(cloud).pair) as client:
        for topic in ("gateways/gw-2/data", "$aws/things/gw-2/shadow/name/certificate/get", "#"):
            with pytest.raises(mqtt.SubscribeError):
                client.subscribe(topic)
        client.publish(OWN_TOPIC)
        assert client.interrupted.empty()


def test_a_refused_subscribe_has_0x80_for_each_filter(wire: Callable[..., Wire]) -> None:
    """One forbidden filter, or one too many, fails all in the packet."""
    client = connected(wire())
    client.send(old_subscribe(OWN_TOPIC, "#", ACCEPTED))
    assert client.exactly(7) == b"\x90\x05\x00\x07\x80\x80\x80"
    client.send(old_subscribe(*[OWN_TOPIC] * (MAX_FILTERS + 1), packet_id=8))
    assert client.exactly(4 + MAX_FILTERS + 1) == b"\x90\x0b\x00\x08" + b"\x80" * (MAX_FILTERS + 1)
    client.send(old_subscribe(OWN_TOPIC, ACCEPTED, packet_id=9))
    assert client.exactly(6) == b"\x90\x04\x00\x09\x01\x01"


@pytest.mark.parametrize("qos", [mqtt.QoS.AT_MOST_ONCE, mqtt.QoS.AT_LEAST_ONCE])
def test_a_forbidden_publish_hangs_up_on_the_older_sdk(qos: mqtt.QoS, local: LocalCloud, cloud: Cloud) -> None:
    """MQTT 3.1.1 has no other way to say so, whichever part would handle the topic; there is no PUBACK."""
    identity = device(cloud)
    for topic in ("gateways/gw-2/data", "$aws/things/gw-2/shadow/name/certificate/get"):
        with OldSdk(local, identity.pair) as client:
            sent, _ = client.connection.publish(topic, b"{}", qos)
            assert client.wait_for_hang_up() == HUNG_UP
            assert qos == mqtt.QoS.AT_MOST_ONCE or sent.exception(PATIENCE) is not None
    assert [session.end for session in local.front.log.sessions] == ["hung-up", "hung-up"]


def test_an_offence_in_mqtt_3_1_1_is_hung_up_on_without_a_word(cloud: Cloud, wire: Callable[..., Wire]) -> None:
    """No DISCONNECT, which only a client says in this version."""
    identity = device(cloud)
    for offence in [
        old_publish("gateways/gw-2/data", 1),
        old_publish(OWN_TOPIC, 1, first=0x34),  # QoS 2
        old_publish("", 1),
        old_connect(),
        old_subscribe(OWN_TOPIC, options=0x05),  # an option of MQTT 5
        subscribe(OWN_TOPIC).write(),
        b"\x30\x00",
        b"\x82\x00",
        b"\xf0\x00",  # AUTH, which MQTT 3.1.1 does not have
    ]:
        client = connected(wire(identity))
        client.send(offence)
        assert client.rest() == []


def test_a_revoked_certificate_gets_no_puback_in_mqtt_3_1_1(cloud: Cloud, wire: Callable[..., Wire]) -> None:
    """Each packet is judged, even before the connection is cut."""
    identity = device(cloud)
    client = connected(wire(identity))
    cloud.set_status(identity.certificate_id, Status.REVOKED)
    client.send(old_subscribe(OWN_TOPIC), old_publish(OWN_TOPIC, 1))
    assert client.exactly(5) == b"\x90\x03\x00\x07\x80"
    assert client.rest() == []


def test_more_publishes_at_once_than_the_broker_told_it_may_send_are_acknowledged(wire: Callable[..., Wire]) -> None:
    """A client of MQTT 3.1.1 is not told the broker's limit, and AWS takes a hundred from it."""
    client = connected(wire())
    client.send(*(old_publish(OWN_TOPIC, packet_id) for packet_id in range(1, 101)))
    assert client.exactly(400) == b"".join(b"\x40\x02\x00" + bytes([packet_id]) for packet_id in range(1, 101))


def test_the_largest_publish_of_mqtt_3_1_1_costs_its_own_connection_only(
    cloud: Cloud, wire: Callable[..., Wire]
) -> None:
    """In MQTT 5 it is one byte too large for those who would hear it."""
    identity = device(cloud)
    neighbour = listener(wire(identity), AGENT, OWN_TOPIC)
    client = connected(wire(identity))
    with suppress(ConnectionError):
        client.send(old_publish(OWN_TOPIC, 1, b"x" * (MAX_PACKET - len(OWN_TOPIC) - 4)))
    assert client.rest() == []
    neighbour.send(publish(OWN_TOPIC, b"still here"))
    assert isinstance(neighbour.receive(), mqtt5.PublishPacket | mqtt5.PubAckPacket)


@pytest.mark.parametrize("newcomer", [OldSdk, Sdk])
def test_a_takeover_hangs_up_on_the_older_sdk(
    newcomer: type[OldSdk | Sdk], local: LocalCloud, cloud: Cloud, wire: Callable[..., Wire]
) -> None:
    """Whichever version the newcomer speaks; the one that was there is told nothing."""
    identity = device(cloud)
    with OldSdk(local, identity.pair) as victim:
        with newcomer(local, identity.pair, THING):
            assert victim.wait_for_hang_up() == HUNG_UP
            wait_for_live(local, 1)
            first, second = local.front.log.sessions
            assert (first.end, second.end) == ("taken-over", "")
        wait_for_live(local, 0)
    raw = connected(wire(identity))
    connected(wire(identity))
    assert raw.rest() == []


def test_the_older_sdk_takes_over_from_the_newer_one(local: LocalCloud, cloud: Cloud) -> None:
    """Which is told 0x8E in its own version."""
    identity = device(cloud)
    with Sdk(local, identity.pair, THING) as victim:
        victim.wait_connected()
        with OldSdk(local, identity.pair) as newcomer:
            farewell = victim.disconnected.get(timeout=PATIENCE)
            victim.client.stop()
            wait_for_live(local, 1)
            newcomer.publish(OWN_TOPIC)
    assert farewell.disconnect_packet.reason_code == sdk.DisconnectReasonCode.SESSION_TAKEN_OVER


def test_revocation_cuts_the_older_sdk_and_no_other(local: LocalCloud, cloud: Cloud) -> None:
    """It sees an unexpected hang-up and cannot come back; the neighbour stays."""
    victim, neighbour = device(cloud), device(cloud, thing="gw-2")
    with OldSdk(local, victim.pair) as cut, OldSdk(local, neighbour.pair, "gw-2") as stays:
        local.revoke(victim.certificate_id)
        assert cut.wait_for_hang_up() == HUNG_UP
        with pytest.raises(AwsCrtError, match=HUNG_UP):
            OldSdk(local, victim.pair).connect()
        stays.publish("gateways/gw-2/data")
        assert [live.certificate_id for live in local.front.live] == [neighbour.certificate_id]
        assert [session.end for session in local.front.log.sessions] == ["cut", ""]
