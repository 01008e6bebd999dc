"""A technician with a stick: the real command, files as AWS and other agents leave them, and the cloud on loopback."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import tarfile
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    pkcs12,
)

from agent.core.report.checks import CHECKS
from agent.sandbox.authority import Authority, fingerprint, name
from agent.sandbox.cloud import Status
from agent.sandbox.faults import Operation
from agent.sandbox.policies import GATEWAY
from agent.store.store import Store
from support.daemon import RunningDaemon
from support.gateway import COMMAND, Gateway, Ran
from support.surroundings import need_root

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from cryptography import x509

THING = "gw-0042"
NOBODY = 65534
PASSWORD = b"canary password"
DAY = timedelta(days=1)


@dataclass(frozen=True, kw_only=True)
class Old:
    """A key and certificate that the gateway had before there was an agent."""

    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
    certificate: x509.Certificate

    @property
    def certificate_id(self) -> str:
        """As the cloud names it."""
        return fingerprint(self.certificate)

    def pem(self) -> bytes:
        """The certificate."""
        return self.certificate.public_bytes(Encoding.PEM)

    def key_pem(self, form: PrivateFormat = PrivateFormat.TraditionalOpenSSL) -> bytes:
        """The key, spelt as AWS does."""
        return self.key.private_bytes(Encoding.PEM, form, NoEncryption())


_KEYS = itertools.cycle(range(4))  # more than any test has certificates; to make one takes as long as the test


@cache
def rsa_key(_number: int) -> rsa.RSAPrivateKey:
    """Return one of a few keys, as AWS makes them."""
    return rsa.generate_private_key(65537, 2048)


def issue(gateway: Gateway, *, status: Status = Status.ACTIVE, ends: timedelta = 3650 * DAY) -> Old:
    """Have the cloud know a certificate of this thing's."""
    key = rsa_key(next(_KEYS))
    now = datetime.now(UTC)
    certificate = gateway.cloud.authority.issue_client(
        name("AWS IoT Certificate"), key.public_key(), now - DAY, now + ends
    )
    entry = gateway.cloud.registry.add(certificate, status)
    entry.policies, entry.thing_name = [GATEWAY], THING
    return Old(key=key, certificate=certificate)


def stick(gateway: Gateway, old: Old, *roots: bytes) -> Path:
    """Put what the AWS console offers for download into a directory."""
    path = gateway.directory / "stick"
    path.mkdir(exist_ok=True)
    (path / f"{old.certificate_id}-certificate.pem.crt").write_bytes(old.pem())
    (path / f"{old.certificate_id}-private.pem.key").write_bytes(old.key_pem())
    for number, root in enumerate(roots, 1):
        (path / f"AmazonRootCA{number}.pem").write_bytes(root)
    return path


def anchors(gateway: Gateway) -> set[str]:
    """Return the anchors of the set in use, by name."""
    with Store(gateway.state) as store:
        found = store.generation(store.current() or 0)
    return {anchor.subject.removeprefix("CN=") for anchor in found.trust.anchors}


def root(gateway: Gateway, common_name: str = "Another root") -> Authority:
    """Return a root that nothing chains to yet."""
    return Authority(common_name, gateway.cloud.now)


def created(gateway: Gateway) -> int:
    """Return how many certificates were asked for."""
    return gateway.cloud.count(Operation.CREATE)


@pytest.fixture
def plain(gateway: Gateway) -> Gateway:
    """Give a gateway that was never meant to enrol: no claim, no thing name, no state."""
    lines = gateway.config.read_text().splitlines(keepends=True)
    start = lines.index("enrollment:\n")
    gateway.config.write_text("".join(lines[:start] + lines[start + 5 :]))
    assert "enrollment" not in gateway.config.read_text()
    return gateway


# -- what was there before the agent -----------------------------------------------------------------------------------


def test_an_old_certificate_becomes_generation_one(plain: Gateway) -> None:
    """Without a claim and without a request for another; then everything goes on as if it had been enrolled."""
    old = issue(plain)
    directory = stick(plain, old, plain.service.root_pem)
    ran = plain.run("import", "--from", str(directory), "--thing", THING, "--json", expect=0)
    assert [phase for phase in ran.phases if phase not in {"wait", "note"}] == [
        "prepared", "proven", "active", "deployed", "committed",
    ]  # fmt: skip
    assert (ran.outcome["event"], ran.outcome["current"], ran.outcome["exit"]) == ("outcome", 1, 0)
    assert (ran.outcome["change"]["kind"], ran.outcome["change"]["unproven"]) == ("import", False)
    assert plain.generations() == (1, None)
    assert plain.certificate_id() == old.certificate_id
    assert created(plain) == 0

    plain.run("rotate", expect=0)
    assert plain.generations() == (2, 1)
    assert created(plain) == 1
    assert plain.cloud.registry[old.certificate_id].status is Status.ACTIVE  # until the grace is over


def test_the_thing_must_be_known(plain: Gateway) -> None:
    """From the command line, the configuration or the set in use; it cannot be guessed from a certificate."""
    directory = stick(plain, issue(plain))
    ran = plain.run("import", "--from", str(directory), expect=4)
    assert "--thing" in ran.err
    plain.configure({"trust:\n": f"thing_name: {THING}\ntrust:\n"})
    plain.run("import", "--from", str(directory), expect=0)
    plain.run("import", "--from", str(stick(plain, issue(plain))), expect=4)  # two sets lie there now
    shutil.rmtree(directory)
    plain.run("import", "--from", str(stick(plain, issue(plain))), expect=0)
    assert plain.generations() == (2, 1)


@pytest.mark.parametrize("thing", ["gw/+/0042", "#", "x" * 129, "gw 0042", "gw\n0042"])
def test_a_name_that_no_thing_has_is_refused(plain: Gateway, thing: str) -> None:
    """It would become part of topics; it is refused before anything is written, as in the configuration."""
    ran = plain.run("import", "--from", str(stick(plain, issue(plain))), "--thing", thing, "--wait", "3")
    assert ran.code in {2, 4}, ran.out + ran.err
    assert "defect" not in ran.err
    assert not plain.state.exists() or plain.generations() == (None, None)
    assert not plain.state.exists() or not [*(plain.state / "generations").iterdir()]


def test_the_certificate_of_another_thing_is_not_used(plain: Gateway) -> None:
    """The cloud does not let it speak for this one."""
    old = issue(plain)
    plain.cloud.registry[old.certificate_id].thing_name = "another-gateway"
    plain.rotation(policy_patience="1s")
    ran = plain.run("import", "--from", str(stick(plain, old)), "--thing", THING, "--wait", "15", "--json")
    assert ran.code in {3, 5}
    assert plain.generations() == (None, None)


def test_everything_the_console_offers_may_lie_there(plain: Gateway) -> None:
    """The public key too, a folder that some other system made, and hidden files."""
    old = issue(plain)
    directory = stick(plain, old, plain.service.root_pem, root(plain).pem)
    public = old.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (directory / f"{old.certificate_id}-public.pem.key").write_bytes(public)
    (directory / "System Volume Information").mkdir()
    (directory / ".Trash").write_bytes(b"\0")
    plain.run("import", "--from", str(directory), "--thing", THING, expect=0)
    assert plain.generations() == (1, None)
    assert anchors(plain) == {"Sandbox endpoint root A", "Another root"}


# -- on a gateway that has a set ---------------------------------------------------------------------------------------


def test_a_set_replaces_the_one_in_use(enrolled: Gateway) -> None:
    """The thing is the same without being named; the set before is kept; the same files again change nothing."""
    old = issue(enrolled)
    files = [str(path) for path in stick(enrolled, old).iterdir()]
    enrolled.run("import", "--from", *files, "--reason", "a visit", expect=0)
    assert enrolled.generations() == (2, 1)
    assert enrolled.certificate_id() == old.certificate_id
    assert (enrolled.history()[-1].reason, enrolled.history()[-1].kind) == ("a visit", "import")
    assert created(enrolled) == 1

    assert "in use already" in enrolled.run("import", "--from", *files, expect=0).out
    again = enrolled.run("import", "--from", *files, "--json", expect=0)
    assert (again.outcome["outcome"], again.outcome["exit"]) == ("unchanged", 0)
    assert enrolled.generations() == (2, 1)
    enrolled.run("rollback", expect=0)
    assert enrolled.generations() == (1, 2)


def test_new_anchors_beside_the_certificate_in_use_are_not_lost(enrolled: Gateway) -> None:
    """The set is the same, its anchors are not."""
    old = issue(enrolled)
    enrolled.run("import", "--from", str(stick(enrolled, old)), expect=0)
    enrolled.run("import", "--from", str(stick(enrolled, old, root(enrolled).pem)), expect=0)
    assert anchors(enrolled) == {"Sandbox endpoint root A", "Another root"}
    assert enrolled.certificate_id() == old.certificate_id


def test_what_lies_beside_a_set_and_another_subject_are_named(enrolled: Gateway) -> None:
    """A person sees that a certificate was not taken, and that other programs may know this gateway by its subject."""
    now = datetime.now(UTC)
    other = enrolled.cloud.authority.issue_client(name("of-another"), rsa_key(99).public_key(), now - DAY, now + DAY)
    path = stick(enrolled, issue(enrolled))
    (path / "other.pem").write_bytes(other.public_bytes(Encoding.PEM))
    ran = enrolled.run("import", "--from", str(path), expect=0)
    assert "Not taken, since the certificate does not chain to it: CN=of-another." in ran.out
    assert "The certificate's subject is CN=AWS IoT Certificate; that of the one in use is " in ran.out
    again = enrolled.run("import", "--from", str(stick(enrolled, issue(enrolled))), "--reason", "again")
    assert "The certificate's subject" not in again.out


def test_a_set_that_is_refused_is_not_used(enrolled: Gateway) -> None:
    """The one before stays, and a program learns it by the exit code."""
    ran = enrolled.run("import", "--from", str(stick(enrolled, issue(enrolled, status=Status.INACTIVE))), "--json")
    assert (ran.code, ran.outcome["change"]["phase"], ran.outcome["current"]) == (1, "rejected", 1)
    assert enrolled.generations() == (1, None)
    enrolled.run("rotate", expect=0)


def test_without_network_it_is_kept_for_later(enrolled: Gateway) -> None:
    """Nothing is used before it is proven; typed again, the command goes on with it; so does any other order."""
    directory = stick(enrolled, issue(enrolled))
    enrolled.order("down")
    ran = enrolled.run("import", "--from", str(directory), "--wait", "0", "--json", expect=5)
    assert ran.outcome["change"]["phase"] == "prepared"
    assert enrolled.generations() == (1, None)
    again = enrolled.run("import", "--from", str(directory), "--wait", "0", "--json", expect=5)
    assert again.outcome["change"]["id"] == ran.outcome["change"]["id"]
    enrolled.order("up")
    enrolled.run("rotate", expect=0)
    assert [record.kind for record in enrolled.history()] == ["enroll", "import", "rotate"]


def test_an_expired_certificate_is_refused_unless_root_says_otherwise(enrolled: Gateway) -> None:
    """The clock may be what is wrong."""
    old = issue(enrolled, ends=-timedelta(hours=1))
    ran = enrolled.run("import", "--from", str(stick(enrolled, old)), expect=4)
    assert "expired" in ran.err
    assert "clock" in ran.err
    assert enrolled.generations() == (1, None)


def test_the_certificate_of_an_authority_is_no_set(enrolled: Gateway) -> None:
    """Its key has no place on a gateway."""
    authority = root(enrolled)
    path = enrolled.directory / "ca.pem"
    key = authority._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(key + authority.pem)
    assert "one of an authority" in enrolled.run("import", "--from", str(path), expect=4).err
    path.unlink()


# -- anchors -----------------------------------------------------------------------------------------------------------


def test_anchors_are_added_to_those_in_use(enrolled: Gateway) -> None:
    """Union before difference: a gateway that has one more root loses none."""
    directory = stick(enrolled, issue(enrolled), root(enrolled).pem)
    enrolled.run("import", "--from", str(directory), expect=0)
    assert anchors(enrolled) == {"Sandbox endpoint root A", "Another root"}


def test_anchors_replace_those_in_use_when_that_is_said(enrolled: Gateway) -> None:
    """As after the endpoint has moved."""
    other = root(enrolled)
    enrolled.console.roots["other"] = other
    enrolled.order("root use other")
    directory = stick(enrolled, issue(enrolled), other.pem)
    enrolled.run("import", "--from", str(directory), "--replace-anchors", expect=0)
    assert anchors(enrolled) == {"Another root"}
    enrolled.run("rotate", expect=0)


def test_anchors_alone_leave_the_certificate(enrolled: Gateway) -> None:
    """They become a trust change, told as one; the same again change nothing."""
    path = enrolled.directory / "new.pem"
    path.write_bytes(root(enrolled).pem)
    before = enrolled.certificate_id()
    ran = enrolled.run("import", "--from", str(path), "--json", expect=0)
    told = next(event for event in ran.events if event["event"] == "bundle")
    assert ["Another root" in anchor["name"] for anchor in told["added"]] == [True]
    assert told["removed"] == []
    assert anchors(enrolled) == {"Sandbox endpoint root A", "Another root"}
    assert enrolled.certificate_id() == before
    assert enrolled.history()[-1].kind == "trust"
    assert enrolled.run("import", "--from", str(path), "--json", expect=0).outcome["outcome"] == "unchanged"


def test_wrong_anchors_alone_are_not_used(enrolled: Gateway) -> None:
    """Even when they are to replace those that work."""
    path = enrolled.directory / "new.pem"
    path.write_bytes(root(enrolled).pem)
    enrolled.run("import", "--from", str(path), "--replace-anchors", "--wait", "3")
    assert anchors(enrolled) == {"Sandbox endpoint root A"}


def test_anchors_alone_need_a_set(gateway: Gateway) -> None:
    """There is nothing to give them to; nothing is made for them."""
    path = gateway.directory / "new.pem"
    path.write_bytes(root(gateway).pem)
    assert "iot-cert enroll" in gateway.run("import", "--from", str(path), expect=4).err
    assert not gateway.state.exists()


# -- passwords ---------------------------------------------------------------------------------------------------------


def packed(gateway: Gateway, old: Old) -> Path:
    """Write a PKCS #12 file."""
    path = gateway.directory / "gw.p12"
    path.write_bytes(
        pkcs12.serialize_key_and_certificates(b"gw", old.key, old.certificate, None, BestAvailableEncryption(PASSWORD))
    )
    return path


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n", b"\nanother line\n"])
def test_a_pkcs12_file_is_opened_with_the_first_line_of_a_file(plain: Gateway, end: bytes) -> None:
    """However that line ends."""
    secret = plain.directory / "password"
    secret.write_bytes(PASSWORD + end)
    old = issue(plain)
    plain.run("import", "--from", str(packed(plain, old)), "--password-file", str(secret), "--thing", THING, expect=0)
    secret.unlink()
    assert plain.certificate_id() == old.certificate_id
    assert PASSWORD.decode() not in plain.everything_said()


def test_a_wrong_password_is_never_told(enrolled: Gateway) -> None:
    """Neither it nor anything of the file; nothing is written."""
    secret = enrolled.directory / "password"
    secret.write_bytes(b"canary of a wrong one")
    path = packed(enrolled, issue(enrolled))
    for arguments in ((), ("--password-file", str(secret))):
        ran = enrolled.run("import", "--from", str(path), *arguments, "--json", expect=4)
        assert ran.outcome["event"] == "error"
        assert "password" in ran.outcome["message"]
        assert "canary" not in ran.out + ran.err
    missing = enrolled.run("import", "--from", str(path), "--password-file", "/no/such/file", expect=2)
    assert "/no/such/file" in missing.err
    assert enrolled.generations() == (1, None)
    assert len(enrolled.history()) == 1


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda path: (path / "other.key").write_bytes(ec_key()), "several private keys"),
        (lambda path: next(path.glob("*.crt")).unlink(), "certificate that belongs to the private key"),
        (lambda path: (path / "film.mp4").write_bytes(b"\0" * 2_000_000), "film.mp4"),
        (lambda path: (path / "README.txt").write_text("Read me."), "README.txt"),
        (shutil.rmtree, "stick: it cannot be read"),
    ],
)
def test_what_cannot_be_used_is_refused(enrolled: Gateway, spoil: Callable[[Path], object], said: str) -> None:
    """In one line that names it, before anything is written."""
    directory = stick(enrolled, issue(enrolled))
    spoil(directory)
    ran = enrolled.run("import", "--from", str(directory), expect=4)
    assert said in ran.err
    assert ran.err.startswith("iot-cert: What was brought cannot be used: ")
    assert enrolled.generations() == (1, None)


def ec_key() -> bytes:
    """Return some other key."""
    return ec.generate_private_key(ec.SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


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
