"""What the doctor says of a store at any time of its life, and which evidence it follows; the command is elsewhere."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from agent.core.change import reserve as core_reserve
from agent.core.exit_codes import Exit
from agent.core.report.checks import CHECKS, Line, Verdict
from agent.core.values import Kind
from agent.doctor import looks, probes
from agent.doctor.examination import DaemonWord, Doctor
from agent.sandbox.account.authority import Authority
from support.network.servers import closed_port
from support.unit.visits import DAY, NOW, of_store, visit, write

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.simulated.rig import Rig


IN_1970 = datetime(1970, 1, 1, 1, tzinfo=UTC)


# -- the configuration -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("client_id", ["{thing}", "gw-0042"])
def test_a_client_id_that_an_application_may_have_is_a_warning(rig: Rig, client_id: str) -> None:
    """Also where it is the thing's name spelt out, which the set tells; one of its own is sound."""
    rig.be_enrolled()
    line = of_store(rig, f'client_id: "{client_id}"\n')["configuration"]
    assert (line.verdict, line.code, line.exit) == (Verdict.WARNING, "client-id-shared", Exit.DEGRADED)
    assert f"`client_id: {client_id}` has no part of the agent's own" in line.text
    assert "EXCLUSIVE_THING" in line.remedy
    assert of_store(rig, 'client_id: "{thing}-cert-agent"\n')["configuration"].code == "ok"


def test_the_enrolments_client_id_is_judged_as_well(rig: Rig) -> None:
    """An application that connects as the thing is cut off when its gateway enrols anew."""
    more = (
        "thing_name: gw-0042\nenrollment:\n  template: t\n  client_id: gw-0042\n  claim: {certificate: /c, key: /k}\n"
    )
    line = of_store(rig, more)["configuration"]
    assert (line.verdict, line.code) == (Verdict.WARNING, "client-id-shared")
    assert "`enrollment.client_id: gw-0042`" in line.text


# -- the set -----------------------------------------------------------------------------------------------------------


def test_a_set_is_judged_by_a_clock_that_is_believed(rig: Rig) -> None:
    """Sound, then about to end, then over; in 1970 nothing is concluded from its dates."""
    rig.be_enrolled()
    assert (of_store(rig)["set"].code, of_store(rig)["clock"].code) == ("ok", "ok")
    rig.clock.advance(days=90)
    assert of_store(rig)["set"].code == "ok", "less than half of `before_expiry` is left, and the status finds it fine"
    rig.clock.advance(days=6)
    line = of_store(rig)["set"]
    assert (line.verdict, line.code) == (Verdict.WARNING, "certificate-expiring")
    assert "is not replaced yet" in line.text
    rig.clock.advance(days=14)
    line = of_store(rig)["set"]
    assert (line.verdict, line.code, line.exit) == (Verdict.FAILURE, "certificate-expired", Exit.CRITICAL)
    assert "`iot-cert import`" in line.remedy, "it has no claim"
    claim = "enrollment:\n  template: t\n  claim: {certificate: /c, key: /k}\n  parameters: {SerialNumber: '0042'}\n"
    assert "`iot-cert cloud readmit 0042 --for 24h`; then" in of_store(rig, claim)["set"].remedy
    buys = (
        "enrollment:\n  method: vending-machine\n  url: https://x/\n  token: {file: /etc/t}\n"
        "  parameters: {SerialNumber: '0042'}\n"
    )
    assert "prints a new token. Put that into /etc/t; then" in of_store(rig, buys)["set"].remedy
    rig.clock.time = IN_1970
    lines = of_store(rig)
    assert lines["set"].code == "ok"
    assert (lines["clock"].verdict, lines["clock"].code) == (Verdict.FAILURE, "clock-wrong")
    assert "1970-01-01 01:00:00 UTC, which cannot be" in lines["clock"].text
    assert "timedatectl" in lines["clock"].remedy


def test_room_for_falling_back_is_missed_on_the_disk(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is none to set aside; a directory of an older version, and one before enrolment, are in order."""
    monkeypatch.setattr(looks, "file_system", lambda _: ("/", "ext4"))
    rig.restart()
    monkeypatch.setattr(core_reserve, "PLENTY", 1 << 60)
    shutil.rmtree(rig.path / "reserve")
    assert of_store(rig)["disk"].code == "ok"
    rig.be_enrolled()
    line = of_store(rig)["disk"]
    assert (line.verdict, line.code, line.exit) == (Verdict.WARNING, "no-reserve", Exit.DEGRADED)
    assert "falling back" in line.text
    assert "Free 768 KiB" in line.remedy
    monkeypatch.setattr(core_reserve, "PLENTY", 0)
    assert of_store(rig)["disk"].code == "ok"


def test_a_full_disk_is_told_with_what_it_means_for_falling_back(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Urgent it is where nothing is set aside."""
    monkeypatch.setattr(looks, "file_system", lambda _: ("/", "ext4"))
    rig.be_enrolled()
    monkeypatch.setattr(core_reserve, "NEEDED_BYTES", 1 << 60)
    line = of_store(rig)["disk"]
    assert (line.verdict, line.code) == (Verdict.FAILURE, "no-space")
    assert line.text.endswith("too little for a change. What falling back needs is set aside.")
    assert (line.exit, line.remedy) == (Exit.DEGRADED, "Free some space or inodes on this file system.")
    shutil.rmtree(rig.path / "reserve")
    text = of_store(rig)["disk"].text
    assert text.endswith("too little for a change. Nothing is set aside for falling back should the disk be full.")


def test_an_unsynchronised_clock_is_a_warning(rig: Rig) -> None:
    """As long as nothing speaks against it."""
    rig.be_enrolled()
    rig.clock.is_synchronised = False
    line = of_store(rig)["clock"]
    assert (line.verdict, line.code) == (Verdict.WARNING, "clock-unsynchronised")
    assert "vouched_clock" in line.remedy


def test_damage_counts_by_what_rests_on_it(rig: Rig) -> None:
    """The current set is needed; the one before it and the record of a change are not."""
    rig.be_enrolled()
    rig.rotate()
    rig.damage(1)
    line = of_store(rig)["set"]
    assert (line.verdict, line.code, line.exit) == (Verdict.WARNING, "damaged", Exit.DEGRADED)
    assert "The previous set is not usable" in line.text
    rig.damage(2)
    line = of_store(rig)["set"]
    assert (line.verdict, line.code, line.exit) == (Verdict.FAILURE, "damaged", Exit.CRITICAL)
    assert "The current set is not usable" in line.text


def test_a_record_of_a_change_that_cannot_be_read_is_a_warning(rig: Rig) -> None:
    """The set in use is whole."""
    rig.be_enrolled()
    (rig.path / "change.json").write_bytes(b"{")
    (rig.path / "change.json").chmod(0o600)
    line = of_store(rig)["set"]
    assert (line.verdict, line.code) == (Verdict.WARNING, "damaged")


def test_before_the_first_enrolment_there_is_nothing_to_be_wrong(tmp_path: Path) -> None:
    """No state directory is a state of its own."""
    lines = visit(write(tmp_path, closed_port()))
    assert "does not exist yet" in lines["files"].text
    assert (lines["set"].code, lines["set"].exit) == ("not-enrolled", Exit.CRITICAL)
    assert "Add `enrollment:`" in lines["set"].remedy


@pytest.mark.parametrize(("mode", "verdict"), [(0o600, "ok"), (0o640, "ok"), (0o644, "failure"), (0o620, "failure")])
def test_a_key_is_for_its_owner_and_perhaps_a_group(rig: Rig, mode: int, verdict: str) -> None:
    """A consumer may be let in by its group, to read and no more."""
    rig.be_enrolled()
    key = rig.path / "generations" / "000001" / "key.pem"
    key.chmod(mode)
    line = of_store(rig)["files"]
    assert line.verdict == verdict
    assert line.remedy == ("" if verdict == "ok" else f"sudo chmod g-w,o-rwx {key}")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts")
def test_a_disk_that_nothing_can_be_written_to_is_told_so_whatever_it_is(rig: Rig) -> None:
    """Of one in memory, too, which would be lost at the next boot besides; its files are not told each again."""
    rig.be_enrolled()
    if subprocess.run(["mount", "--bind", rig.path, rig.path], check=False, stderr=subprocess.DEVNULL).returncode:
        pytest.skip("this machine lets nothing be mounted")
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", rig.path], check=True)
        lines = of_store(rig)
    finally:
        subprocess.run(["umount", rig.path], check=True)
    assert (lines["disk"].code, lines["files"].verdict) == ("read-only", Verdict.OK)


NO_LINK = "no link is followed here"


@pytest.mark.parametrize("kind", ["link", "file", "pipe", "dangling", "loop"])
def test_what_is_no_state_directory_is_the_first_thing_to_be_said(tmp_path: Path, kind: str) -> None:
    """As an image with a read-only root has it; nothing else calls it in order."""
    state, real = tmp_path / "state", tmp_path / "real"
    real.mkdir()
    make: dict[str, Callable[[], object]] = {
        "link": lambda: state.symlink_to(real), "file": state.touch, "pipe": lambda: os.mkfifo(state),
        "dangling": lambda: state.symlink_to("/nowhere"), "loop": lambda: state.symlink_to(state),
    }  # fmt: skip
    make[kind]()
    lines = visit(write(tmp_path, closed_port()))
    said = {"file": "a file", "pipe": "a pipe"}.get(kind, "a symbolic link")
    assert lines["disk"].text == f"{state} is {said}, where a directory is expected."
    assert lines["disk"].remedy == {
        "link": f"Set `state_dir: {real}`.",
        "dangling": f"/nowhere is not there: mount its file system, and name it in place of the link: {NO_LINK}.",
        "loop": "The links there lead in a circle: put the directory itself in their place.",
    }.get(kind, "Move it out of the way.")
    assert (lines["disk"].verdict, lines["disk"].exit) == ("failure", Exit.CRITICAL)
    assert lines["files"].verdict == lines["set"].verdict == "skipped"


def test_a_watched_pipe_is_not_waited_for(rig: Rig) -> None:
    """It is said to be no file."""
    os.mkfifo(rig.path.parent / "pipe")
    line = of_store(rig, f"watch: [{{path: {rig.path.parent}/pipe}}]\n")["watched"]
    assert (line.code, "is a pipe, where a file is expected" in line.text) == ("watched-unusable", True)


def test_several_wrong_files_are_counted(rig: Rig) -> None:
    """One is named, with the command that mends it."""
    rig.be_enrolled()
    rig.rotate()
    keys = sorted(rig.path.glob("generations/*/key.pem"))
    for key in keys:
        key.chmod(0o644)
    line = of_store(rig)["files"]
    assert str(keys[0]) in line.text
    assert line.text.endswith(" And 1 more.")


# -- anchors -----------------------------------------------------------------------------------------------------------


def test_the_anchors_of_the_set_in_use_are_the_ones_looked_at(rig: Rig) -> None:
    """The baked copy does not matter to a gateway that has others."""
    rig.be_enrolled()
    path = write(rig.path.parent, closed_port(), roots=b"garbage")
    assert visit(path)["anchors"].verdict is Verdict.OK
    fresh = rig.path.parent / "fresh"
    fresh.mkdir()
    assert visit(write(fresh, closed_port(), roots=b"garbage"))["anchors"].code == "anchors-unusable"


def test_an_anchor_that_soon_ends_is_a_warning(tmp_path: Path) -> None:
    """A successor has to be shipped before."""
    root = Authority("Root Z", NOW, not_after=NOW + 20 * DAY)
    line = visit(write(tmp_path, closed_port(), roots=root.pem))["anchors"]
    assert (line.verdict, line.code) == (Verdict.WARNING, "expiring")
    both = visit(write(tmp_path, closed_port(), roots=root.pem + root.pem))["anchors"]
    assert "And 2 more: `iot-cert trust check`." in both.text


def test_a_change_in_flight_is_no_damage(rig: Rig) -> None:
    """The doctor looks at what is in use."""
    rig.be_enrolled()
    rig.to_probation(Kind.ROTATE)
    assert of_store(rig)["set"].verdict is Verdict.OK


# -- the visit itself --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("names", [["disk"], ["disk", "files"], ["set"], ["dependants", "configuration"]])
def test_a_look_at_this_gateway_alone_asks_no_network(rig: Rig, names: list[str]) -> None:
    """`check disk` is there at once, also where the name server swallows everything."""
    rig.be_enrolled()
    path = write(rig.path.parent, closed_port())
    path.write_text(path.read_text().replace("endpoint: localhost", "endpoint: nowhere.example"))
    lines = {line.check: line for line in Doctor(path, lambda *_: DaemonWord()).visit(names)}
    assert not any(lines[name].verdict is Verdict.SKIPPED for name in names)
    assert lines["dns"].verdict is Verdict.SKIPPED
    assert {line.check: line for line in Doctor(path, lambda *_: DaemonWord()).visit(["dns"])}["dns"].code == "dns"


def test_each_line_is_told_once_in_order_and_the_first_before_the_network_is_asked(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A person at a slow link reads what is known already; this server takes connections and says nothing."""
    monkeypatch.setattr(probes, "PATIENCE", 0.2)
    rig.be_enrolled()
    told: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        path = write(rig.path.parent, listener.getsockname()[1])
        seen: list[list[str]] = []

        def hear(line: Line) -> None:
            listener.settimeout(0)
            with suppress(BlockingIOError):
                listener.accept()[0].close()
                seen.append(list(told))
            told.append(line.check)

        Doctor(path, lambda *_: DaemonWord()).visit(tell=hear)
    assert tuple(told) == CHECKS
    assert seen[0][:3] == ["configuration", "disk", "files"]
