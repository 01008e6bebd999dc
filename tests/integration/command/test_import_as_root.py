"""Imports before they are proven, with the daemon, and by root on a store that is the agent's."""

from __future__ import annotations

import json
import os
import shutil
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from agent.core.report.checks import CHECKS
from agent.sandbox.cloud import Status
from support.running.daemon import RunningDaemon
from support.running.gateway import Gateway
from support.shorthand.sticks import THING, created, issue, root, stick
from support.suite import warm
from support.suite.surroundings import NOBODY, need_root

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.shorthand.sticks import Old


# -- before it is proven -----------------------------------------------------------------------------------------------


def test_only_root_uses_a_set_before_it_is_proven(passable: Gateway) -> None:
    """Others are refused before anything is read."""
    need_root()
    passable.config.chmod(0o644)
    words = ["--config", str(passable.config), "import", "--from", "/no/such/file", "--unproven"]
    done = warm.run(words, cwd=Path("/"), env=os.environ, timeout=180, user=NOBODY)
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


@pytest.fixture(name="served", scope="module")
def _served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDaemon]:
    """Give a gateway with a daemon that the stories share; none of them rests on what another has left."""
    with Gateway(tmp_path_factory.mktemp("served")) as gateway:
        gateway.enroll()
        with RunningDaemon(gateway) as daemon:
            daemon.until_up(1)
            yield daemon
        said, secrets = gateway.everything_said(), gateway.secrets()
        assert not [secret[:6] for secret in secrets if secret in said]


def brought(gateway: Gateway, old: Old, *roots: bytes) -> str:
    """Return a directory with what is brought, and nothing of what was brought before."""
    shutil.rmtree(gateway.directory / "stick", ignore_errors=True)
    return str(stick(gateway, old, *roots))


def test_the_daemon_carries_it_on(served: RunningDaemon) -> None:
    """The command plans, since it may read the stick; the daemon does the rest and is connected with the new set."""
    gateway = served.gateway
    old = issue(gateway)
    before = gateway.generations()[0]
    ran = gateway.run("import", "--from", brought(gateway, old, root(gateway).pem), "--json", expect=0)
    assert (ran.outcome["event"], gateway.generations()) == ("outcome", (ran.outcome["current"], before))
    served.until_up(ran.outcome["current"])
    assert served.live() == [old.certificate_id]
    assert gateway.history()[-1].origin == "technician"


def test_an_import_does_not_wait_for_the_daemon(served: RunningDaemon) -> None:
    """With `--no-wait` the command ends once it is begun."""
    gateway, known = served.gateway, len(served.history())
    old = issue(gateway)
    told = gateway.run("import", "--from", brought(gateway, old), "--no-wait", "--json", expect=0).outcome
    assert told["event"] == "begun"
    served.until_finished(known + 1)
    served.until_up()
    assert gateway.certificate_id() == old.certificate_id


def test_the_daemon_gives_up_what_is_refused(served: RunningDaemon) -> None:
    """It is connected with the set before, throughout or again."""
    gateway, before = served.gateway, served.gateway.generations()[0]
    directory = brought(gateway, issue(gateway, status=Status.INACTIVE))
    ran = gateway.run("import", "--from", directory, "--json", expect=1)
    assert ran.outcome["change"]["phase"] == "rejected"
    served.until_up(before)


def test_an_unproven_set_goes_through_the_daemon_too(served: RunningDaemon) -> None:
    """The mark is in the record, which is all that the daemon needs."""
    need_root()
    gateway = served.gateway
    old = issue(gateway)
    gateway.run("import", "--from", brought(gateway, old), "--unproven", expect=0)
    served.until_up()
    assert served.live() == [old.certificate_id]
    assert gateway.history()[-1].unproven


def test_without_a_network_the_daemon_holds_no_person_up(served: RunningDaemon) -> None:
    """The set is in use at once, and the daemon proves it when the network is there."""
    need_root()
    gateway = served.gateway
    old = issue(gateway)
    gateway.order("down")
    try:
        ran = gateway.run("import", "--from", brought(gateway, old), "--unproven", expect=5)
    finally:
        gateway.order("up")
    assert "Trying again" not in ran.out
    assert "Not proven yet: import " in ran.out
    assert f"Generation {gateway.generations()[0]} is in use." in " ".join(ran.out.split())
    served.until_up()
    assert served.live() == [old.certificate_id]


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


def test_a_support_bundle_of_a_live_gateway_holds_no_secret(enrolled: Gateway) -> None:
    """The check in it has looked at everything."""
    assert_the_bundle_holds_no_secret(enrolled)


def test_a_support_bundle_beside_the_daemon_holds_no_secret(served: RunningDaemon) -> None:
    """Neither does this one, and the daemon goes on."""
    assert_the_bundle_holds_no_secret(served.gateway)
    served.until_up()


def assert_the_bundle_holds_no_secret(gateway: Gateway) -> None:
    """And is whole."""
    target = gateway.directory / "support.tar"
    ran = gateway.run("support-bundle", "--output", str(target), "--json", expect=0)
    assert set(ran.outcome["missing"]) <= {"journal.txt", "unit.txt"}
    assert lines_of(target)["connect"] == lines_of(target)["permissions"] == "ok"
    data = target.read_text(errors="replace")
    assert gateway.secrets()
    assert not [secret for secret in gateway.secrets() if secret in data]


def test_a_page_about_a_live_gateway_holds_no_secret(enrolled: Gateway) -> None:
    """It tells of each check."""
    text = page_of(enrolled)
    assert "enroll, generation 1" in text


def test_a_page_beside_the_daemon_holds_no_secret(served: RunningDaemon) -> None:
    """Not even in a reason that a person has typed."""
    gateway = served.gateway
    gateway.run("pause", "1h", "--reason", "as https://bucket.example/a?Signature=5ec2e7 says", expect=0)
    text = page_of(gateway)
    gateway.run("resume", expect=0)
    assert "as https://bucket.example/a?[REMOVED] says" in text
    assert "5ec2e7" not in text


def page_of(gateway: Gateway) -> str:
    """Return the page about a gateway, which has all checks and no secret."""
    target = gateway.directory / "report.html"
    ran = gateway.run("report", "--html", str(target), "--json", expect=0)
    assert (ran.outcome["event"], ran.outcome["file"], ran.outcome["missing"]) == ("report", str(target), {})
    text = target.read_text()
    assert not [secret for secret in gateway.secrets() if secret in text]
    assert all(f"</b> {check}</h3>" in text for check in CHECKS)
    return text


def lines_of(target: Path) -> dict[str, Any]:
    """Return the verdict of each check in an archive."""
    with tarfile.open(target) as archive:
        file = archive.extractfile("iot-cert-support/check.jsonl")
        assert file is not None
        return {line["check"]: line["verdict"] for line in map(json.loads, file.read().splitlines())}
