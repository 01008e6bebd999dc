"""What is seen on a real store without a daemon: the document, the plan, what holds it, and what is to be retired."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from agent.config.reader import load
from agent.config.values import EnrollmentConfig
from agent.core.change import reserve
from agent.core.change.lifecycle import Phase
from agent.core.exit_codes import Exit
from agent.core.jsonio import to_plain
from agent.core.report.document import document as told
from agent.core.report.findings import judge
from agent.core.report.screen import explain, screen
from agent.core.report.seen import MAX_WATCHED
from agent.core.values import Kind
from agent.core.when.renewal import renewal_window, splay
from agent.errors import StoreError
from agent.operations import snapshot
from agent.sandbox.account.authority import Authority, fingerprint
from support import make
from support.simulated.outside import THING
from support.unit.snapshot import DAY, ENROLMENT, config, document, look

if TYPE_CHECKING:
    from pathlib import Path

    from agent.core.report.status import Status
    from support.simulated.rig import Rig


def status_of(rig: Rig, more: str = ENROLMENT) -> Status:
    """Return how the gateway stands."""
    return snapshot.status(config(rig, more), look(rig))


def test_a_full_disk_is_told_where_no_daemon_runs(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also while what falling back needs is kept: the next rotation would find no room."""
    rig.enroll()
    monkeypatch.setattr(reserve, "NEEDED_BYTES", 1 << 60)
    (found,) = judge(status_of(rig)).findings
    assert (found.check, found.code, found.severity) == ("disk", "no-space", Exit.DEGRADED)
    assert document(rig)["reserve"] == "kept"


# -- the document ------------------------------------------------------------------------------------------------------


def test_the_document_of_a_gateway_tells_all_of_it(rig: Rig) -> None:
    """Set, ends, turn, last change: what a screen, a shadow and a metric are made of."""
    rig.be_enrolled()
    rig.rotate()
    found = document(rig)
    leaf = rig.store.generation(2).credential.leaf
    place = splay(THING, leaf.sha256)
    turn = renewal_window(leaf.not_before, leaf.not_after, config(rig).renewal_policy).renew_at(place)

    assert (found["exit"], found["health"], found["damage"]) == (0, [], [])
    assert (found["current"]["generation"], found["previous"], found["change"]) == (2, 1, None)
    assert found["current"]["certificate"]["sha256"] == leaf.sha256
    assert found["current"]["splay"] == place
    assert [found["current"]["renewal"]["at"], found["plan"]["at"]] == [to_plain(turn)] * 2
    assert (found["last"]["kind"], found["last"]["phase"]) == ("rotate", "committed")
    assert (found["plan"]["code"], found["plan"]["due"]) == ("scheduled", False)
    assert found["thing_name"] is None
    assert found["config"] == str(rig.path.parent / "config.yaml")


def test_the_tests_speak_of_documents_that_exist(rig: Rig) -> None:
    """The builder of the other tests has the names that a real document has, in every part."""
    rig.be_enrolled()
    found = document(rig)
    built: dict[str, Any] = told(make.status())

    assert set(found) == set(built)
    for part in ("current", "clock"):
        assert set(found[part]) == set(built[part])
    assert set(found["current"]["renewal"]) == set(built["current"]["renewal"])
    assert set(found["current"]["certificate"]) <= set(built["current"]["certificate"])  # what is unknown is left out
    assert set(found["current"]["anchors"][0]) <= set(built["current"]["anchors"][0])
    assert set(built["plan"]) <= set(found["plan"])


@pytest.mark.parametrize("client_id", ["{thing}", THING])
def test_a_client_id_that_an_application_may_have_is_told(rig: Rig, client_id: str) -> None:
    """It is no trouble yet: the gateway is healthy, and what may become of it stands below that."""
    rig.be_enrolled()
    found = document(rig, f'client_id: "{client_id}"\n')

    assert found["warnings"] == config(rig, f'client_id: "{client_id}"\n').concerns(THING) != []
    assert found["health"] == [f"{found['warnings'][0]} `iot-cert check configuration` says what to do."]
    assert found["exit"] == 0
    assert document(rig)["warnings"] == []


def test_room_for_falling_back_is_told_of_where_it_is_lacking(rig: Rig) -> None:
    """Kept, spent on a full disk, and to be had again: a person has to act in the second case alone."""
    rig.be_enrolled()
    rig.rotate()
    assert (document(rig)["reserve"], document(rig)["health"]) == ("kept", [])
    rig.disk.full = True
    rig.run(Kind.ROLLBACK)
    found = document(rig)
    assert (found["reserve"], found["exit"]) == ("no-room", Exit.DEGRADED)
    assert "Free 768 KiB" in found["health"][0]
    rig.disk.full = False
    assert (document(rig)["reserve"], document(rig)["health"]) == ("missing", [])


def test_a_document_tells_no_secret(rig: Rig) -> None:
    """Neither the certificate in hand nor its token is in it, while a change has both."""
    rig.be_enrolled()
    rig.run_to(Kind.ROTATE, Phase.ISSUED)
    found = json.dumps(document(rig))
    issued = rig.store.change()

    assert issued is not None
    assert issued.issued is not None
    assert issued.issued.token not in found
    assert "-----BEGIN" not in found


def test_every_stage_of_a_gateways_life_can_be_shown(rig: Rig) -> None:
    """Before enrolment, in the middle of it, afterwards and with damage: the screen is drawn and explained."""
    stages = [status_of(rig)]
    rig.run_to(Kind.ENROLL, Phase.ISSUED)
    stages.append(status_of(rig))
    rig.follow()
    stages.append(status_of(rig))
    rig.to_probation()
    stages.append(status_of(rig))
    rig.damage(2)
    stages.append(status_of(rig))

    assert [judge(found).exit for found in stages] == [3, 3, 0, 0, 3]
    for found in stages:
        names = [name for name, _ in screen(found)]
        assert names[0] == "gateway"
        assert names[-1] == "health"
        assert explain(found)


def test_a_change_in_flight_is_told_with_what_it_waits_for(rig: Rig) -> None:
    """By the same decision that the engine makes."""
    rig.be_enrolled()
    wait = rig.run(Kind.ROTATE, patience=timedelta()).wait
    assert wait is not None
    found = document(rig)

    assert found["change"]["phase"] == "deployed"
    assert found["next"] == {"why": wait.why, "code": "probation", "until": wait.until.isoformat()}


# -- damage ------------------------------------------------------------------------------------------------------------


def test_a_damaged_set_is_told_and_not_shown(rig: Rig) -> None:
    """The current one is critical, the previous one is not."""
    rig.be_enrolled()
    rig.rotate()
    rig.damage(1)
    previous = document(rig)
    rig.damage(2)
    both = document(rig)

    assert (previous["exit"], previous["current"]["generation"], previous["previous"]) == (1, 2, None)
    assert previous["health"][0].startswith("The previous set is not usable. Generation 1 is damaged:")
    assert [(item["generation"], item["not_after"]) for item in both["generations"]] == [(2, None), (1, None)]
    whole = previous["generations"][0]
    assert whole["certificate_id"] == previous["current"]["certificate"]["sha256"]
    assert whole["not_after"] == previous["current"]["certificate"]["not_after"]
    assert (both["exit"], both["current"], len(both["damage"])) == (3, None, 2)
    assert both["plan"]["why"] == "there is no usable set, so the ladder is climbed"


def test_a_damaged_record_is_told(rig: Rig) -> None:
    """The set in use does not suffer from it."""
    rig.be_enrolled()
    (rig.path / "change.json").write_bytes(b"{")
    found = document(rig)

    assert (found["exit"], found["change"], found["current"]["generation"]) == (1, None, 1)
    assert "The record of the change in flight is damaged" in found["health"][0]


# -- taking a look at the machine --------------------------------------------------------------------------------------


def test_before_the_first_enrolment_there_is_nothing_to_see(tmp_path: Path) -> None:
    """The state directory is made by the enrolment; looking makes nothing."""
    path = tmp_path / "config.yaml"
    path.write_text(f"endpoint: x.example\nstate_dir: {tmp_path / 'state'}\n", encoding="utf-8")
    taken = snapshot.take(load(path))

    assert (taken.current, taken.history, taken.damage) == (None, (), [])
    assert judge(snapshot.status(load(path), taken)).exit is Exit.CRITICAL
    assert not (tmp_path / "state").exists()


def test_a_look_changes_nothing_and_needs_no_lock(rig: Rig) -> None:
    """The one writer, which is this test's gateway, holds it all the while."""
    rig.be_enrolled()
    before = {path: path.read_bytes() for path in rig.path.rglob("*") if path.is_file()}
    taken = snapshot.take(config(rig))

    assert taken.current is not None
    assert snapshot.seen(config(rig), taken).current == snapshot.status(config(rig), taken).current
    assert {path: path.read_bytes() for path in rig.path.rglob("*") if path.is_file()} == before


def test_a_state_directory_that_is_none_is_the_stores_own_error(tmp_path: Path) -> None:
    """A file in its place is told, and nothing is made up."""
    (tmp_path / "state").write_bytes(b"")
    path = tmp_path / "config.yaml"
    path.write_text(f"endpoint: x.example\nstate_dir: {tmp_path / 'state'}\n", encoding="utf-8")

    with pytest.raises(StoreError, match="state"):
        snapshot.take(load(path))


def test_enrolment_is_read_from_the_configuration(rig: Rig) -> None:
    """The example of these tests is a whole one."""
    assert isinstance(config(rig).enrollment, EnrollmentConfig)
    assert config(rig, "").enrollment is None


# -- trust anchors and watched files -----------------------------------------------------------------------------------


def test_the_document_says_which_anchor_is_used_and_where_they_came_from(rig: Rig) -> None:
    """As the last proof of the set in use met it; a change that is under way says nothing about it yet."""
    rig.be_enrolled()
    first, second = (fingerprint(root.certificate) for root in (rig.root, rig.second_root))
    assert (document(rig)["current"]["anchor_in_use"], document(rig)["current"]["trust"]) == (first, None)
    rig.move_endpoint(rig.second_root)
    rig.baked = rig.bundle(rig.second_root)
    rig.install(rig.bundle(rig.root, rig.second_root, version=7))
    found = document(rig)["current"]

    assert found["anchor_in_use"] == second
    assert (found["trust"]["source"], found["trust"]["version"]) == ("bundle", 7)
    assert {anchor["sha256"] for anchor in found["anchors"]} == {first, second}


def test_the_distances_of_the_configuration_stand_in_the_document(rig: Rig) -> None:
    """The longest first, in seconds."""
    rig.be_enrolled()

    assert document(rig, "trust: {warn: [1d, 2d]}\n")["warn_anchors"] == [172_800, 86_400]


def test_a_watched_store_is_told_by_what_ends_first(rig: Rig) -> None:
    """Without a set as well; some of its certificates may be unreadable."""
    place = rig.path.parent
    late = Authority("Late", rig.clock.now())
    early = Authority("Early", rig.clock.now(), not_after=rig.clock.now() + DAY)
    (place / "store.pem").write_bytes(late.pem + b"-----BEGIN CERTIFICATE-----\nx\n" + early.pem)
    (found,) = document(rig, f"watch: [{{path: {place}/store.pem, warn: 2d}}]\n")["watched"]

    assert (found["certificates"], found["unreadable"], found["warn"]) == (2, 1, 172_800)
    assert [one["subject"] for one in found["ends"]] == ["CN=Early", "CN=Late"]


def test_only_the_first_ends_of_a_large_store_are_told(rig: Rig) -> None:
    """The document is read by everybody, all the time."""
    place = rig.path.parent
    roots = [Authority(f"Root {number}", rig.clock.now()) for number in range(MAX_WATCHED + 5)]
    (place / "store.pem").write_bytes(b"".join(root.pem for root in roots))
    (found,) = document(rig, f"watch: [{{path: {place}/store.pem}}]\n")["watched"]

    assert (found["certificates"], len(found["ends"])) == (MAX_WATCHED + 5, MAX_WATCHED)


@pytest.mark.parametrize("content", [None, b"", b"no certificate", b"#" * 9_000_000])
def test_a_watched_file_that_says_nothing_is_a_problem(rig: Rig, content: bytes | None) -> None:
    """Missing, empty, no store or too large: a clause that names the file, and the rest of the document as ever."""
    rig.be_enrolled()
    path = rig.path.parent / "store.pem"
    if content is not None:
        path.write_bytes(content)
    found = document(rig, f"watch: [{{path: {path}}}]\n")

    assert found["watched"][0]["problem"].startswith(f"{path}: ")
    assert not found["watched"][0]["problem"].endswith(".")
    assert found["exit"] == 1
    assert found["health"] == [f"A watched file cannot be used. {found['watched'][0]['problem']}."]


def test_what_stands_in_the_place_of_the_helpers_socket_is_told_without_a_daemon(rig: Rig) -> None:
    """The agent, which is not root, asks there, so none of the dependants would be served."""
    rig.be_enrolled()
    (rig.path / "deploy.sock").mkdir()
    unit = "dependants: [{unit: a.service}]\n"
    more = f"{ENROLMENT}{unit}deploy_dir: {rig.path}/deploy\ndeploy_socket: {rig.path}/deploy.sock\n"
    served = status_of(rig, more).served
    assert served is not None
    assert f"{rig.path}/deploy.sock is a directory, where the helper's socket is expected. Move it" in served.problem
