"""A technician with a stick: the real command, files as AWS and other agents leave them, and the cloud on loopback."""

from __future__ import annotations

import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    pkcs12,
)

from agent.sandbox.account.authority import name
from agent.sandbox.cloud import Status
from agent.store.store import Store
from support.shorthand.sticks import DAY, THING, Old, created, issue, root, rsa_key, stick

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.running.gateway import Gateway


PASSWORD = b"canary password"


def anchors(gateway: Gateway) -> set[str]:
    """Return the anchors of the set in use, by name."""
    with Store(gateway.state) as store:
        found = store.generation(store.current() or 0)
    return {anchor.subject.removeprefix("CN=") for anchor in found.trust.anchors}


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
    ran = plain.run("import", "--from", str(directory), expect=2)
    assert "--thing" in ran.err
    plain.configure({"trust:\n": f"thing_name: {THING}\ntrust:\n"})
    plain.run("import", "--from", str(directory), expect=0)
    plain.run("import", "--from", str(stick(plain, issue(plain))), expect=2)  # two sets lie there now
    shutil.rmtree(directory)
    plain.run("import", "--from", str(stick(plain, issue(plain))), expect=0)
    assert plain.generations() == (2, 1)


def test_a_name_that_no_thing_has_is_refused(plain: Gateway) -> None:
    """It would become part of topics; it is refused before anything is written, as in the configuration."""
    directory = stick(plain, issue(plain))
    for thing in ("gw/+/0042", "#", "x" * 129, "gw 0042", "gw\n0042"):
        ran = plain.run("import", "--from", str(directory), "--thing", thing, "--wait", "3")
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
    assert "one of an authority" in enrolled.run("import", "--from", str(path), expect=2).err
    path.unlink()


def test_a_device_certificate_that_signed_itself_is_left_to_its_proof(enrolled: Gateway) -> None:
    """What `openssl req -x509` makes says that it is an authority's; AWS takes those registered without a CA."""
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    made = ["openssl", "req", "-x509", *key, "-nodes", "-subj", "/CN=gw-0042", "-days", "9"]
    brought = enrolled.directory / "own"
    brought.mkdir()
    subprocess.run([*made, "-keyout", "key.pem", "-out", "own.pem"], check=True, capture_output=True, cwd=brought)
    ran = enrolled.run("--json", "import", "--from", str(brought), expect=1)
    assert "one of an authority" not in ran.err
    assert ran.outcome["change"]["phase"] == "rejected"  # by the sandbox, which knows its own device CA alone
    assert enrolled.generations() == (1, None)


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


def test_a_pkcs12_file_is_opened_with_the_first_line_of_a_file(plain: Gateway) -> None:
    """However that line ends; what is in use already was read as well."""
    secret, old = plain.directory / "password", issue(plain)
    words = ("import", "--from", str(packed(plain, old)), "--password-file", str(secret), "--thing", THING)
    for end in (b"", b"\n", b"\r\n", b"\nanother line\n"):
        secret.write_bytes(PASSWORD + end)
        plain.run(*words, expect=0)
        assert plain.certificate_id() == old.certificate_id
    assert "in use already" in plain.ran[-1].out
    secret.unlink()
    assert PASSWORD.decode() not in plain.everything_said()


def test_a_wrong_password_is_never_told(enrolled: Gateway) -> None:
    """Neither it nor anything of the file; nothing is written."""
    secret = enrolled.directory / "password"
    secret.write_bytes(b"canary of a wrong one")
    path = packed(enrolled, issue(enrolled))
    for arguments in ((), ("--password-file", str(secret))):
        ran = enrolled.run("import", "--from", str(path), *arguments, "--json", expect=2)
        assert ran.outcome["event"] == "error"
        assert "password" in ran.outcome["message"]
        assert "canary" not in ran.out + ran.err
    missing = enrolled.run("import", "--from", str(path), "--password-file", "/no/such/file", expect=2)
    assert "/no/such/file" in missing.err
    assert enrolled.generations() == (1, None)
    assert len(enrolled.history()) == 1


UNUSABLE: dict[str, Callable[[Path], object]] = {
    "several private keys": lambda path: (path / "other.key").write_bytes(ec_key()),
    "certificate that belongs to the private key": lambda path: next(path.glob("*.crt")).unlink(),
    "film.mp4": lambda path: (path / "film.mp4").write_bytes(b"\0" * 2_000_000),
    "empty.pem": lambda path: (path / "empty.pem").write_bytes(b""),
    "stick: it cannot be read": shutil.rmtree,
}


def test_what_cannot_be_used_is_refused(enrolled: Gateway) -> None:
    """In one line that names it, before anything is written."""
    old = issue(enrolled)
    for said, spoil in UNUSABLE.items():
        directory = stick(enrolled, old)
        spoil(directory)
        ran = enrolled.run("import", "--from", str(directory), expect=2)
        assert said in ran.err
        assert ran.err.startswith("iot-cert: What was brought cannot be used: ")
        assert enrolled.generations() == (1, None)
        shutil.rmtree(directory, ignore_errors=True)


def test_a_readme_beside_is_passed_over(enrolled: Gateway) -> None:
    """A directory may hold what is nothing of a set."""
    old = issue(enrolled)
    directory = stick(enrolled, old)
    (directory / "README.txt").write_text("Read me.")
    enrolled.run("import", "--from", str(directory), expect=0)
    assert enrolled.certificate_id() == old.certificate_id


def ec_key() -> bytes:
    """Return some other key."""
    return ec.generate_private_key(ec.SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
