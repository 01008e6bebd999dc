"""An application beside the agent: it keeps its connection, and where both have one client id the agent yields."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from agent.core.when.reconnect import BRIEF_ONES
from support.running.application import Application
from support.running.daemon import RunningDaemon

if TYPE_CHECKING:
    from support.running.gateway import Gateway

THING = "gw-0042"
QUIET = 5.0  # seconds, in which a connection of a check or a rehearsal would long have been counted


def share_id(gateway: Gateway) -> None:
    """Give the agent the client id that applications have."""
    gateway.configure({"vouched_clock: true ": 'client_id: "{thing}"\nvouched_clock: true '})


def test_beside_an_agent_with_an_id_of_its_own_an_application_loses_no_connection(enrolled: Gateway) -> None:
    """Whatever the agent does: look, rehearse, rotate, go back, be started and stopped."""
    with Application(enrolled, THING) as application:
        enrolled.run("check", "connect", expect=0)
        enrolled.run("rotate", "--dry-run", expect=0)
        with RunningDaemon(enrolled) as daemon:
            daemon.until_up(1)
            enrolled.run("check", "connect", "permissions", expect=0)
            enrolled.run("rotate", "--dry-run", expect=0)
            enrolled.run("rotate", expect=0)
            daemon.until_up(2)
            enrolled.run("rollback", expect=0)
            daemon.until_up(1)
        assert application.connected
        assert application.disconnects == 0


def connections(daemon: RunningDaemon) -> int:
    """Return how often the daemon has connected so far: for itself, and for its ladder when it doubted the set."""
    return sum(daemon.said().count(words) for words in ("Connected with generation", "set is accepted"))


# A word of the takeover is believed at once; without one, three connections in a row that are hung up on are.
@pytest.mark.parametrize(
    ("told", "why"),
    [
        pytest.param(True, f"Another client connected as {THING}", id="told"),
        pytest.param(
            *(False, f"{BRIEF_ONES} connections in a row came up as {THING}"), id="hung up on", marks=pytest.mark.whole
        ),
    ],
)
def test_an_application_with_the_agents_id_is_left_alone_after_a_few_connections(
    enrolled: Gateway, *, told: bool, why: str
) -> None:
    """Once the daemon knows, neither it nor a check nor a rehearsal costs the application its connection again.

    Each loss is one of the connections of which the daemon tells, however many a busy machine makes of them.
    """
    enrolled.service.front.tells_takeovers = told
    share_id(enrolled)
    with Application(enrolled, THING) as application, RunningDaemon(enrolled) as daemon:
        daemon.until(lambda: daemon.connection == "taken-over", "word of the takeover")
        daemon.until(lambda: application.connected and not daemon.workers(), "the application's connection")
        daemon.until_said(why)
        assert 'iot_cert_connection{state="taken-over"} 1' in (daemon.runtime / "metrics.prom").read_text()
        assert 1 <= application.disconnects <= connections(daemon)
        checked = enrolled.run("check", "--json", expect=1)
        lines = {line["check"]: line for line in checked.events if line["event"] == "line"}
        assert (lines["connect"]["verdict"], lines["connect"]["code"]) == ("failure", "taken-over")
        assert lines["permissions"]["verdict"] == "skipped"
        assert lines["configuration"]["code"] == "client-id-shared"
        refused = enrolled.run("rotate", "--dry-run", expect=4)
        assert "would connect, and end that one's connection" in refused.err
        assert "every client needs an id of its own" in enrolled.run("status", expect=1).out
        daemon.through(QUIET, lambda: daemon.process.poll() is None, "the daemon")
        daemon.until(lambda: application.disconnects <= connections(daemon), "connection of its own for each loss")


def test_a_change_that_a_person_orders_says_what_it_costs_the_application(enrolled: Gateway) -> None:
    """It is made; the line comes before anything connects."""
    share_id(enrolled)
    with RunningDaemon(enrolled) as daemon, Application(enrolled, THING):
        daemon.until(lambda: daemon.connection == "taken-over", "word of the takeover")
        said = enrolled.run("rotate", "--no-wait", expect=0).out
        assert said.index("ends that one's connection") < said.index("goes on in the daemon")


def test_with_an_id_of_its_own_the_agent_is_back_at_once(enrolled: Gateway) -> None:
    """The operator corrects the configuration: nothing is remembered of the other client."""
    share_id(enrolled)
    with Application(enrolled, THING) as application, RunningDaemon(enrolled) as daemon:
        daemon.until(lambda: daemon.connection == "taken-over", "word of the takeover")
        enrolled.configure({'client_id: "{thing}"\n': ""})
        daemon.reload()
        daemon.until_up(1)
        lost = application.disconnects
        enrolled.run("check", "connect", "permissions", expect=0)
        enrolled.run("status", expect=0)
        assert application.disconnects == lost
