"""The daemon when things go wrong: killed, locked out, refused, cut off, and doubled."""

from __future__ import annotations

import random
from contextlib import closing
from datetime import timedelta
from time import monotonic
from typing import TYPE_CHECKING

import pytest

from agent.config.reader import load
from agent.core.change.lifecycle import Phase
from agent.core.values import Candidate, Kind, Origin
from agent.iotcore.broker import Broker
from agent.iotcore.client_options import Connector, Timeouts
from agent.sandbox.cloud import Status
from agent.sandbox.network.sessions import SessionEnd
from agent.sandbox.replies.faults import Operation
from agent.store.store import Store
from support.running.daemon import CLIENT_ID, THING, RunningDaemon, origins
from support.suite import campaigns

if TYPE_CHECKING:
    from support.running.gateway import Gateway

AWAY = 30.0  # seconds; the design's own: a taken-over connection is not won back earlier


def statuses(gateway: Gateway) -> list[Status]:
    """Return the states of the thing's certificates, oldest first."""
    return [entry.status for entry in gateway.cloud.certificates_of(THING)]


# -- killed ------------------------------------------------------------------------------------------------------------


# What the log says at each step of a rotation, for picking a moment.
MOMENTS = [
    "rotate planned",
    "A new private key is ready",
    "The cloud is asked for a certificate",
    "The certificate has come",
    "The certificate is registered",
    "is written",
    "connects and its request is answered",
    "is current",
    "On probation until",
    "held through probation",
]


def the_application_connects(gateway: Gateway) -> None:
    """Connect as the gateway's application does: with whatever is current, under its own client id."""
    config = load(gateway.config)
    with Store(gateway.state) as store:
        found = store.generation(store.current() or 0)
    candidate = Candidate(
        name="the application", credential=found.credential, trust=found.trust, client_id=THING, thing_name=THING
    )
    with closing(Broker(lambda: Connector(config.target, Timeouts())).connect(candidate)) as session:
        session.ask()


def strike(daemon: RunningDaemon, moment: str, chance: random.Random) -> None:
    """Kill the daemon, its worker, or both at once, soon after its log has said something."""
    after = len(daemon.said())
    daemon.ask("rotate", no_wait=True, reason="to be killed")
    daemon.until_said(moment, after)
    daemon.through(chance.uniform(0, 0.3), lambda: True, "nothing")
    victims = chance.choices(("daemon", "both", "worker"), (5, 4, 1))[0]
    if victims != "daemon":
        daemon.kill_worker()
    if victims != "worker":
        daemon.kill()
        daemon.start()


def test_rotations_go_on_through_kills_at_random_moments(enrolled: Gateway) -> None:
    """Whatever is killed and when: the set in use works at every look, and a kill costs one certificate at most."""
    enrolled.rotation(grace="0s", daily_limit="1000")
    chance, kills = random.Random(7), 0  # noqa: S311 - the same moments in every run
    with RunningDaemon(enrolled) as daemon:
        for _ in campaigns.places(20, 7):
            daemon.until(daemon.at_rest, "rest")
            strike(daemon, chance.choice(MOMENTS), chance)
            kills += 1
            enrolled.generations()
            the_application_connects(enrolled)
            daemon.until_finished(1 + kills)
            if chance.random() < 0.3:
                daemon.until_up(1 + kills)
        daemon.until_up(1 + kills)
        left = {item["certificate_id"] for item in daemon.status()["retirements"]}
        enrolled.run("status", expect=0)
    rotations = enrolled.history()[1:]
    assert len(rotations) == kills
    assert {record.phase for record in rotations} <= {Phase.COMMITTED, Phase.RETIRED}
    assert enrolled.cloud.count(Operation.CREATE) <= 1 + len(rotations) + kills
    of_thing = enrolled.cloud.certificates_of(THING)
    assert len(of_thing) == 1 + len(rotations)
    active = {entry.certificate_id for entry in of_thing if entry.status is Status.ACTIVE}
    assert active - left == {enrolled.certificate_id()}
    assert "Another client" not in daemon.said()  # what a killed daemon leaves at work is no stranger


@pytest.mark.parametrize("operation", [pytest.param(Operation.CREATE, marks=pytest.mark.whole), Operation.REGISTER])
def test_what_a_killed_worker_has_asked_for_is_accounted_for_whatever_is_ordered_next(
    enrolled: Gateway, operation: Operation
) -> None:
    """The cloud has carried its request out. A reload's look goes before the change, and knows that it was cut off.

    So a request that is made again counts a second time, and a certificate that was registered is taken up: asked
    again, its token is spent, and the certificate would stay active with no key to it.
    """
    before = enrolled.cloud.count(operation)
    enrolled.order(f"fault {operation} lose")
    with RunningDaemon(enrolled) as daemon:
        daemon.until_up(1)
        daemon.ask("rotate", no_wait=True)
        daemon.until(lambda: enrolled.cloud.count(operation) > before, "the request")
        daemon.reload()
        daemon.until_said("The configuration was read again.")
        for entry in enrolled.cloud.certificates_of(THING):
            entry.token = None  # spent
        assert daemon.kill_worker()
        daemon.until_up(2)
        daemon.until_finished(1)
    record = enrolled.history()[-1]
    assert record.phase is Phase.COMMITTED
    assert len(record.requests) == enrolled.cloud.count(Operation.CREATE) - 1
    assert len(statuses(enrolled)) == 2
    assert (record.replaces, enrolled.certificate_id()) == tuple(
        entry.certificate_id for entry in enrolled.cloud.certificates_of(THING)
    )


def test_a_new_daemon_leaves_the_client_id_to_the_worker_of_the_one_that_was_killed(enrolled: Gateway) -> None:
    """The worker ends its step and goes; to cut it off would cost the answer it waits for."""
    enrolled.expect_silence()
    enrolled.order("fault register ignore")
    with RunningDaemon(enrolled) as daemon:
        daemon.until_up(1)
        daemon.ask("rotate", no_wait=True)
        daemon.until_said("The certificate has come")
        session = enrolled.service.front.log.sessions[-1]
        daemon.kill()
        daemon.start()
        daemon.until_up(2)
    assert session.end == SessionEnd.CLOSED
    assert enrolled.cloud.count(Operation.CREATE) == 2


# -- refused -----------------------------------------------------------------------------------------------------------


def test_a_gateway_whose_certificates_are_refused_helps_itself(enrolled: Gateway) -> None:
    """The ladder goes by way of the previous set, and at last of the claim; no person is needed."""
    enrolled.run("rotate", expect=0)
    with RunningDaemon(enrolled) as daemon:
        daemon.until_up(2)
        one_that_is_not_accepted_any_more_is_found_by_check_while_its_connection_lives_on(enrolled, daemon)
        one_that_is_revoked_is_replaced_by_way_of_the_previous_set(enrolled, daemon)
        where_every_one_is_revoked_it_enrols_anew(enrolled, daemon)
    assert {record.phase for record in enrolled.history()} == {Phase.COMMITTED}
    assert enrolled.cloud.count(Operation.CREATE) == 5


BY_THE_PREVIOUS_SET = [(Kind.ROLLBACK, Origin.LADDER), (Kind.ROTATE, Origin.LADDER)]


def one_that_is_not_accepted_any_more_is_found_by_check_while_its_connection_lives_on(
    gateway: Gateway, daemon: RunningDaemon
) -> None:
    """The broker keeps the connection; the doctor's new one is refused, and the daemon helps itself."""
    gateway.cloud.set_status(gateway.cloud.certificates_of(THING)[1].certificate_id, Status.INACTIVE)
    assert "hangs up on this certificate" in gateway.run("check").out
    daemon.until_finished(4)
    daemon.until_up(3)
    assert origins(gateway)[2:] == BY_THE_PREVIOUS_SET


def one_that_is_revoked_is_replaced_by_way_of_the_previous_set(gateway: Gateway, daemon: RunningDaemon) -> None:
    """The ladder puts that one back and rotates from there."""
    gateway.order("revoke current")
    daemon.until_finished(6)
    daemon.until_up(4)
    assert gateway.run("status").code == 0
    assert origins(gateway)[4:] == BY_THE_PREVIOUS_SET
    assert statuses(gateway) == [Status.ACTIVE, Status.INACTIVE, Status.REVOKED, Status.ACTIVE]
    assert gateway.generations() == (4, 1)


def where_every_one_is_revoked_it_enrols_anew(gateway: Gateway, daemon: RunningDaemon) -> None:
    """The ladder's last rung is the claim certificate; it makes the same thing's gateway out of it again."""
    for entry in gateway.cloud.certificates_of(THING):
        gateway.service.revoke(entry.certificate_id)
    daemon.until_finished(7)
    daemon.until_up(5)
    assert origins(gateway)[6:] == [(Kind.ENROLL, Origin.LADDER)]
    assert statuses(gateway) == [Status.REVOKED] * 4 + [Status.ACTIVE]


@pytest.mark.whole
def test_a_certificate_revoked_on_probation_is_rolled_back(enrolled: Gateway) -> None:
    """The daemon itself is connected with it when it is revoked; the set before is put back and connected again."""
    enrolled.rotation(probation="4s")
    with RunningDaemon(enrolled) as daemon:
        daemon.until_up(1)
        enrolled.run("rotate", "--no-wait", expect=0)
        daemon.until_phase("deployed")
        daemon.until(lambda: daemon.live() == [enrolled.cloud.certificates_of(THING)[1].certificate_id], "new session")
        enrolled.order("revoke current")
        daemon.until_finished(2)
        daemon.until_up(1)
        assert "was rolled back" in enrolled.run("status", expect=1).out
    assert enrolled.history()[-1].phase is Phase.ROLLED_BACK
    assert enrolled.generations() == (1, None)
    assert (enrolled.state / "generations" / "000002.rejected").is_dir()
    assert enrolled.cloud.count(Operation.CREATE) == 2


def test_a_set_on_probation_that_is_refused_is_left_long_before_its_next_proof_is_due(enrolled: Gateway) -> None:
    """By the defaults the next proof is a minute away and patience with a refusal another; neither is waited for."""
    enrolled.rotation(probation="10m", refusal_patience="1m")
    with RunningDaemon(enrolled) as daemon:
        daemon.until_up(1)
        enrolled.service.front.log.rushed.clear()  # the daemon knows nothing of the command that enrolled just before
        enrolled.run("rotate", "--no-wait", expect=0)
        daemon.until_up(2)
        refused = enrolled.certificate_id()
        enrolled.order("deactivate current")
        enrolled.service.disconnect(refused)
        daemon.until_finished(2)
        daemon.until_up(1)
        assert "was rolled back" in enrolled.run("status", expect=1).out
    ended = enrolled.history()[-1]
    assert ended.phase is Phase.ROLLED_BACK
    assert ended.failure is not None
    assert "Generation 1 is accepted over the same path." in ended.failure.message
    assert "the set is proven now" in daemon.said()
    assert ended.refusals == 1  # and the one that condemned it; a minute's patience takes more
    assert enrolled.generations() == (1, None)
    assert (enrolled.state / "generations" / "000002.rejected").is_dir()
    assert enrolled.cloud.count(Operation.CREATE) == 2
    assert enrolled.service.front.log.rushed == []


# -- cut off -----------------------------------------------------------------------------------------------------------


def test_a_broker_that_is_away_through_the_whole_window_costs_nothing(gateway: Gateway) -> None:
    """Nothing is asked for, nothing is undone; the same change is carried out as soon as the broker is back."""
    enrolled = gateway
    enrolled.cloud.provisioning.lifetime = timedelta(
        minutes=4
    )  # so that a rotation may follow six seconds after the enrolment
    enrolled.rotation(max_age="1s", before_expiry="10s", window="1s", daily_limit="2")
    enrolled.run("enroll", expect=0)
    enrolled.run("pause", "1h", expect=0)
    with RunningDaemon(enrolled) as daemon:
        daemon.until_up(1)
        enrolled.service.take_down()
        daemon.until(lambda: daemon.connection == "down", "end of the session")
        daemon.until(lambda: "hung up" not in daemon.published()["connection"]["why"], "failed try to connect")
        daemon.ask("resume")
        daemon.until(lambda: (daemon.published().get("change") or {}).get("attempts", 0) > 1, "second failed try")
        change = daemon.published()["change"]
        assert (change["kind"], change["failure"]["code"]) == ("rotate", "unreachable")
        assert enrolled.generations() == (1, None)
        assert enrolled.cloud.count(Operation.CREATE) == 1
        enrolled.service.bring_up()
        daemon.until_finished(2)
        daemon.until_up(2)
        assert "ladder" not in daemon.said()  # that no server is there says nothing against the set in use
    assert (enrolled.history()[-1].id, enrolled.history()[-1].phase) == (change["id"], Phase.COMMITTED)
    assert enrolled.cloud.count(Operation.CREATE) == 2


# -- doubled -----------------------------------------------------------------------------------------------------------


def test_two_agents_with_one_client_id_do_not_fight(enrolled: Gateway) -> None:
    """The one that lost its session says so and keeps away for half a minute at least, however busy the machine is."""
    twin, sessions = enrolled.twin(), enrolled.service.front.log.sessions
    with RunningDaemon(enrolled) as first:
        first.until_up(1)
        before, begun = len(sessions), monotonic()
        with RunningDaemon(twin) as second:
            second.until_up(1)
            first.until(lambda: first.connection == "taken-over", "word of the takeover")
            assert f"Another client connected as {CLIENT_ID}" in enrolled.run("status", expect=1).out
            first.reload()  # which is no reason to try, nor is anything else that passes meanwhile
            first.until(lambda: len(sessions) > before + 1, "another attempt")
            assert monotonic() - begun >= AWAY
