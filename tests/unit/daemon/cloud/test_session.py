"""What the session does about a connection that ends: on a clock that the test moves, with links that only obey."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import pytest

from agent.core.failure import failures
from agent.core.when.reconnect import STEADY
from agent.iotcore.client_options import STOP_TIMEOUT
from support.running.office import HandClock
from support.unit.daemon.session import Connector, ObedientLink, SessionScene

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


MODULE = "agent.daemon.cloud.session"


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SessionScene]:
    """Give a session that has something to connect with."""
    clock = HandClock()

    class SceneLink(ObedientLink):
        made: ClassVar[list[ObedientLink]] = []

    for module in (MODULE, "agent.daemon.loop"):
        monkeypatch.setattr(f"{module}.monotonic", clock)
    monkeypatch.setattr(f"{MODULE}.Link", SceneLink)
    for name in ("key.pem", "certificate.pem", "trust.pem"):
        (tmp_path / name).write_text(name)
    made = SessionScene(tmp_path, clock, SceneLink)
    yield made
    made.loop.close()


def test_three_brief_connections_make_it_keep_away(scene: SessionScene) -> None:
    """The broker gave no reason; the sentence says what was seen and what is needed, and the ladder was asked once."""
    for _ in range(2):
        scene.brief()
        assert (scene.session.status.state, scene.session.contested) == ("down", "")
    scene.brief()

    assert scene.session.status.state == "taken-over"
    assert scene.session.status.why.startswith(
        "3 connections in a row came up as gw-0042 and were hung up on within seconds"
    )
    assert "keeps away;" in scene.session.status.why, "a delay is over when it is read"
    assert "keeps away for" in scene.diary.takeovers[0]
    assert scene.session.next_try is not None
    assert scene.diary.doubts == ["hung-up"]
    assert scene.until_tried() >= 30


def test_it_stays_contested_until_a_connection_lasts(scene: SessionScene) -> None:
    """What comes up may be taken over in the next second; after half a minute it is believed."""
    for _ in range(3):
        scene.brief()
    scene.until_tried()
    assert scene.session.status.state == "taken-over"
    scene.made[-1].come_up()

    assert scene.session.status.state == "up"
    assert scene.session.contested.endswith("every client needs an id of its own.")
    scene.pass_time(STEADY)
    assert scene.session.contested == ""


def test_a_takeover_that_the_broker_tells_of_is_believed_at_once(scene: SessionScene) -> None:
    """No ladder is asked: the certificate was accepted."""
    scene.until_tried()
    scene.made[-1].come_up()
    scene.made[-1].end(failures.lost("SESSION_TAKEN_OVER"), taken_over=True)

    assert scene.session.status.state == "taken-over"
    assert scene.session.contested == "Another client connected as gw-0042; every client needs an id of its own."
    assert scene.diary.doubts == []


def test_news_of_the_network_ends_a_wait_for_a_rival_that_was_only_concluded(scene: SessionScene) -> None:
    """A path that comes and goes looks the same; what the broker has told stands, whatever the network does."""
    for _ in range(3):
        scene.brief()
    scene.session.retry_soon()
    assert scene.until_tried() < 4
    scene.made[-1].come_up()
    scene.made[-1].end(failures.lost("SESSION_TAKEN_OVER"), taken_over=True)
    scene.session.retry_soon()
    assert scene.until_tried() >= 30


def test_a_refusal_after_a_takeover_is_looked_into(scene: SessionScene) -> None:
    """The next attempt does not come up: that is no rival's doing, and nothing is held back on account of one."""
    for _ in range(3):
        scene.brief()
    scene.until_tried()
    scene.made[-1].end(failures.hung_up())

    assert (scene.session.status.state, scene.session.contested) == ("down", "")
    assert scene.diary.doubts == ["hung-up"] * 2  # after the second and the fourth in a row


def test_under_another_client_id_the_rival_is_forgotten(scene: SessionScene) -> None:
    """The operator has given the agent one of its own: it connects at once, and says nothing of the old one."""
    for _ in range(3):
        scene.brief()
    scene.session.use(None)
    scene.use("gw-0042-cert-agent")
    assert (scene.session.status.state, scene.session.contested) == ("down", "")
    assert scene.until_tried() < 3
    assert scene.made[-1].client_id == "gw-0042-cert-agent"
    scene.made[-1].end(failures.hung_up())
    assert scene.until_tried() < 5, "the delays begin anew"


def test_another_set_under_the_same_client_id_has_the_same_rival(scene: SessionScene) -> None:
    """A new certificate does not make the other client go away."""
    for _ in range(3):
        scene.brief()
    scene.use("gw-0042", generation=2)
    scene.until_tried()
    scene.made[-1].come_up()

    assert scene.session.contested


def test_a_network_that_is_back_is_told_once_and_before_the_connection(scene: SessionScene) -> None:
    """What waits for the network is tried at once then; a refusal, or a second connection, is no such news."""
    scene.until_tried()
    scene.made[-1].end(failures.unreachable("127.0.0.1", 9, "no route to host"))
    scene.until_tried()
    scene.diary.events.clear()
    scene.made[-1].come_up()
    assert scene.diary.events == ["recovered", "connected"]
    scene.pass_time(STEADY)
    scene.made[-1].end(failures.connect_throttled("no room"))
    scene.until_tried()
    scene.diary.events.clear()
    scene.made[-1].come_up()
    assert scene.diary.events == ["connected"]


def test_an_attempt_that_is_under_way_is_given_up_for_a_worker(scene: SessionScene) -> None:
    """The worker's own CONNECT comes a second after that, at least; a connection that is up is the worker's to take."""
    scene.until_tried()
    scene.pass_time(7.0)
    opened = scene.session.open
    scene.session.suspend()
    assert (opened, scene.session.open) == (True, False)
    assert scene.session.connected_at == scene.clock.now
    scene.session.resume(scene.clock.now)
    scene.until_tried()
    scene.made[-1].come_up()
    scene.pass_time(7.0)
    scene.session.suspend()
    assert scene.session.open
    assert scene.session.connected_at == scene.clock.now - 7.0


def test_an_attempt_made_for_a_worker_that_connected_comes_sooner(scene: SessionScene) -> None:
    """It was let in, so the wait after our own failures is over; one that did not connect changes nothing."""
    for _ in range(6):
        scene.until_tried()
        scene.made[-1].end(failures.hung_up())
    scene.session.suspend()
    scene.session.resume(None)
    scene.pass_time(5)
    attempts = len(scene.made)
    scene.session.suspend()
    scene.session.resume(scene.clock.now)
    scene.until_tried()
    assert len(scene.made) == attempts + 1


def test_an_attempt_whose_end_is_never_told_holds_nothing_up(scene: SessionScene) -> None:
    """A worker was to connect, so it was given up; the SDK stays silent about it, and the worker has ended."""
    scene.until_tried()
    scene.made[-1].silent = True
    scene.session.suspend()
    scene.session.resume(None)
    assert scene.until_tried() <= STOP_TIMEOUT + 1
    scene.made[-1].come_up()
    assert scene.session.status.state == "up"


def test_a_lasting_connection_is_not_given_up_with_its_attempts_time(scene: SessionScene) -> None:
    """The timers of the attempt end beside it."""
    scene.until_tried()
    scene.made[-1].come_up()
    scene.pass_time(Connector.timeouts.connect + STOP_TIMEOUT + 1)
    assert scene.session.status.state == "up"


def test_a_session_rests_and_comes_back_by_itself(scene: SessionScene) -> None:
    """It says why until then, and that is no failure: nothing is doubted, and the next attempt starts afresh."""
    scene.until_tried()
    scene.made[-1].come_up()
    scene.pass_time(60)
    scene.session.rest(3600, "The next look is later.")
    assert (scene.session.status.state, scene.session.status.why) == ("resting", "The next look is later.")
    assert scene.made[-1].closed
    assert scene.until_tried() == pytest.approx(3600, abs=1)
    assert (scene.session.status.state, scene.session.status.why) == ("connecting", "")
    assert scene.diary.doubts == []
    assert "suspected" not in scene.diary.events


@pytest.mark.parametrize("silent", [False, True])
def test_a_session_that_rests_is_woken(scene: SessionScene, *, silent: bool) -> None:
    """Also where the SDK never says that the one before is over: then after that was given up."""
    scene.until_tried()
    scene.made[-1].come_up()
    scene.made[-1].silent = silent
    scene.pass_time(60)
    scene.session.rest(3600, "Later.")
    scene.session.wake()
    scene.pass_time(STOP_TIMEOUT + 1)
    scene.session.wake()
    scene.pass_time(5)
    assert len(scene.made) == 2


def test_a_worker_that_looks_leaves_the_rest_alone_and_one_that_connects_ends_it(scene: SessionScene) -> None:
    """What the second one did is to be told of."""
    scene.until_tried()
    scene.made[-1].come_up()
    scene.pass_time(60)
    scene.session.rest(3600, "Later.")
    scene.session.suspend()
    scene.session.resume(None)
    assert scene.session.status.state == "resting"
    scene.session.suspend()
    scene.pass_time(5)
    scene.session.resume(scene.clock.now)
    assert scene.until_tried() < 5


def test_another_set_or_another_endpoint_ends_the_rest(scene: SessionScene) -> None:
    """Whether it is accepted is seen at once."""
    scene.until_tried()
    scene.made[-1].come_up()
    scene.session.rest(3600, "Later.")
    scene.use("gw-0042", generation=2)
    assert scene.until_tried() < 5
    scene.made[-1].come_up()
    scene.session.rest(3600, "Later.")
    scene.session.use(None)
    assert scene.session.status.state == "down"
    scene.use("gw-0042", generation=2)
    assert scene.until_tried() < 5


def told(scene: SessionScene) -> tuple[str, bool]:
    """Return how the session stands, and whether its path is known to be gone."""
    return scene.session.status.state, scene.session.status.cut_off


def test_a_connection_whose_path_is_gone_is_over_at_once(scene: SessionScene) -> None:
    """It is told why, no set is doubted, and the next attempt comes as after any loss."""
    scene.until_tried()
    scene.made[-1].come_up()
    scene.pass_time(STEADY)
    scene.session.cut_off()
    assert told(scene) == ("down", True)
    assert scene.session.status.why.startswith("This machine has lost the address or the route")
    assert "suspected" not in scene.diary.events
    assert scene.until_tried() < 4
    scene.made[-1].end(failures.unreachable("x.example", 8883, "network is down"))
    assert told(scene) == ("down", True)
    scene.until_tried()
    scene.made[-1].come_up()
    assert told(scene) == ("up", False)
    assert scene.diary.events[-2:] == ["recovered", "connected"]


def test_an_attempt_that_is_under_way_is_not_cut_off(scene: SessionScene) -> None:
    """It ends by itself, and there was no connection before."""
    scene.session.cut_off()
    scene.until_tried()
    scene.session.cut_off()
    assert told(scene) == ("connecting", False)
    scene.made[-1].end(failures.hung_up())
    scene.session.cut_off()
    assert told(scene) == ("down", False)


def test_an_attempt_that_began_before_the_network_was_back_is_followed_soon(scene: SessionScene) -> None:
    """However long it would be waited for by now: that attempt says nothing of the network as it is."""
    for _ in range(12):
        scene.until_tried()
        scene.made[-1].end(failures.unreachable("x.example", 8883, "no answer in time"))
    scene.until_tried()
    scene.session.retry_soon()
    scene.made[-1].end(failures.unreachable("x.example", 8883, "no answer in time"))
    assert scene.until_tried() <= 3
    scene.made[-1].end(failures.unreachable("x.example", 8883, "no answer in time"))
    assert scene.until_tried() > 60


def test_a_refusal_is_waited_out_whatever_the_network_does(scene: SessionScene) -> None:
    """News of the network explains no refusal."""
    for _ in range(6):
        scene.until_tried()
        scene.made[-1].end(failures.certificate_alert("certificate unknown"))
    scene.until_tried()
    scene.session.retry_soon()
    scene.made[-1].end(failures.certificate_alert("certificate unknown"))
    assert scene.until_tried() > 60
