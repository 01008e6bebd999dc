"""The archive for a support case: what is in it, what is said to be missing, and that no secret ever is."""

from __future__ import annotations

import io
import json
import stat
import subprocess
import tarfile
from typing import TYPE_CHECKING

import pytest

from agent.cli.looking.support import scrubbed
from agent.config.reader import parse
from agent.core.report.checks import CHECKS
from support.suite import campaigns
from support.unit.cli.support_bundle import (
    COMMAND,
    FOREIGN_KEY,
    NAMES,
    PASSWORD,
    SIGNATURE,
    STORE_PASSWORD,
    CanaryPlace,
    key_lines,
    missing,
    read,
)

if TYPE_CHECKING:
    from pathlib import Path

# -- what is in it -----------------------------------------------------------------------------------------------------


def test_everything_is_in_it(enrolled: CanaryPlace) -> None:
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


def test_the_journal_is_in_it(enrolled: CanaryPlace) -> None:
    """As its reader gives it."""
    files = enrolled.archive()
    assert (set(files), missing(files)) == (NAMES, {})
    assert files["journal.txt"] == enrolled.journal


def test_what_is_set_aside_for_falling_back_is_not_in_it(enrolled: CanaryPlace) -> None:
    """It helps no case, and it is larger than all the rest."""
    assert (enrolled.directory / "state" / "reserve" / "00").exists()
    archive = enrolled.archive()
    assert not [name for name in archive if "reserve" in name]
    assert sum(map(len, archive.values())) < (enrolled.directory / "state" / "reserve" / "00").stat().st_size * 8


def test_the_change_in_flight_is_in_it_without_what_it_holds(enrolled: CanaryPlace) -> None:
    """Phase and times, but neither the token nor the certificate in hand."""
    change = json.loads(enrolled.archive()["change.json"])
    assert (change["phase"], change["generation"]) == ("issued", 3)
    assert "issued" not in change


def test_the_configuration_is_in_it_and_can_be_read_again(enrolled: CanaryPlace) -> None:
    """All of it but the parameters."""
    text = enrolled.archive()["configuration.yaml"]
    found = parse(text, enrolled.config)
    assert found.state_dir == enrolled.directory / "state"
    assert found.rotation.daily_limit == 7
    assert found.enrollment is not None
    assert found.enrollment.claim is not None
    assert found.enrollment.claim.key == enrolled.directory / "claim" / "key.pem"
    assert found.enrollment.parameters == found.rotation.parameters == {}


def test_passwords_of_copies_are_cut_out(enrolled: CanaryPlace) -> None:
    """Wherever they got to; arguments of commands do not even come into it."""
    enrolled.journal = f"the hook was told {STORE_PASSWORD}, and nothing else\n"
    files = enrolled.archive()
    assert files["journal.txt"] == "the hook was told [REMOVED], and nothing else\n"
    found = parse(files["configuration.yaml"], enrolled.config)
    assert found.dependants.units[0].verify.command == ("/usr/bin/curl",)
    assert found.dependants.copies[0].password_file == enrolled.directory / "store-password"


def test_people_and_programs_are_told_where_it_is(enrolled: CanaryPlace) -> None:
    """With what is missing."""
    assert f"{enrolled.directory}/support.tar: {len(NAMES)} files, without keys" in enrolled.collect().stdout
    enrolled.programs["journal-reader"] = "exit 1"
    told = json.loads(enrolled.collect("--json").stdout)
    assert told["file"] == str(enrolled.directory / "support.tar")
    assert (told["event"], told["exit"], list(told["missing"])) == ("support-bundle", 0, ["journal.txt"])


def test_no_other_user_may_read_it(enrolled: CanaryPlace) -> None:
    """Whatever the mode of one that was there before."""
    target = enrolled.directory / "support.tar"
    target.write_text("old")
    target.chmod(0o666)
    enrolled.collect()
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert set(read(target)) == NAMES


def test_it_depends_on_nothing_but_its_files(enrolled: CanaryPlace) -> None:
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


def test_it_changes_nothing(enrolled: CanaryPlace) -> None:
    """The state is as it was, to the byte; above all the change in flight is not carried on."""

    def state() -> dict[Path, bytes]:
        paths = (enrolled.directory / "state").rglob("*")
        return {path: path.read_bytes() for path in paths if path.is_file()}

    before = state()
    enrolled.collect()
    assert state() == before


@pytest.mark.parametrize("target", ["nowhere/support.tar", "state"])
def test_a_place_that_cannot_be_written_is_named(enrolled: CanaryPlace, target: str) -> None:
    """It is an error like any other."""
    done = enrolled.collect(target=enrolled.directory / target, expect=2)
    assert target.split("/", maxsplit=1)[0] in done.stderr
    assert "defect" not in done.stderr


@pytest.mark.parametrize("as_json", campaigns.take([False, True], 2))
def test_it_can_be_piped(enrolled: CanaryPlace, *, as_json: bool) -> None:
    """Nothing but the archive goes where the archive goes; what is told of it goes elsewhere."""
    enrolled.furnish()
    command = [COMMAND, "--config", str(enrolled.config), "support-bundle", "--output", "-"]
    done = subprocess.run([*command, *(["--json"] if as_json else [])], capture_output=True, timeout=90, check=True)
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        assert "iot-cert-support/versions.json" in archive.getnames()
    assert (b'"event": "support-bundle"' if as_json else b"standard output: ") in done.stderr


# -- what is not in it -------------------------------------------------------------------------------------------------


def test_the_journal_may_hold_anything(enrolled: CanaryPlace) -> None:
    """Keys of this gateway in one piece or many, foreign keys, tokens and presigned URLs are cut out of it."""
    keys = [path.read_text() for path in enrolled.directory.rglob("state/**/key.pem")]
    token = next(entry.token for entry in enrolled.rig.cloud.registry.values() if entry.token)
    claim = enrolled.rig.cloud.claim.key_pem.decode()
    whole = "".join(key_lines(claim))
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


def test_a_password_in_a_url_is_cut_out(enrolled: CanaryPlace) -> None:
    """A unit's environment names a proxy so."""
    enrolled.programs["journal-reader"] = f"echo proxy http://user:{PASSWORD}@proxy.example:3128/"
    found = enrolled.archive()["journal.txt"]
    assert "proxy.example:3128" in found


def test_a_key_that_lies_in_the_certificates_file_is_cut_out(enrolled: CanaryPlace) -> None:
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
