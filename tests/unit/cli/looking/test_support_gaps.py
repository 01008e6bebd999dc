"""A support bundle of a gateway on which something is missing, and who may make one."""

from __future__ import annotations

import base64
import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from agent.cli.looking import support
from support.suite.surroundings import NOBODY, need_root
from support.unit.cli.support_bundle import NAMES, CanaryPlace, key_lines, missing

if TYPE_CHECKING:
    from collections.abc import Callable

JOURNAL = support._JOURNAL


def give_away(place: CanaryPlace) -> None:
    """Let the state belong to the agent's own user, as a package has it."""
    need_root()
    for path in [place.directory / "state", *(place.directory / "state").rglob("*")]:
        os.chown(path, NOBODY, NOBODY, follow_symlinks=False)


# -- what is missing ---------------------------------------------------------------------------------------------------


def test_a_gateway_that_never_enrolled_says_what_it_lacks(place: CanaryPlace) -> None:
    """There is no state yet; configuration and check are there."""
    place.apart = True
    place.rig.store.close()
    shutil.rmtree(place.directory / "state")
    files = place.archive()
    assert {"certificate.pem", "trust.pem", "manifest.json"} <= set(missing(files))
    assert {"configuration.yaml", "status.json", "check.jsonl", "versions.json"} <= set(files)
    assert set(files) | set(missing(files)) == NAMES
    assert not (place.directory / "state").exists()


def test_programs_that_are_not_there_are_named(enrolled: CanaryPlace) -> None:
    """Some systems have no systemd."""
    enrolled.programs.clear()
    assert set(missing(enrolled.archive())) == {"journal.txt", "unit.txt"}


def test_a_journal_that_cannot_be_read_is_named_with_who_may(
    enrolled: CanaryPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the program that reads it, which is the real one here; this machine runs no such unit."""
    monkeypatch.setattr(support, "_JOURNAL", JOURNAL)
    found = missing(enrolled.archive())
    assert found == {
        "journal.txt": "The journal has no record of iot-cert-agent.service that this user may read. "
        "`journalctl -u iot-cert-agent` shows it to root and to the group systemd-journal."
    }


def test_programs_that_fail_are_named(enrolled: CanaryPlace) -> None:
    """What they say is the reason, and no journal."""
    enrolled.programs["journal-reader"] = (
        "echo 'No journal files were opened due to insufficient permissions.' >&2; exit 1"
    )
    enrolled.programs["systemctl"] = "echo 'System has not been booted with systemd.' >&2; exit 1"
    found = missing(enrolled.archive())
    assert set(found) == {"journal.txt", "unit.txt"}
    assert "insufficient permissions" in found["journal.txt"]


def test_a_longer_journal_ends_with_the_latest(enrolled: CanaryPlace) -> None:
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
def test_a_broken_gateway_is_what_it_is_for(enrolled: CanaryPlace, what: str) -> None:
    """Whatever cannot be read is said to be missing; the rest is there, and still no secret."""
    known = enrolled.secrets
    BROKEN[what](enrolled.directory / "state")
    files = enrolled.archive()
    assert set(files) | set(missing(files)) == NAMES
    assert {"configuration.yaml", "check.jsonl", "journal.txt", "versions.json"} <= set(files)
    assert not [secret for secret in known for data in files.values() if secret in data]


@pytest.mark.parametrize("aside", ["change.json", "change.json.damaged"])
def test_the_token_of_a_damaged_record_is_a_secret_too(enrolled: CanaryPlace, aside: str) -> None:
    """It may be in the journal, and lives for an hour."""
    state = enrolled.directory / "state"
    record = (state / "change.json").read_text()
    (state / "change.json").unlink()
    (state / aside).write_text(record[:-40])
    token = next(entry.token for entry in enrolled.rig.cloud.registry.values() if entry.token)
    enrolled.journal = f"registering with {token}\n"
    assert enrolled.archive()["journal.txt"] == "registering with [REMOVED]\n"


# -- who may have it ---------------------------------------------------------------------------------------------------


def test_it_works_for_a_user_who_may_read_nothing(enrolled: CanaryPlace) -> None:
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


def test_root_keeps_its_rights_until_it_is_written(enrolled: CanaryPlace) -> None:
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


def test_the_agents_own_user_may_have_all_of_it(enrolled: CanaryPlace) -> None:
    """Nothing needs root but the journal."""
    enrolled.apart = True
    give_away(enrolled)
    drop = enrolled.directory / "drop"
    drop.mkdir()
    os.chown(drop, NOBODY, NOBODY)
    files = enrolled.archive(user=NOBODY, target=drop / "support.tar")
    assert set(missing(files)) <= {"journal.txt", "unit.txt"}  # the programs may lie where this user may not go
    assert json.loads(files["change.json"])["phase"] == "issued"


def test_a_program_that_does_not_end_is_not_waited_for(enrolled: CanaryPlace, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check has its own end, and the journal one of 20 seconds."""
    assert support._PATIENCE == 20
    monkeypatch.setattr(support, "_PATIENCE", 2.0)
    enrolled.programs["journal-reader"] = "exec /bin/sleep 600"
    found = missing(enrolled.archive())
    assert list(found) == ["journal.txt"]
    assert "timed out" in found["journal.txt"]


def test_base64_of_a_key_in_der_is_no_way_around(enrolled: CanaryPlace) -> None:
    """The lines of a key are its DER in base64, so that is searched for; here to see that the search itself works."""
    pem = (enrolled.directory / "state" / "current" / "key.pem").read_text()
    der = base64.b64decode("".join(key_lines(pem)))
    enrolled.journal = base64.b64encode(der).decode() + "\n"
    assert enrolled.secrets & set(key_lines(pem))
    assert enrolled.archive()["journal.txt"].startswith("[REMOVED]")


def test_the_state_of_each_unit_is_asked_for() -> None:
    """But the helper's, which systemd starts for a moment; of the sockets, also the one for news of the network."""
    folder = Path(__file__).parents[4] / "systemd"
    units = {path.name for path in folder.iterdir() if path.suffix in {".service", ".socket"}}
    assert set(support._UNITS) == units - {"iot-cert-agent-deploy.service"}
