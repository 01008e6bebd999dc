"""Imports before they are proven, with the daemon, and by root on a store that is the agent's."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tarfile
from typing import TYPE_CHECKING, Any

import pytest

from agent.core.report.checks import CHECKS
from agent.sandbox.cloud import Status
from support.running.daemon import RunningDaemon
from support.running.gateway import COMMAND, Gateway
from support.shorthand.sticks import THING, created, issue, root, stick
from support.suite.surroundings import NOBODY, need_root

if TYPE_CHECKING:
    from pathlib import Path

    from support.suite.ran import Ran


# -- before it is proven -----------------------------------------------------------------------------------------------


def test_only_root_uses_a_set_before_it_is_proven(passable: Gateway) -> None:
    """Others are refused before anything is read."""
    need_root()
    passable.config.chmod(0o644)
    done = subprocess.run(
        [COMMAND, "--config", str(passable.config), "import", "--from", "/no/such/file", "--unproven"],
        capture_output=True, text=True, timeout=60, check=False, cwd="/", user=NOBODY, group=NOBODY, extra_groups=[],
    )  # fmt: skip
    assert done.returncode == 4
    assert "Only root may use a set before it is proven" in done.stderr
    assert "sudo" in done.stderr


def test_an_unproven_set_is_used_without_network_and_proven_later(enrolled: Gateway) -> None:
    """The next command after the network has returned proves it; the history keeps the mark."""
    need_root()
    old = issue(enrolled)
    enrolled.order("down")
    ran = enrolled.run("import", "--from", str(stick(enrolled, old)), "--unproven", expect=5)
    assert "Trying again" not in ran.out, "it is in use, so no person waits for its proof"
    assert "Not proven yet: import " in ran.out
    assert enrolled.generations() == (2, 1)
    assert enrolled.certificate_id() == old.certificate_id
    enrolled.order("up")
    enrolled.run("rotate", expect=0)
    assert [(record.kind, record.unproven) for record in enrolled.history()] == [
        ("enroll", False), ("import", True), ("rotate", False),
    ]  # fmt: skip
    assert enrolled.run("history", expect=0).out.count("(activated unproven)") == 1


def test_an_unproven_set_that_is_refused_is_rolled_back(enrolled: Gateway) -> None:
    """In probation, at the latest when it ends."""
    need_root()
    directory = stick(enrolled, issue(enrolled, status=Status.REVOKED))
    ran = enrolled.run("import", "--from", str(directory), "--unproven", "--json", expect=1)
    assert (ran.outcome["change"]["phase"], ran.outcome["current"]) == ("rolled-back", 1)
    assert enrolled.generations()[0] == 1
    assert "(activated unproven)" in enrolled.run("history", expect=0).out


# -- with the daemon ---------------------------------------------------------------------------------------------------


def test_the_daemon_carries_it_on(enrolled: Gateway) -> None:
    """The command plans, since it may read the stick; the daemon does the rest and is connected with the new set."""
    old = issue(enrolled)
    directory = stick(enrolled, old, root(enrolled).pem)
    with RunningDaemon(enrolled) as daemon:
        daemon.until_up(1)
        ran = enrolled.run("import", "--from", str(directory), "--json", expect=0)
        assert (ran.outcome["event"], ran.outcome["current"]) == ("outcome", 2)
        daemon.until_up(2)
        assert daemon.live() == [old.certificate_id]
    assert enrolled.history()[-1].origin == "technician"


def test_an_import_does_not_wait_for_the_daemon(enrolled: Gateway) -> None:
    """With `--no-wait` the command ends once it is begun."""
    old = issue(enrolled)
    with RunningDaemon(enrolled) as daemon:
        daemon.until_up(1)
        told = enrolled.run("import", "--from", str(stick(enrolled, old)), "--no-wait", "--json", expect=0).outcome
        assert told["event"] == "begun"
        daemon.until_up(2)
        daemon.until_finished(2)
    assert enrolled.certificate_id() == old.certificate_id


def test_the_daemon_gives_up_what_is_refused(enrolled: Gateway) -> None:
    """It is connected with the set before, throughout or again."""
    directory = stick(enrolled, issue(enrolled, status=Status.INACTIVE))
    with RunningDaemon(enrolled) as daemon:
        daemon.until_up(1)
        ran = enrolled.run("import", "--from", str(directory), "--json", expect=1)
        assert ran.outcome["change"]["phase"] == "rejected"
        daemon.until_up(1)


def test_an_unproven_set_goes_through_the_daemon_too(enrolled: Gateway) -> None:
    """The mark is in the record, which is all that the daemon needs."""
    need_root()
    old = issue(enrolled)
    with RunningDaemon(enrolled) as daemon:
        daemon.until_up(1)
        enrolled.run("import", "--from", str(stick(enrolled, old)), "--unproven", expect=0)
        daemon.until_up(2)
    assert enrolled.history()[-1].unproven


def test_without_a_network_the_daemon_holds_no_person_up(enrolled: Gateway) -> None:
    """The set is in use at once, and the daemon proves it when the network is there."""
    need_root()
    old = issue(enrolled)
    with RunningDaemon(enrolled) as daemon:
        daemon.until_up(1)
        enrolled.order("down")
        ran = enrolled.run("import", "--from", str(stick(enrolled, old)), "--unproven", expect=5)
        assert "Trying again" not in ran.out
        assert "Not proven yet: import " in ran.out
        assert "Generation 2 is in use." in " ".join(ran.out.split())
        enrolled.order("up")
        daemon.until_up(2)


def test_the_daemon_of_a_gateway_without_a_set_takes_the_first_one(plain: Gateway) -> None:
    """It had nothing to do before."""
    old = issue(plain)
    with RunningDaemon(plain) as daemon:
        daemon.until(daemon.published, "a status document")
        plain.run("import", "--from", str(stick(plain, old)), "--thing", THING, expect=0)
        daemon.until_up(1)
        assert daemon.live() == [old.certificate_id]
    assert created(plain) == 0


def test_a_daemon_that_waits_for_a_claim_takes_an_import_at_once(gateway: Gateway) -> None:
    """A gateway from before the agent is told of a claim that no factory will put there; what is at hand counts."""
    for part in ("certificate", "key"):
        (gateway.directory / "claim" / f"{part}.pem").unlink()
    old = issue(gateway)
    with RunningDaemon(gateway) as daemon:
        daemon.until(lambda: "locked-out" in daemon.said(), "an enrolment that waits for it")
        ran = gateway.run("import", "--from", str(stick(gateway, old)), "--thing", THING, "--json", expect=0)
        assert (ran.outcome["event"], ran.outcome["current"]) == ("outcome", 2)
        daemon.until_up(2)
        assert daemon.live() == [old.certificate_id]
    enrolment, imported = gateway.history()
    assert (enrolment.kind, enrolment.phase, imported.kind, imported.phase) == (
        "enroll",
        "rejected",
        "import",
        "committed",
    )
    assert created(gateway) == 0


# -- as root, on a store of the agent's --------------------------------------------------------------------------------


def give_away(gateway: Gateway) -> None:
    """Let the state belong to the agent's own user, who may pass through the directories above it."""
    need_root()
    for path in [gateway.state, *gateway.state.rglob("*")]:
        os.chown(path, NOBODY, NOBODY, follow_symlinks=False)
    for path in (gateway.config, gateway.directory / "roots.pem"):
        path.chmod(0o644)


def test_root_reads_the_stick_and_the_agents_user_owns_the_set(passable: Gateway) -> None:
    """What only root may read is read first; nothing is left behind that the daemon could not read."""
    give_away(passable)
    directory = stick(passable, issue(passable))
    directory.chmod(0o700)
    passable.run("import", "--from", str(directory), expect=0)
    assert passable.generations() == (2, 1)
    assert {path.lstat().st_uid for path in passable.state.rglob("*")} == {NOBODY}


def test_root_gets_its_support_bundle_where_only_root_may_write(passable: Gateway) -> None:
    """No daemon runs, so the check connects with the agent's key; that must not cost root its rights."""
    give_away(passable)
    closed = passable.directory / "closed"
    closed.mkdir(mode=0o700)
    passable.run("support-bundle", "--output", str(closed / "support.tar"), expect=0)
    assert (closed / "support.tar").stat().st_uid == 0
    assert lines_of(closed / "support.tar")["connect"] == "ok"
    shutil.rmtree(closed)


@pytest.mark.parametrize("runs", [False, True])
def test_a_support_bundle_of_a_live_gateway_holds_no_secret(enrolled: Gateway, runs: bool) -> None:  # noqa: FBT001
    """With the daemon and without; the check in it has looked at everything."""
    target = enrolled.directory / "support.tar"
    if runs:
        with RunningDaemon(enrolled) as daemon:
            daemon.until_up(1)
            ran: Ran = enrolled.run("support-bundle", "--output", str(target), "--json", expect=0)
            daemon.until_up(1)
    else:
        ran = enrolled.run("support-bundle", "--output", str(target), "--json", expect=0)
    assert set(ran.outcome["missing"]) <= {"journal.txt", "unit.txt"}
    assert lines_of(target)["connect"] == lines_of(target)["permissions"] == "ok"
    data = target.read_text(errors="replace")
    assert enrolled.secrets()
    assert not [secret for secret in enrolled.secrets() if secret in data]


@pytest.mark.parametrize("runs", [False, True])
def test_a_page_about_a_live_gateway_holds_no_secret(enrolled: Gateway, runs: bool) -> None:  # noqa: FBT001
    """Not even in a reason that a person has typed; with the daemon and without it tells of each check."""
    target = enrolled.directory / "report.html"
    if runs:
        with RunningDaemon(enrolled) as daemon:
            daemon.until_up(1)
            enrolled.run("pause", "1h", "--reason", "as https://bucket.example/a?Signature=5ec2e7 says", expect=0)
            ran: Ran = enrolled.run("report", "--html", str(target), "--json", expect=0)
    else:
        ran = enrolled.run("report", "--html", str(target), "--json", expect=0)
    assert (ran.outcome["event"], ran.outcome["file"], ran.outcome["missing"]) == ("report", str(target), {})
    text = target.read_text()
    assert not [secret for secret in enrolled.secrets() if secret in text]
    assert ("as https://bucket.example/a?[REMOVED] says" in text) == runs
    assert "5ec2e7" not in text
    assert all(f"</b> {check}</h3>" in text for check in CHECKS)
    assert "enroll, generation 1" in text


def lines_of(target: Path) -> dict[str, Any]:
    """Return the verdict of each check in an archive."""
    with tarfile.open(target) as archive:
        file = archive.extractfile("iot-cert-support/check.jsonl")
        assert file is not None
        return {line["check"]: line["verdict"] for line in map(json.loads, file.read().splitlines())}
