"""Full and read-only disks, other users, missing files: the command says what is wrong and loses nothing."""

from __future__ import annotations

import os
import subprocess
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from agent.core.values import Origin
from agent.sandbox.replies.faults import Operation
from support.running.daemon import RunningDaemon
from support.suite import campaigns, warm
from support.suite.surroundings import NOBODY, need_root

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.running.gateway import Gateway


@contextmanager
def small_disk(path: Path, size: str) -> Iterator[None]:
    """Put a file system of its own, in memory, over a directory, with what was in it."""
    need_root()
    content = path.with_name("content")
    path.rename(content)
    path.mkdir(mode=0o700)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=0700", "tmpfs", str(path)], check=True)
    try:
        subprocess.run(["cp", "-a", f"{content}/.", str(path)], check=True)
        yield
    finally:
        subprocess.run(["umount", str(path)], check=True)


def test_a_full_disk_is_found_before_a_certificate_is_asked_for(enrolled: Gateway) -> None:
    """The preflight says how much is missing, and the cloud hears nothing; what is set aside is not for that."""
    with small_disk(enrolled.state, "400k"):
        tried = enrolled.run("rotate", "--wait", "0", expect=1)
        assert "KiB free and a change needs 256 KiB. No certificate was asked for." in tried.out
        assert enrolled.generations() == (1, None)
        assert len(list((enrolled.state / "reserve").iterdir())) == 16
    assert enrolled.cloud.count(Operation.CREATE) == 1


def fill(path: Path) -> None:
    """Take all that is left of a file system."""
    with (path / "ballast").open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))


@pytest.mark.parametrize(
    ("verb", "kinds"), campaigns.take([("rotate", ["rollback", "rotate"]), ("rollback", ["rollback"])], 2)
)
def test_a_full_disk_stops_no_person_from_falling_back(enrolled: Gateway, verb: str, kinds: list[str]) -> None:
    """The set in use is revoked and not a byte is free: the command finds a set that works, and room for that."""
    enrolled.rotate()
    with small_disk(enrolled.state, "2m"):
        fill(enrolled.state)
        enrolled.order("revoke current")
        done = enrolled.run(verb, expect=0)
        assert "what was set aside for that is given up. Free some space on this file system." in done.out
        assert [record.kind for record in enrolled.history()[2:]] == kinds
        assert "Nothing is set aside for falling back" in enrolled.run("status", expect=1).out

        (enrolled.state / "ballast").unlink()
        enrolled.run("rotate", expect=0)
        assert "set aside" not in enrolled.run("status", expect=1).out
        assert len(list((enrolled.state / "reserve").iterdir())) == 16


def test_a_rotation_on_a_full_disk_is_refused_where_the_set_in_use_works(enrolled: Gateway) -> None:
    """There is nothing to fall back from, so only room helps, and the sentence says so."""
    with small_disk(enrolled.state, "2m"):
        fill(enrolled.state)
        tried = enrolled.run("rotate", expect=1)
        assert "No space left on device" in tried.err
        assert "Free some space" in tried.err
        assert len(list((enrolled.state / "reserve").iterdir())) == 16
        assert len(enrolled.history()) == 1


def test_a_full_disk_stops_no_daemon_from_falling_back(enrolled: Gateway) -> None:
    """No person is there to make room: it is connected again by itself, with a certificate of its own."""
    enrolled.rotate()
    with small_disk(enrolled.state, "2m"), RunningDaemon(enrolled) as daemon:
        daemon.until_up(2)
        fill(enrolled.state)
        enrolled.order("revoke current")
        daemon.until_finished(4)
        daemon.until_up(3)
        assert [record.origin for record in enrolled.history()[2:]] == [Origin.LADDER, Origin.LADDER]
        assert enrolled.generations() == (3, 1)
        assert "Nothing is set aside for falling back" in enrolled.run("status", expect=1).out


def test_a_read_only_disk_is_said_in_a_sentence(enrolled: Gateway) -> None:
    """Nothing can be changed, everything can be looked at."""
    with small_disk(enrolled.state, "4m"):
        subprocess.run(["mount", "-o", "remount,ro", str(enrolled.state)], check=True)
        tried = enrolled.run("rotate", expect=1)
        assert "Read-only file system" in tried.err
        assert "remount,rw" in tried.err
        assert "generation   1" in enrolled.run("status", expect=1).out


def test_root_acts_as_the_owner_of_the_store(passable: Gateway) -> None:
    """What root's command leaves behind belongs to the agent's user, or the daemon could not go on."""
    need_root()
    subprocess.run(["chown", "-R", f"{NOBODY}:{NOBODY}", str(passable.state)], check=True)
    passable.run("rotate", expect=0)
    strangers = [path for path in passable.state.rglob("*") if path.lstat().st_uid != NOBODY]
    assert strangers == []
    assert passable.generations() == (2, 1)


def test_nothing_is_ever_open_to_others(enrolled: Gateway) -> None:
    """Whatever the umask, only the owner may read, write or enter."""
    for umask in (0o000, 0o077):
        before = os.umask(umask)
        try:
            enrolled.run("rotate", expect=0)
        finally:
            os.umask(before)
    found = [path for path in enrolled.state.rglob("*") if not path.is_symlink() and path.stat().st_mode & 0o077]
    assert found == []


def test_another_user_is_refused_in_a_sentence(passable: Gateway) -> None:
    """Who may not, gets exit code 4 (or 2 where even the configuration is closed) and no traceback."""
    need_root()
    passable.config.chmod(0o644)
    for verb in ("status", "rotate", "history"):
        words = ["--config", str(passable.config), verb]
        done = warm.run(words, cwd=Path("/"), env=os.environ, timeout=180, user=NOBODY)
        assert done.returncode == 4, done.stderr
        assert "Permission denied" in done.stderr
        assert "No daemon runs that would do it for you" in done.stderr
        assert "Traceback" not in done.stderr


CONTENTS = {
    "empty": b"\n", "erased": b"\xff" * 512 + b"\0\n", "garbage": b"nothing of this kind\n", "huge": b"#" * 2_000_000,
}  # fmt: skip


def spoil(gateway: Gateway, path: Path, change: str) -> None:
    """Have something else stand in the place of a file, or the mode that lets others read it."""
    path.unlink()
    if change in {"dangling", "loop"}:
        path.symlink_to("/nowhere" if change == "dangling" else path)
    elif change == "pipe":
        os.mkfifo(path, 0o600)
    elif change != "missing":
        path.write_bytes(CONTENTS.get(change) or gateway.cloud.add_claim().key_pem)
        path.chmod(0o644 if change == "open" else 0o600)


UNUSABLE = [
    ("claim/key.pem", "missing", "the claim key cannot be read: No such file or directory"),
    ("claim/key.pem", "open", "may be read by others (mode 0644)"),
    ("claim/key.pem", "empty", "the claim key is empty"),
    ("claim/key.pem", "erased", "the claim key is empty"),
    ("claim/key.pem", "garbage", "there is no private key in it as PEM"),
    ("claim/key.pem", "pipe", "the claim key is a pipe, where a file is expected"),
    ("claim/key.pem", "dangling", "is a symbolic link to /nowhere, which is not there"),
    ("claim/key.pem", "other", "the private key does not belong to the certificate"),
    ("claim/certificate.pem", "empty", "the claim certificate is empty"),
    ("claim/certificate.pem", "garbage", "there is no certificate in it as PEM"),
    ("claim/certificate.pem", "missing", "the claim certificate cannot be read"),
    ("roots.pem", "empty", "the trust anchors file is empty"),
    ("roots.pem", "garbage", "there is no PEM certificate in it"),
    ("roots.pem", "loop", "The links there lead in a circle"),
    ("roots.pem", "huge", "larger than the 1024 KiB allowed"),
]


def test_material_that_cannot_be_used_is_a_configuration_error(gateway: Gateway) -> None:
    """Before anything is begun the file is named, with what is wrong about it; `config check` says the same."""
    checked = campaigns.one_of_each(UNUSABLE, lambda case: case[0])
    for case in UNUSABLE:
        file, change, words = case
        path = gateway.directory / file
        sound = path.read_bytes()
        spoil(gateway, path, change)
        for verb in [("enroll",), *([("config", "check")] if case in checked else [])]:
            said = gateway.run(*verb, expect=2).err
            assert words in said
            assert said.count(words) == 1
            assert f"iot-cert: {path}: " in said or "does not belong" in words  # which is said of two
        assert not (gateway.state / "change.json").exists()
        path.unlink(missing_ok=True)
        path.write_bytes(sound)
        path.chmod(0o600)


def test_what_cannot_be_done_yet_is_refused(gateway: Gateway) -> None:
    """Rotating before enrolling, enrolling twice, going back without a way back: exit code 4 and what to do instead.

    Errors too are JSON when a machine asks.
    """
    assert "Run `iot-cert enroll`" in gateway.run("rotate", expect=4).err + gateway.run("status", expect=3).out
    gateway.run("enroll", expect=0)
    assert "`iot-cert rotate` gets a new certificate" in gateway.run("enroll", expect=4).err
    assert "no previous generation" in gateway.run("rollback", expect=4).err
    ran = gateway.run("enroll", "--json", expect=4)
    assert ran.err == ""
    assert (ran.outcome["event"], ran.outcome["exit"]) == ("error", 4)


def test_a_damaged_generation_is_seen_and_left(enrolled: Gateway) -> None:
    """One flipped byte: status says so, the next command goes to a generation that is whole."""
    enrolled.rotate()
    key = enrolled.state / "current" / "key.pem"
    data = bytearray(key.read_bytes())
    data[60] ^= 1
    key.write_bytes(data)
    assert "key.pem changed since it was written" in enrolled.run("status", expect=3).out
    enrolled.run("rotate", expect=0)
    assert "Generation 1 is whole and is current now" in enrolled.ran[-1].out
    assert enrolled.generations() == (3, 1)


def test_a_gateway_with_nothing_left_says_so(enrolled: Gateway) -> None:
    """The only set damaged and the claim gone: exit code 3 and what to do, for people and for machines."""
    key = enrolled.state / "current" / "key.pem"
    sound = key.read_bytes()
    key.write_bytes(b"")
    (enrolled.state / "current" / "credential.pem").unlink()  # which has the key as well
    claim = enrolled.directory / "claim" / "key.pem"
    claim.rename(claim.with_name("kept"))
    assert "Put a claim certificate in place that AWS IoT Core accepts" in enrolled.run("rotate", expect=3).out
    told = enrolled.run("rotate", "--json", expect=3).outcome
    assert (told["event"], told["exit"], told["change"]) == ("outcome", 3, None)
    assert enrolled.cloud.count(Operation.CREATE) == 1

    # With the claim back, the same command enrols the gateway anew; what was damaged is left as it is.
    claim.with_name("kept").rename(claim)
    enrolled.run("rotate", expect=0)
    assert enrolled.history()[-1].kind == "enroll"
    assert (enrolled.state / "generations" / "000001" / "key.pem").read_bytes() == b"" != sound


# What a machine may ask of its other programs: what the server does not have, another standard, and nonsense.
_OPENSSL = {
    "signatures": "[b]\nsystem_default = c\n[c]\nSignatureAlgorithms = RSA+SHA512\n",
    "ciphers": "[b]\nsystem_default = c\n[c]\nCiphersuites = TLS_AES_128_CCM_8_SHA256\nCipherString = AES256-SHA\n",
    "groups": "[b]\nsystem_default = c\n[c]\nGroups = P-521\n",
    "nonsense": "[b]\nsystem_default = c\n[c]\nGroups = nonsense\n",
    "fips": "[d]\nfips_mode = yes\n",
}
_BROKEN = {"nonsense", "fips"}


# A sample has one that a server would turn away, and one that OpenSSL itself would.
@pytest.mark.parametrize("kind", campaigns.one_of_each([*_OPENSSL], lambda kind: f"{kind in _BROKEN}"))
def test_the_machines_openssl_changes_nothing_that_a_command_or_a_daemon_does(enrolled: Gateway, kind: str) -> None:
    """The SDK reads none of it; so the look at the server before it must not either, nor what reads certificates.

    A sample has the command with what turns a server away, and the start of the daemon with what no reader survives.
    """
    settings, sampled = enrolled.directory / "openssl.cnf", campaigns.chosen().sampled
    settings.write_text(f"openssl_conf = a\n[a]\nssl_conf = b\nalg_section = d\n{_OPENSSL[kind]}")
    if not sampled or kind not in _BROKEN:
        with enrolled.start("check", OPENSSL_CONF=str(settings)) as command:
            said, _ = command.communicate()
        shown = enrolled.run("check").out
        assert [line[:25] for line in said.splitlines()] == [line[:25] for line in shown.splitlines()]
    if not sampled or kind in _BROKEN:
        with RunningDaemon(enrolled, started=True, OPENSSL_CONF=str(settings)) as daemon:
            daemon.until_up(1)
            if not sampled:
                enrolled.run("rotate", expect=0)
                daemon.until_up(2)
