"""The tools themselves: a story would find what they are to find, and its steps do what they say."""

from __future__ import annotations

import os
import shutil
import socket
from itertools import product
from typing import TYPE_CHECKING

import pytest

from agent.sandbox.cloud import Request, Status
from support.crashkit.tree import materialise, snapshot
from support.suite.ran import Ran
from support.walkkit import disk, pairs, steps
from support.walkkit.disk import Harm
from support.walkkit.endings import Ending, Rung
from support.walkkit.factory import BUDGET, Start
from support.walkkit.scene import Scene
from support.walkkit.steps import Brought, Whose
from support.walkkit.telling import Report, check_always

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(name="scene")
def _scene(tmp_path: Path) -> Iterator[Scene]:
    with Scene(tmp_path, Start(lived=("enroll", "rotate", "union"))) as scene:
        yield scene


def promises(scene: Scene) -> set[str]:
    """Return the names of the promises that were not kept."""
    return {breach.promise for breach in scene.breaches}


# -- what is found -----------------------------------------------------------------------------------------------------


def test_a_secret_in_a_log_is_found(scene: Scene) -> None:
    """Also one of a key that is gone by then."""
    scene.keep_secrets()
    found = scene.linked("current")
    assert found is not None
    secret = (found.directory / "key.pem").read_text().splitlines()[1]
    (found.directory / "key.pem").unlink()
    scene.check_words()
    assert promises(scene) == set()
    (scene.directory / "some.log").write_text(f"what: {secret}")
    scene.check_words()
    assert promises(scene) == {"no secret"}


@pytest.mark.parametrize("said", ["Traceback (most recent call last):", "This is a defect in iot-cert (KeyError)."])
def test_a_traceback_is_found(scene: Scene, said: str) -> None:
    """And so is what the command says in its place; the daemon's are in its log."""
    scene.remember(Ran(arguments=("rotate",), code=1, out=said, err=""))
    assert promises(scene) == {"no traceback"}
    scene.breaches.clear()
    scene.daemon.log.write_text(said)
    scene.check_words()
    assert promises(scene) == {"no traceback"}


def test_a_certificate_too_many_is_found(scene: Scene) -> None:
    """The limit of a day is the budget; with the history its count is lost."""
    now = scene.gateway.cloud.now
    issued = Request(at=now, principal="", client_id="", operation="create", outcome="200")
    scene.gateway.cloud.requests += [issued] * (BUDGET + 1)
    check_always(scene)
    assert promises(scene) == {"the budget"}
    scene.breaches.clear()
    scene.records_damaged = 1
    check_always(scene)
    assert promises(scene) == set()


def test_two_changes_at_a_time_are_found(scene: Scene) -> None:
    """By what they leave behind, and by their times."""
    check_always(scene)
    assert promises(scene) == set()
    for name in (".000008", ".000009"):
        (scene.state / "generations" / name).mkdir()
    check_always(scene)
    assert promises(scene) == {"one change at a time"}
    for name in (".000008", ".000009"):
        (scene.state / "generations" / name).rmdir()
    scene.breaches.clear()
    history = scene.state / "history.jsonl"
    history.write_text("\n".join(reversed(history.read_text().splitlines())) + "\n")
    check_always(scene)
    assert promises(scene) == {"one change at a time"}


def test_a_set_works_when_both_sides_take_it(scene: Scene) -> None:
    """An active certificate, its own key, and the root that the endpoint chains to."""
    assert scene.some_set_works()
    scene.gateway.order("root use b")
    assert scene.some_set_works()  # the anchors in use hold both
    steps.carry_out([disk.damage("current", "trust.pem", Harm.CUT, 0.6)], scene)
    assert not scene.some_set_works()
    scene.gateway.order("root use a")
    assert scene.some_set_works()
    steps.carry_out([steps.status(Whose.ALL, Status.REVOKED)], scene)
    assert not scene.some_set_works()


def test_a_report_reaches_another_process_whole() -> None:
    """With all that it says."""
    report = Report(name="seed 1", rung="the claim", recovered=1.5, lines=["a line"])
    assert Report.from_json(report.to_json()) == report


# -- what steps do -----------------------------------------------------------------------------------------------------


def test_whatever_is_damaged_is_not_whole_any_more(scene: Scene) -> None:
    """The store sees it; the pair is read for what it is. Each file is damaged in each way, and put back."""
    base = scene.linked("current")
    assert base is not None
    assert base.whole
    before = snapshot(base.directory)
    for file, how in product(["key.pem", "certificate.pem", "credential.pem", "trust.pem", "manifest.json"], Harm):
        steps.carry_out([disk.damage("current", file, how)], scene)
        found = scene.linked("current")
        assert found is not None
        assert not found.whole, (file, how)
        untouched = file not in {"key.pem", "certificate.pem"}
        assert bool(found.certificate_id) or not untouched, (file, how)
        shutil.rmtree(base.directory)
        materialise(before, base.directory)
    back = scene.linked("current")
    assert back is not None
    assert back.whole


def test_a_pair_by_hand_is_told_from_damage(scene: Scene) -> None:
    """It fits, and is not the one that the manifest speaks of."""
    steps.carry_out([steps.by_hand("current", Brought.GOOD), steps.by_hand("previous", Brought.MISFIT)], scene)
    current, previous = scene.linked("current"), scene.linked("previous")
    assert current is not None
    assert previous is not None
    assert (current.whole, current.by_hand, current.certificate_id) == (False, True, scene.brought[0])
    assert (previous.whole, previous.by_hand, previous.certificate_id) == (False, False, "")


def test_links_change_places(scene: Scene) -> None:
    """Each points at what the other one did."""
    before = [pairs.linked(scene.state, link) for link in ("current", "previous")]
    steps.carry_out([disk.swap_links()], scene)
    assert [pairs.linked(scene.state, link) for link in ("previous", "current")] == before
    steps.carry_out([disk.unlink("previous"), disk.unlink("previous")], scene)
    assert pairs.linked(scene.state, "previous") is None
    assert "not possible" in scene.lines[-1]


@pytest.mark.parametrize("silent", [True, False])
def test_what_stands_in_for_the_endpoint_hangs_up_or_says_nothing(scene: Scene, *, silent: bool) -> None:
    """Then the endpoint is back on the same port."""
    scene.stand_in(silent=silent)
    with socket.create_connection(("127.0.0.1", scene.gateway.service.port)) as client:
        client.settimeout(0.5 if silent else 30)
        if silent:
            with pytest.raises(TimeoutError):
                client.recv(1)
        else:
            assert client.recv(1) == b""
    scene.calm()
    scene.gateway.run("rotate", expect=0)


def test_a_full_disk_is_full(tmp_path: Path) -> None:
    """And has room again afterwards."""
    with Scene(tmp_path, Start(lived=("enroll",), small_disk=True)) as scene:
        if not scene.disk.mounted:
            assert os.environ.get("CI") != "true", "continuous integration must be able to mount a small disk"
            pytest.skip("no small disk here")
        steps.carry_out([disk.full_disk(0)], scene)
        with pytest.raises(OSError, match="No space left"):
            (scene.state / "more").write_bytes(bytes(8192))
        steps.carry_out([disk.free_disk()], scene)
        (scene.state / "more").write_bytes(bytes(8192))
    assert not list(scene.state.iterdir())


@pytest.mark.parametrize("rung", list(Rung))
def test_exactly_one_rung_is_accepted(tmp_path: Path, rung: Rung) -> None:
    """Whichever it is: what the cloud takes is that, and nothing else."""
    lived = ("enroll", "rotate")
    with Scene(tmp_path, Start(lived=lived)) as scene:
        ending = Ending(rungs=(rung,), rescue=(steps.wait(0),))
        assert ending.set_up(scene) is rung
        registry = scene.gateway.cloud.registry.values()
        active = {entry.certificate_id for entry in registry if entry.status is Status.ACTIVE}
        assert active == scene.accepted
        claims = set(steps.certificates(scene, Whose.CLAIM))
        assert (active == claims) == (rung is Rung.CLAIM)
        assert bool(active) == (rung is not Rung.TECHNICIAN)
