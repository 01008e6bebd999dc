"""Hands on the set in use while a daemon runs: adopted, undone, waited for, and seen at once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from agent.core.values import Kind, Origin
from agent.sandbox.account.authority import AWS_NOT_AFTER, KeyPair, fingerprint, key_to_pem, name
from agent.sandbox.account.policies import GATEWAY
from agent.sandbox.cloud import Status
from agent.sandbox.replies.faults import Operation
from support.running.daemon import THING, RunningDaemon, origins
from support.suite import campaigns

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.running.gateway import Gateway


def made_by_hand(gateway: Gateway) -> tuple[KeyPair, str]:
    """Return a key with an active certificate of this thing, as a technician gets them in the console, and its id."""
    key = ec.generate_private_key(ec.SECP256R1())
    cloud = gateway.cloud
    start = datetime.now(UTC) - timedelta(minutes=2)
    certificate = cloud.authority.issue_client(name(THING), key.public_key(), start, AWS_NOT_AFTER)
    entry = cloud.registry.add(certificate, Status.ACTIVE)
    entry.thing_name, entry.policies = THING, [GATEWAY]
    pem = certificate.public_bytes(Encoding.PEM)
    return KeyPair(key_pem=key_to_pem(key), certificate_pem=pem), fingerprint(certificate)


def put_in_place(gateway: Gateway, pair: KeyPair) -> None:
    """Copy key and certificate over those of the current generation."""
    directory = (gateway.state / "current").resolve()
    (directory / "key.pem").write_bytes(pair.key_pem)
    (directory / "certificate.pem").write_bytes(pair.certificate_pem)


def test_a_set_replaced_by_hand_is_adopted_once_it_is_proven(enrolled: Gateway) -> None:
    """It becomes a generation of its own; nothing is asked of the cloud for it."""
    pair, certificate_id = made_by_hand(enrolled)
    with RunningDaemon(enrolled) as daemon:
        daemon.until_up(1)
        put_in_place(enrolled, pair)
        daemon.reload()
        daemon.until_up(2)
        assert enrolled.run("status").code == 0
    assert enrolled.certificate_id() == certificate_id
    assert origins(enrolled)[1:] == [(Kind.IMPORT, Origin.TECHNICIAN)]
    assert enrolled.cloud.count(Operation.CREATE) == 1


def test_a_set_replaced_by_hand_is_undone_where_that_is_configured(enrolled: Gateway) -> None:
    """The previous set is put back, and the gateway connects with it."""
    enrolled.run("rotate", expect=0)
    enrolled.rotation(replaced_by_hand="restore")
    pair, certificate_id = made_by_hand(enrolled)
    with RunningDaemon(enrolled) as daemon:
        daemon.until_up(2)
        put_in_place(enrolled, pair)
        daemon.reload()
        daemon.until_up(1)
    assert enrolled.certificate_id() == enrolled.cloud.certificates_of(THING)[0].certificate_id
    assert len(enrolled.history()) == 2
    assert certificate_id not in {session.certificate_id for session in enrolled.service.front.log.sessions}


def test_half_of_a_set_by_hand_is_waited_for(enrolled: Gateway) -> None:
    """A person copies the key, and the certificate a few seconds later; nothing is undone in between."""
    pair, certificate_id = made_by_hand(enrolled)
    directory = (enrolled.state / "current").resolve()
    with RunningDaemon(enrolled) as daemon:
        daemon.until_up(1)
        (directory / "key.pem").write_bytes(pair.key_pem)
        daemon.until(lambda: daemon.published()["exit"] == 3 and not daemon.live(), "word of the damage")
        daemon.through(4, lambda: enrolled.generations_link() == 1 and not daemon.live(), "the wait")
        (directory / "certificate.pem").write_bytes(pair.certificate_pem)
        daemon.until_up(2)
    assert enrolled.certificate_id() == certificate_id
    assert origins(enrolled)[1:] == [(Kind.IMPORT, Origin.TECHNICIAN)]
    assert enrolled.cloud.count(Operation.CREATE) == 1


def remove_key(gateway: Gateway) -> None:
    """Delete the key that is in use."""
    (gateway.state / "current" / "key.pem").unlink()


def flip(gateway: Gateway) -> None:
    """Point `current` at the generation before, as another program might."""
    (gateway.state / "current").unlink()
    (gateway.state / "current").symlink_to("generations/000001")


def remove_generation(gateway: Gateway) -> None:
    """Move the generation that is in use out of the way."""
    (gateway.state / "current").resolve().rename(gateway.directory / "aside")


@pytest.mark.parametrize("touch", campaigns.take([remove_key, flip, remove_generation], 3))
def test_a_hand_on_the_set_in_use_is_seen_at_once(enrolled: Gateway, touch: Callable[[Gateway], None]) -> None:
    """Nothing else tells the daemon; the set before is in use a few seconds later, on disk and on the wire."""
    enrolled.run("rotate", expect=0)
    with RunningDaemon(enrolled) as daemon:
        daemon.until_up(2)
        touch(enrolled)
        daemon.until_up(1)
    assert enrolled.generations_link() == 1
    assert enrolled.cloud.count(Operation.CREATE) == 2


@pytest.mark.whole
def test_a_set_that_is_damaged_sends_the_gateway_up_the_ladder_at_once(enrolled: Gateway) -> None:
    """There is no other set: nothing says ok any more, and the claim certificate enrols the gateway anew."""
    with RunningDaemon(enrolled) as daemon:
        daemon.until_up(1)
        (enrolled.state / "current" / "key.pem").write_text("nonsense")
        daemon.until(lambda: daemon.published()["exit"] == 3, "word of the damage")
        daemon.until_up(2)
        enrolled.run("status", expect=0)
    assert origins(enrolled)[1:] == [(Kind.ENROLL, Origin.LADDER)]


def test_reading_a_set_is_no_hand_on_it(enrolled: Gateway) -> None:
    """A backup reads everything; no worker is started for that, nor by the look that a real change has caused."""
    with RunningDaemon(enrolled) as daemon:
        daemon.until_up(1)
        for path in enrolled.state.rglob("*"):
            if path.is_file():
                path.read_bytes()
        daemon.through(4, lambda: not daemon.workers(), "idleness")
        (enrolled.state / "current" / "key.pem").chmod(0o640)
        daemon.until(daemon.workers, "look")
        daemon.until(lambda: not daemon.workers(), "end of the look")
        daemon.through(5, lambda: not daemon.workers(), "idleness")
        daemon.until_up(1)
