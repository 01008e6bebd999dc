"""The archive for a support case: what is in it, what is said to be missing, and that no secret ever is."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import shutil
import socket
import stat
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from agent import cli
from agent.cli import support
from agent.cli.support import scrubbed
from agent.config.reader import parse
from agent.core.change.lifecycle import Phase
from agent.core.report.checks import CHECKS
from agent.core.values import KeyAlgorithm, Kind
from agent.crypto.keys import generate
from support.rig import Rig
from support.surroundings import need_root

if TYPE_CHECKING:
    from collections.abc import Iterator

COMMAND = str(Path(sys.executable).with_name("iot-cert"))
NOBODY = 65534
JOURNAL = support._JOURNAL

ONE_TIME = "canary-one-time-token-0123"
IN_A_FILE = "canary-token-in-a-file-0123"
PASSWORD = "canary-password-of-a-pkcs12-file"  # noqa: S105 - so that it can be looked for
STORE_PASSWORD = "canary-password-of-a-copy"  # noqa: S105 - so that it can be looked for
SIGNATURE = "canary5ignature0123456789abcdef"
FOREIGN_KEY = generate(KeyAlgorithm.EC_P256).decode()

NAMES = {
    "versions.json", "configuration.yaml", "status.json", "check.jsonl", "history.jsonl", "change.json",
    "certificate.pem", "trust.pem", "manifest.json", "journal.txt", "unit.txt", "MISSING.txt",
}  # fmt: skip


class Place:
    """A gateway's files, with a canary wherever a secret may lie; nothing runs, and the endpoint is dead.

    Attributes:
        apart: Whether the command is a process of its own, as people have it, and so is the check that it starts.
            Otherwise it runs here, and what the check says is known.
    """

    apart = False

    def __init__(self, directory: Path, here: Here) -> None:
        self.directory = directory
        self._here = here
        self.rig = Rig(directory / "state")
        self.config = directory / "config.yaml"
        self.tools = directory / "tools"
        self.programs = {
            "systemctl": "echo Id=iot-cert-agent.service",
            "journal-reader": f"exec /bin/cat {directory}/journal",
        }
        self.journal = "2027-03-01T12:00:00+0000 gw iot-cert-agent[1]: Nothing is begun now.\n"
        self.parameters = f'{{SerialNumber: "0042", Token: "{ONE_TIME}", Key: {{file: {directory}/parameter}}}}'

    def furnish(self) -> None:
        """Write what a gateway has besides its state."""
        claim = self.directory / "claim"
        claim.mkdir(exist_ok=True)
        pair = self.rig.cloud.claim
        for path, data in (
            (claim / "certificate.pem", pair.certificate_pem),
            (claim / "key.pem", pair.key_pem),
            (self.directory / "roots.pem", self.rig.root.pem),
            (self.directory / "parameter", IN_A_FILE.encode()),
            (self.directory / "password", PASSWORD.encode()),
            (self.directory / "store-password", f"{STORE_PASSWORD}\nnoted by hand\n".encode()),
        ):
            path.write_bytes(data)
            path.chmod(0o600)
        (self.directory / "roots.pem").chmod(0o644)
        self.config.write_text(configuration(self))
        self.config.chmod(0o644)
        for name, script in self.programs.items():
            self.tool(name, script)

    def tool(self, name: str, script: str) -> None:
        """Put a program where the command finds it first."""
        self.tools.mkdir(exist_ok=True)
        path = self.tools / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    @property
    def secrets(self) -> set[str]:
        """Every secret of this gateway, keys line by line and in one piece."""
        keys = [path for path in self.directory.rglob("key.pem") if path.is_file()]
        lines = {line for key in keys for line in _key_lines(key.read_text())}
        tokens = {entry.token for entry in self.rig.cloud.registry.values() if entry.token}
        return (
            lines | tokens | {ONE_TIME, IN_A_FILE, PASSWORD, STORE_PASSWORD, SIGNATURE} | set(_key_lines(FOREIGN_KEY))
        )

    def collect(
        self, *arguments: str, user: int | None = None, expect: int = 0, target: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run the command; the journal is what this place says it is."""
        self.furnish()
        (self.directory / "journal").write_text(self.journal)
        (self.directory / "journal").chmod(0o644)
        target = target or self.directory / "support.tar"
        command = ["--config", str(self.config), "support-bundle", "--output", str(target), *arguments]
        environment = {**os.environ, "PATH": str(self.tools)}
        done = self._here(command, environment) if not self.apart else subprocess.run(
            [COMMAND, *command], capture_output=True, text=True, timeout=90, check=False, cwd=target.parent,
            user=user, group=user, extra_groups=None if user is None else [], env=environment,
        )  # fmt: skip
        assert done.returncode == expect, done.stdout + done.stderr
        assert "Traceback" not in done.stdout + done.stderr
        assert not [secret for secret in self.secrets if secret in done.stdout + done.stderr]
        return done

    def archive(self, *arguments: str, user: int | None = None, target: Path | None = None) -> dict[str, str]:
        """Collect, look for every secret in every file, and return the files."""
        self.collect(*arguments, user=user, target=target)
        return self.opened(target)

    def opened(self, target: Path | None = None) -> dict[str, str]:
        """Return the files of an archive that holds no secret."""
        target = target or self.directory / "support.tar"
        files = read(target)
        leaked = [(name, secret[:8]) for name, data in files.items() for secret in self.secrets if secret in data]
        assert leaked == []
        assert not re.search("PRIVATE KEY", "".join(files.values()))
        return files


Here = Callable[[list[str], dict[str, str]], "subprocess.CompletedProcess[str]"]


@pytest.fixture(name="here")
def _here(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Here:
    """Return what runs the command in this process; its check needs no other, and the place has a journal."""
    lines = [json.dumps({"event": "line", "check": name, "verdict": "skipped", "text": "Known."}) for name in CHECKS]
    monkeypatch.setattr(support, "_JOURNAL", ("journal-reader",))
    monkeypatch.setattr(support, "check_apart", lambda _: "".join(f"{line}\n" for line in lines).encode())

    def run(command: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
        capsys.readouterr()
        with monkeypatch.context() as patched:
            patched.setenv("PATH", environment["PATH"])
            code = cli.main(command)
        said = capsys.readouterr()
        return subprocess.CompletedProcess(command, code, said.out, said.err)

    return run


def read(target: Path) -> dict[str, str]:
    """Return the files of an archive, without the folder that they lie in."""
    with tarfile.open(fileobj=io.BytesIO(target.read_bytes())) as archive:
        found = {member.name: archive.extractfile(member) for member in archive.getmembers()}
    assert all(name.startswith("iot-cert-support/") for name in found)
    return {
        name.removeprefix("iot-cert-support/"): file.read().decode(errors="replace")
        for name, file in found.items()
        if file is not None
    }


def _key_lines(pem: str) -> list[str]:
    return [line for line in pem.splitlines() if not line.startswith("-----") and len(line) > 12]


def configuration(place: Place) -> str:
    """Return a configuration with a one-time token among its parameters."""
    at = place.directory
    return f"""\
endpoint: localhost
port: {closed_port()}
state_dir: {at}/state
runtime_dir: {at}/run
trust: {{anchors: {at}/roots.pem}}
enrollment:
  template: gateway
  parameters: {place.parameters}
  claim: {{certificate: {at}/claim/certificate.pem, key: {at}/claim/key.pem}}
rotation:
  template: gateway-rotation
  parameters: {{Token: "{ONE_TIME}"}}
  daily_limit: 7
deploy_dir: {at}/deploy
copies:
  - {{to: {at}/app.p12, content: key+certificate, format: pkcs12, password_file: {at}/store-password}}
dependants:
  - {{unit: app.service, verify: {{command: [/usr/bin/curl, -H, "Authorization: {ONE_TIME}"]}}}}
"""


def closed_port() -> int:
    """Return a port without a listener."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def missing(files: dict[str, str]) -> dict[str, str]:
    """Return what an archive says it lacks, with the reason."""
    return dict(line.split(": ", 1) for line in files["MISSING.txt"].splitlines())


@pytest.fixture
def place(here: Here) -> Iterator[Place]:
    """Return a gateway fresh from the factory; others may pass through its directory."""
    directory = Path(tempfile.mkdtemp(prefix="iot-cert-support-"))
    directory.chmod(0o755)
    made = Place(directory, here)
    yield made
    made.rig.close()
    shutil.rmtree(directory)


@pytest.fixture
def enrolled(place: Place) -> Place:
    """Return one with two generations and a change in flight that holds a key and an ownership token."""
    place.rig.enroll()
    place.rig.clock.advance(days=2)
    place.rig.rotate()
    place.rig.clock.advance(days=2)
    place.rig.stop_at(Kind.ROTATE, Phase.ISSUED)
    assert '"token":"' in (place.directory / "state" / "change.json").read_text()
    place.rig.store.close()
    return place


def give_away(place: Place) -> None:
    """Let the state belong to the agent's own user, as a package has it."""
    need_root()
    for path in [place.directory / "state", *(place.directory / "state").rglob("*")]:
        os.chown(path, NOBODY, NOBODY, follow_symlinks=False)


# -- what is in it -----------------------------------------------------------------------------------------------------


def test_everything_is_in_it(enrolled: Place) -> None:
    """What the helper would ask for next."""
    enrolled.apart = True
    files = enrolled.archive()
    state = enrolled.directory / "state"
    assert set(files) | set(missing(files)) == NAMES
    assert set(missing(files)) <= {"journal.txt"}  # this machine's own, which has nothing of a unit that is not here
    for name in ("certificate.pem", "trust.pem", "manifest.json"):
        assert files[name] == (state / "current" / name).read_text()
    assert [json.loads(line)["kind"] for line in files["history.jsonl"].splitlines()] == ["enroll", "rotate"]
    assert [json.loads(line)["check"] for line in files["check.jsonl"].splitlines()] == list(CHECKS)
    assert json.loads(files["status.json"])["current"]["generation"] == 2
    assert {"agent", "python", "kernel", "system"} <= set(json.loads(files["versions.json"]))
    assert files["unit.txt"] == "Id=iot-cert-agent.service\n"


def test_the_journal_is_in_it(enrolled: Place) -> None:
    """As its reader gives it."""
    files = enrolled.archive()
    assert (set(files), missing(files)) == (NAMES, {})
    assert files["journal.txt"] == enrolled.journal


def test_what_is_set_aside_for_falling_back_is_not_in_it(enrolled: Place) -> None:
    """It helps no case, and it is larger than all the rest."""
    assert (enrolled.directory / "state" / "reserve" / "00").exists()
    archive = enrolled.archive()
    assert not [name for name in archive if "reserve" in name]
    assert sum(map(len, archive.values())) < (enrolled.directory / "state" / "reserve" / "00").stat().st_size * 8


def test_the_change_in_flight_is_in_it_without_what_it_holds(enrolled: Place) -> None:
    """Phase and times, but neither the token nor the certificate in hand."""
    change = json.loads(enrolled.archive()["change.json"])
    assert (change["phase"], change["generation"]) == ("issued", 3)
    assert "issued" not in change


def test_the_configuration_is_in_it_and_can_be_read_again(enrolled: Place) -> None:
    """All of it but the parameters."""
    text = enrolled.archive()["configuration.yaml"]
    found = parse(text, enrolled.config)
    assert found.state_dir == enrolled.directory / "state"
    assert found.rotation.daily_limit == 7
    assert found.enrollment is not None
    assert found.enrollment.claim is not None
    assert found.enrollment.claim.key == enrolled.directory / "claim" / "key.pem"
    assert found.enrollment.parameters == found.rotation.parameters == {}


def test_passwords_of_copies_are_cut_out(enrolled: Place) -> None:
    """Wherever they got to; arguments of commands do not even come into it."""
    enrolled.journal = f"the hook was told {STORE_PASSWORD}, and nothing else\n"
    files = enrolled.archive()
    assert files["journal.txt"] == "the hook was told [REMOVED], and nothing else\n"
    found = parse(files["configuration.yaml"], enrolled.config)
    assert found.dependants.units[0].verify.command == ("/usr/bin/curl",)
    assert found.dependants.copies[0].password_file == enrolled.directory / "store-password"


def test_people_and_programs_are_told_where_it_is(enrolled: Place) -> None:
    """With what is missing."""
    assert f"{enrolled.directory}/support.tar: {len(NAMES)} files, without keys" in enrolled.collect().stdout
    enrolled.programs["journal-reader"] = "exit 1"
    told = json.loads(enrolled.collect("--json").stdout)
    assert told["file"] == str(enrolled.directory / "support.tar")
    assert (told["event"], told["exit"], list(told["missing"])) == ("support-bundle", 0, ["journal.txt"])


def test_no_other_user_may_read_it(enrolled: Place) -> None:
    """Whatever the mode of one that was there before."""
    target = enrolled.directory / "support.tar"
    target.write_text("old")
    target.chmod(0o666)
    enrolled.collect()
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert set(read(target)) == NAMES


def test_it_depends_on_nothing_but_its_files(enrolled: Place) -> None:
    """No times, no owners, and always in the same order."""
    enrolled.collect()
    with tarfile.open(enrolled.directory / "support.tar") as archive:
        members = archive.getmembers()
    assert {(member.mtime, member.uid, member.gid, member.uname, member.mode) for member in members} == {
        (0, 0, 0, "", 0o644)
    }
    names = [member.name for member in members]
    assert names == sorted(names)
    enrolled.collect()
    with tarfile.open(enrolled.directory / "support.tar") as archive:
        assert archive.getnames() == names


def test_it_changes_nothing(enrolled: Place) -> None:
    """The state is as it was, to the byte; above all the change in flight is not carried on."""

    def state() -> dict[Path, bytes]:
        paths = (enrolled.directory / "state").rglob("*")
        return {path: path.read_bytes() for path in paths if path.is_file()}

    before = state()
    enrolled.collect()
    assert state() == before


@pytest.mark.parametrize("target", ["nowhere/support.tar", "state"])
def test_a_place_that_cannot_be_written_is_named(enrolled: Place, target: str) -> None:
    """It is an error like any other."""
    done = enrolled.collect(target=enrolled.directory / target, expect=1)
    assert target.split("/", maxsplit=1)[0] in done.stderr
    assert "defect" not in done.stderr


@pytest.mark.parametrize("as_json", [False, True])
def test_it_can_be_piped(enrolled: Place, *, as_json: bool) -> None:
    """Nothing but the archive goes where the archive goes; what is told of it goes elsewhere."""
    enrolled.furnish()
    command = [COMMAND, "--config", str(enrolled.config), "support-bundle", "--output", "-"]
    done = subprocess.run([*command, *(["--json"] if as_json else [])], capture_output=True, timeout=90, check=True)
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        assert "iot-cert-support/versions.json" in archive.getnames()
    assert (b'"event": "support-bundle"' if as_json else b"standard output: ") in done.stderr


# -- what is not in it -------------------------------------------------------------------------------------------------


def test_the_journal_may_hold_anything(enrolled: Place) -> None:
    """Keys of this gateway in one piece or many, foreign keys, tokens and presigned URLs are cut out of it."""
    keys = [path.read_text() for path in enrolled.directory.rglob("state/**/key.pem")]
    token = next(entry.token for entry in enrolled.rig.cloud.registry.values() if entry.token)
    claim = enrolled.rig.cloud.claim.key_pem.decode()
    whole = "".join(_key_lines(claim))
    url = f"https://bucket.s3.eu-west-1.amazonaws.com/a%20b/x.tar?X-Amz-Expires=60&X-Amz-Signature={SIGNATURE}"
    lines = [
        *keys, claim, f"the key is {whole}", json.dumps({"key": FOREIGN_KEY}), f"token={token}&more",
        f"Fetching {url} now", json.dumps({"url": url, "after": "kept"}), f"<{url}>", f"'{url}'",
        FOREIGN_KEY[:120].replace("\n", "\nMar 01 12:00:00 gw agent: "),
    ]  # fmt: skip
    enrolled.journal = "\n".join(["The first line.", *lines])
    found = enrolled.archive()["journal.txt"]
    assert found.startswith("The first line.")
    assert '"after": "kept"' in found
    assert "https://bucket.s3.eu-west-1.amazonaws.com/a%20b/x.tar?[REMOVED] now" in found


def test_a_password_in_a_url_is_cut_out(enrolled: Place) -> None:
    """A unit's environment names a proxy so."""
    enrolled.programs["journal-reader"] = f"echo proxy http://user:{PASSWORD}@proxy.example:3128/"
    found = enrolled.archive()["journal.txt"]
    assert "proxy.example:3128" in found


def test_a_key_that_lies_in_the_certificates_file_is_cut_out(enrolled: Place) -> None:
    """As a person may have put both into one file by hand."""
    path = enrolled.directory / "state" / "current" / "certificate.pem"
    key = (enrolled.directory / "state" / "current" / "key.pem").read_text()
    certificate = path.read_text()
    path.write_text(key + certificate + FOREIGN_KEY)
    found = enrolled.archive()["certificate.pem"]
    assert certificate in found


@pytest.mark.parametrize("label", ["", "RSA ", "EC ", "ENCRYPTED ", "OPENSSH "])
def test_anything_that_looks_like_a_private_key_is_cut_out(label: str) -> None:
    """Whole, without an end, and in a JSON text; what comes after is kept."""
    key = f"-----BEGIN {label}PRIVATE KEY-----\nMIGHAgEA\nabc=\n-----END {label}PRIVATE KEY-----\n"
    assert scrubbed(f"before\n{key}after\n".encode(), []) == b"before\n[REMOVED]\nafter\n"
    assert scrubbed(f"before\n{key[:50]}".encode(), []) == b"before\n[REMOVED]"
    assert b"MIGH" not in scrubbed(json.dumps({"k": key}).encode(), [])


def test_a_certificate_is_kept() -> None:
    """It is public, and what a helper needs."""
    text = b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\nhttps://example.org/path see there\n"
    assert scrubbed(text, [b"", b"canary"]) == text


# -- what is missing ---------------------------------------------------------------------------------------------------


def test_a_gateway_that_never_enrolled_says_what_it_lacks(place: Place) -> None:
    """There is no state yet; configuration and check are there."""
    place.apart = True
    place.rig.store.close()
    shutil.rmtree(place.directory / "state")
    files = place.archive()
    assert {"certificate.pem", "trust.pem", "manifest.json"} <= set(missing(files))
    assert {"configuration.yaml", "status.json", "check.jsonl", "versions.json"} <= set(files)
    assert set(files) | set(missing(files)) == NAMES
    assert not (place.directory / "state").exists()


def test_programs_that_are_not_there_are_named(enrolled: Place) -> None:
    """Some systems have no systemd."""
    enrolled.programs.clear()
    assert set(missing(enrolled.archive())) == {"journal.txt", "unit.txt"}


def test_a_journal_that_cannot_be_read_is_named_with_who_may(enrolled: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the program that reads it, which is the real one here; this machine runs no such unit."""
    monkeypatch.setattr(support, "_JOURNAL", JOURNAL)
    found = missing(enrolled.archive())
    assert found == {
        "journal.txt": "The journal has no record of iot-cert-agent.service that this user may read. "
        "`journalctl -u iot-cert-agent` shows it to root and to the group systemd-journal."
    }


def test_programs_that_fail_are_named(enrolled: Place) -> None:
    """What they say is the reason, and no journal."""
    enrolled.programs["journal-reader"] = (
        "echo 'No journal files were opened due to insufficient permissions.' >&2; exit 1"
    )
    enrolled.programs["systemctl"] = "echo 'System has not been booted with systemd.' >&2; exit 1"
    found = missing(enrolled.archive())
    assert set(found) == {"journal.txt", "unit.txt"}
    assert "insufficient permissions" in found["journal.txt"]


def test_a_longer_journal_ends_with_the_latest(enrolled: Place) -> None:
    """Its beginning is what may be missed."""
    enrolled.journal = "x" * 3_000_000 + "\nthe last line\n"
    found = enrolled.archive()["journal.txt"]
    assert found.endswith("the last line\n")
    assert len(found) < 3_000_000


def _file(path: Path) -> None:
    shutil.rmtree(path)
    path.write_text("")


BROKEN: dict[str, Callable[[Path], None]] = {
    "change.json is cut off": lambda state: _cut(state / "change.json"),
    "change.json holds something else": lambda state: _write(state / "change.json", b"[1, 2"),
    "change.json is a list": lambda state: _write(state / "change.json", b"[]"),
    "change.json has an odd token": lambda state: _odd_token(state / "change.json"),
    "the history is none": lambda state: _write(state / "history.jsonl", b"\0\xff\n{}\n"),
    "current leads nowhere": lambda state: _link(state / "current", "generations/000099"),
    "current leads to itself": lambda state: _link(state / "current", "current"),
    "the manifest is damaged": lambda state: _write(state / "current" / "manifest.json", b"{}"),
    "the certificate is damaged": lambda state: _write(state / "current" / "certificate.pem", b"\xff\0"),
    "the key is gone": lambda state: (state / "current" / "key.pem").unlink(),
    "the key is a directory": lambda state: _directory(state / "current" / "key.pem"),
    "the generations are gone": lambda state: shutil.rmtree(state / "generations"),
    "the state is a file": _file,
}


def _write(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def _odd_token(path: Path) -> None:
    record = json.loads(path.read_bytes())
    record["issued"]["token"] = {"now": ["a", "list"]}
    path.write_text(json.dumps(record))


def _link(path: Path, target: str) -> None:
    path.unlink()
    path.symlink_to(target)


def _directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_gateway_is_what_it_is_for(enrolled: Place, what: str) -> None:
    """Whatever cannot be read is said to be missing; the rest is there, and still no secret."""
    known = enrolled.secrets
    BROKEN[what](enrolled.directory / "state")
    files = enrolled.archive()
    assert set(files) | set(missing(files)) == NAMES
    assert {"configuration.yaml", "check.jsonl", "journal.txt", "versions.json"} <= set(files)
    assert not [secret for secret in known for data in files.values() if secret in data]


@pytest.mark.parametrize("aside", ["change.json", "change.json.damaged"])
def test_the_token_of_a_damaged_record_is_a_secret_too(enrolled: Place, aside: str) -> None:
    """It may be in the journal, and lives for an hour."""
    state = enrolled.directory / "state"
    record = (state / "change.json").read_text()
    (state / "change.json").unlink()
    (state / aside).write_text(record[:-40])
    token = next(entry.token for entry in enrolled.rig.cloud.registry.values() if entry.token)
    enrolled.journal = f"registering with {token}\n"
    assert enrolled.archive()["journal.txt"] == "registering with [REMOVED]\n"


# -- who may have it ---------------------------------------------------------------------------------------------------


def test_it_works_for_a_user_who_may_read_nothing(enrolled: Place) -> None:
    """What the files of others hold is missing, and said to be."""
    need_root()
    enrolled.apart = True
    enrolled.furnish()
    enrolled.config.chmod(0o644)
    drop = enrolled.directory / "drop"
    drop.mkdir()
    os.chown(drop, NOBODY, NOBODY)
    files = enrolled.archive(user=NOBODY, target=drop / "support.tar")
    assert {"certificate.pem", "trust.pem", "manifest.json", "change.json"} <= set(missing(files))
    assert {"configuration.yaml", "check.jsonl", "versions.json"} <= set(files)
    assert (drop / "support.tar").stat().st_uid == NOBODY
    others = {name: why for name, why in missing(files).items() if name != "journal.txt"}
    assert all("ermission" in why or "allowed" in why for why in others.values()), others


def test_root_keeps_its_rights_until_it_is_written(enrolled: Place) -> None:
    """The state belongs to the agent's user; archive and journal are for root, whose directory is root's alone."""
    enrolled.apart = True
    give_away(enrolled)
    closed = enrolled.directory / "root"
    closed.mkdir(mode=0o700)
    enrolled.programs["systemctl"] = "/usr/bin/id -u"
    files = enrolled.archive(target=closed / "support.tar")
    assert files["unit.txt"] == "0\n"
    assert set(missing(files)) <= {"journal.txt"}  # this machine's own, which may have none
    assert (closed / "support.tar").stat().st_uid == 0


def test_the_agents_own_user_may_have_all_of_it(enrolled: Place) -> None:
    """Nothing needs root but the journal."""
    enrolled.apart = True
    give_away(enrolled)
    drop = enrolled.directory / "drop"
    drop.mkdir()
    os.chown(drop, NOBODY, NOBODY)
    files = enrolled.archive(user=NOBODY, target=drop / "support.tar")
    assert set(missing(files)) <= {"journal.txt", "unit.txt"}  # the programs may lie where this user may not go
    assert json.loads(files["change.json"])["phase"] == "issued"


def test_a_program_that_does_not_end_is_not_waited_for(enrolled: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check has its own end, and the journal one of 20 seconds."""
    assert support._PATIENCE == 20
    monkeypatch.setattr(support, "_PATIENCE", 2.0)
    enrolled.programs["journal-reader"] = "exec /bin/sleep 600"
    found = missing(enrolled.archive())
    assert list(found) == ["journal.txt"]
    assert "timed out" in found["journal.txt"]


def test_base64_of_a_key_in_der_is_no_way_around(enrolled: Place) -> None:
    """The lines of a key are its DER in base64, so that is searched for; here to see that the search itself works."""
    pem = (enrolled.directory / "state" / "current" / "key.pem").read_text()
    der = base64.b64decode("".join(_key_lines(pem)))
    enrolled.journal = base64.b64encode(der).decode() + "\n"
    assert enrolled.secrets & set(_key_lines(pem))
    assert enrolled.archive()["journal.txt"].startswith("[REMOVED]")


def test_the_state_of_each_unit_is_asked_for() -> None:
    """But the helper's, which systemd starts for a moment; of the sockets, also the one for news of the network."""
    folder = Path(__file__).parents[3] / "systemd"
    units = {path.name for path in folder.iterdir() if path.suffix in {".service", ".socket"}}
    assert set(support._UNITS) == units - {"iot-cert-agent-deploy.service"}
