"""A gateway that has much of everything: anchors as a browser has them, and hundreds of watched stores."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from agent.core.report.seen import MAX_WATCHED
from agent.sandbox.account.authority import Authority
from support.make import NOW
from support.running.daemon import RunningDaemon

if TYPE_CHECKING:
    from pathlib import Path

    from support.running.gateway import Gateway

ANCHORS, WATCHED = 300, 500


@pytest.fixture(name="laden")
def _laden(gateway: Gateway, tmp_path: Path) -> Gateway:
    """It is enrolled with all of the anchors, and watches as many stores."""
    pems = [Authority(f"Public root {number} of a trust service", NOW).pem for number in range(ANCHORS - 1)]
    anchors = gateway.directory / "roots.pem"
    anchors.write_bytes(anchors.read_bytes() + b"".join(pems))
    stores = tmp_path / "stores"
    stores.mkdir()
    for number in range(WATCHED):
        (stores / f"{number}.pem").write_bytes(b"".join(pems[:MAX_WATCHED]))
    entries = "".join(f"  - path: {stores}/{number}.pem\n" for number in range(WATCHED))
    gateway.config.write_text(f"{gateway.config.read_text()}watch:\n{entries}")
    gateway.enroll()
    return gateway


def test_the_daemon_of_a_laden_gateway_connects_and_tells(laden: Gateway) -> None:
    """None of it is too long for the daemon to hear of, or for a client to be told."""
    with RunningDaemon(laden) as daemon:
        daemon.until_up(1)
        told = json.loads(laden.run("status", "--json").out)
        assert told["connection"]["state"] == "up"
        assert len(told["current"]["anchors"]) == ANCHORS
        assert [item["certificates"] for item in told["watched"]] == [MAX_WATCHED] * WATCHED
        assert "connection   up" in laden.run("status").out


@pytest.mark.whole
def test_the_daemon_of_a_laden_gateway_rotates(laden: Gateway) -> None:
    """What its worker tells at the end is as long as a look."""
    with RunningDaemon(laden) as daemon:
        daemon.until_up(1)
        laden.run("rotate", "--reason", "a visit", expect=0)
        daemon.until_up(2)
