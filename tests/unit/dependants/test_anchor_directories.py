"""Copies of the anchors that are directories: found by OpenSSL, taken into the system's store, the agent's alone."""

from __future__ import annotations

import os
import ssl
import stat
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from agent.core.dependants import Content, Copy, Dependants, Format, Hooks, Occasion, Report
from agent.core.jsonio import encode
from agent.crypto.x509 import read_bundle, split
from agent.dependants import anchor_directories
from agent.dependants.anchor_directories import MARK, unfold
from agent.dependants.copy_looks import with_looks
from agent.dependants.deployer import Deployer
from agent.sandbox.account.authority import Authority
from support.running.systemd import give, lay, open_place
from support.suite.surroundings import NOBODY

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.root

NOW = datetime.now(UTC)
ROOTS = Path(__file__).parents[2] / "data" / "roots"
AMAZON = b"".join((ROOTS / f"amazon-root-ca-{number}.pem").read_bytes() for number in (1, 2, 3, 4))
HASHES = {"ce5e74ef.0", "6d41d539.0", "8cb5ee0f.0", "de6d66f3.0"}  # as `openssl rehash` names them


class AnchorHouse:
    """A gateway with copies."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.copies: tuple[Copy, ...] = ()
        (place / "hooks.d").mkdir()
        self.use(1, AMAZON)

    def use(self, number: int, anchors: bytes) -> None:
        """Put a set with these anchors in use."""
        lay(self.place / "state", number, trust=anchors)

    def want(self, form: Format = Format.HASHED, **values: object) -> Path:
        """Want a directory of anchors, and return where."""
        to = self.place / f"{form}"
        wanted = Copy(to=to, content=Content.ANCHORS, format=form, mode=0o644)
        self.copies = (*self.copies, replace(wanted, **values))  # type: ignore[arg-type]
        return to

    @property
    def dependants(self) -> Dependants:
        """What is configured."""
        return Dependants(copies=self.copies, hooks=Hooks(directory=self.place / "hooks.d"))

    def serve(self) -> Report:
        """Serve, as a fresh process does."""
        return Deployer(self.dependants, self.place / "state", self.place / "deploy").serve(Occasion.AGAIN)

    def problem(self) -> str:
        """Serve, and return the one problem."""
        (step,) = self.serve().problems
        return step.problem


@pytest.fixture(name="house")
def _house(monkeypatch: pytest.MonkeyPatch) -> Iterator[AnchorHouse]:
    monkeypatch.setattr("agent.dependants.deployer.SPACING", timedelta())
    with open_place() as place:
        yield AnchorHouse(place)


@pytest.fixture(name="store")
def _store(house: AnchorHouse, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Have a program that makes a store of what is there, as update-ca-certificates does."""
    program = house.place / "update-ca"
    program.write_text(
        f"#!/bin/sh\ncat {house.place}/system/*.crt > {house.place}/store.pem\necho >> {house.place}/log\n"
    )
    program.chmod(0o755)
    monkeypatch.setattr(anchor_directories.take_in, "__defaults__", ((("/nowhere/update-ca",), (str(program),)),))
    return house.place / "store.pem"


def held(path: Path) -> set[str]:
    """Return the anchors' files in a directory."""
    return {item.name for item in path.iterdir()} - {MARK}


def test_openssl_finds_each_anchor(house: AnchorHouse) -> None:
    """By the names that its own tool gives them, with the modes that other users need."""
    to = house.want()
    assert house.serve().problems == ()
    assert held(to) == HASHES
    assert {stat.S_IMODE((to / name).stat().st_mode) for name in HASHES} == {0o644}
    assert stat.S_IMODE(to.stat().st_mode) == 0o755
    assert {pem for name in HASHES for pem in split((to / name).read_bytes())} == set(split(AMAZON))


def test_a_server_is_verified_by_what_lies_in_it(house: AnchorHouse) -> None:
    """Two roots of one name are two files, as after a root was issued anew."""
    roots = [Authority("Root  of ALL", NOW) for _ in range(2)]
    house.use(2, b"".join(root.pem for root in roots))
    to = house.want()
    house.serve()
    assert len({name.partition(".")[0] for name in held(to)}) == 1
    assert {name.partition(".")[2] for name in held(to)} == {"0", "1"}
    for root in roots:
        shake(house.place, root, to)


def shake(place: Path, root: Authority, anchors: Path) -> None:
    """Shake hands with a server below a root, as a program does that looks its anchors up in a directory."""
    pair = root.issue_server("gateway.example", NOW, NOW + timedelta(days=1))
    (place / "pair.pem").write_bytes(pair.key_pem + pair.certificate_pem)
    serving, looking = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    serving.load_cert_chain(place / "pair.pem")
    looking.load_verify_locations(capath=anchors)
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    server, client = (
        serving.wrap_bio(up, down, server_side=True),
        looking.wrap_bio(down, up, server_hostname="gateway.example"),
    )
    for _ in range(3):
        for side in (client, server):
            with suppress(ssl.SSLWantReadError):
                side.do_handshake()
    assert client.getpeercert()


def test_anchors_come_before_others_go(house: AnchorHouse) -> None:
    """What is no anchor any more is taken away, and files of others stay."""
    to = house.want()
    house.serve()
    (to / "README").write_text("ours")
    (to / "01234567.0").write_text("an anchor of before")
    house.use(2, b"".join(split(AMAZON)[:1]))
    assert house.serve().problems == ()
    assert held(to) == {"ce5e74ef.0", "README"}


def test_an_anchor_stays_while_another_cannot_be_written(house: AnchorHouse) -> None:
    """A program that looks meanwhile must not find fewer than before."""
    to = house.want()
    house.use(2, b"".join(split(AMAZON)[:2]))
    house.serve()
    kept = held(to)
    house.use(3, b"".join(split(AMAZON)[2:]))
    (to / "8cb5ee0f.0").mkdir()
    assert "8cb5ee0f.0 is not written: A directory is there." in house.problem()
    assert kept < held(to)


@pytest.mark.parametrize("harm", ["gone", "changed", "mode", "directory gone"])
def test_what_was_changed_is_put_right(house: AnchorHouse, harm: str) -> None:
    """At the next look."""
    to = house.want()
    house.serve()
    file = to / "ce5e74ef.0"
    match harm:
        case "gone":
            file.unlink()
        case "changed":
            file.write_text("garbage")
        case "mode":
            file.chmod(0o600)
        case _:
            for item in to.iterdir():
                item.unlink()
            to.rmdir()
    assert house.serve().problems == ()
    assert held(to) == HASHES
    assert stat.S_IMODE(file.stat().st_mode) == 0o644


def test_a_directory_of_others_is_left_alone(house: AnchorHouse) -> None:
    """Such as the system's own, whose names are of the same kind; an empty one is taken."""
    to = house.want()
    to.mkdir()
    (to / "01234567.0").write_text("another's")
    assert house.problem() == (
        f"{to} is not written: It holds files of others. Name a directory under `copies:` that is empty, or not there "
        "yet."
    )
    assert held(to) == {"01234567.0"}
    (to / "01234567.0").unlink()
    assert house.serve().problems == ()


@pytest.mark.parametrize("kind", ["link", "file", "pipe"])
def test_what_is_no_directory_is_named(house: AnchorHouse, kind: str) -> None:
    """And stays as it is."""
    to, elsewhere = house.want(), house.place / "elsewhere"
    elsewhere.mkdir()
    match kind:
        case "link":
            to.symlink_to(elsewhere)
        case "file":
            to.write_text("a file")
        case _:
            os.mkfifo(to)
    assert house.problem().startswith(f"{to} is not written: ")
    assert list(elsewhere.iterdir()) == []


def test_it_belongs_to_its_owner(house: AnchorHouse) -> None:
    """Directory and files."""
    to = house.want(owner="nobody", group="nogroup", mode=0o640)
    assert house.serve().problems == ()
    assert {path.stat().st_uid for path in (to, *(to / name for name in HASHES))} == {NOBODY}
    assert stat.S_IMODE(to.stat().st_mode) == 0o750


def test_the_agents_user_renders_it_and_is_not_trusted(house: AnchorHouse) -> None:
    """Names that lead elsewhere are none."""
    give(house.place / "state", NOBODY)
    to = house.want()
    assert house.serve().problems == ()
    assert held(to) == HASHES
    for name in ("../x", "a/b.0", "ce5e74ef.0/", "", ".", MARK):
        found = unfold(house.copies, [encode({name: "x"})], {})
        assert "names that no such directory holds" in found.problems[0]
    for garbage in (b"", b"[]", b'{"ce5e74ef.0": 1}'):
        assert unfold(house.copies, [garbage], {}).problems[0].startswith("the anchors")


def test_the_systems_store_is_made_anew_at_each_change_and_at_no_look(house: AnchorHouse, store: Path) -> None:
    """With the anchors in use, each in a file with the name of its root."""
    to = house.want(Format.SYSTEM)
    for _ in range(3):
        assert house.serve().problems == ()
    assert {anchor.sha256 for anchor in read_bundle(store.read_bytes()).anchors} == read_bundle(AMAZON).fingerprints
    assert "Amazon-Root-CA-1-8ecde6884f3d87b1.crt" in held(to)
    assert (house.place / "log").read_text() == "\n"
    house.use(2, b"".join(split(AMAZON)[:1]))
    house.serve()
    assert read_bundle(store.read_bytes()).anchors[0].sha256.startswith("8ecde6884f3d87b1")
    assert len(read_bundle(store.read_bytes()).anchors) == 1


def test_a_store_that_could_not_be_made_is_made_again(house: AnchorHouse, store: Path) -> None:
    """And a machine without such a program is told so."""
    to = house.want(Format.SYSTEM)
    program = house.place / "update-ca"
    script = program.read_text()
    program.write_text("#!/bin/sh\nexit 3\n")
    assert house.problem() == f"{to} is written, but update-ca failed: it ended with exit code 3."
    program.chmod(0o644)
    told = f"{to} is written, but this system has no program that takes it into its store."
    assert [(step.problem, step.untried) for step in house.serve().problems] == [(told, True)]
    program.write_text(script)
    program.chmod(0o755)
    assert house.serve().problems == ()
    assert store.exists()


def test_a_directory_that_is_gone_is_told_before_it_is_put_back(house: AnchorHouse) -> None:
    """As a file would be; what is in it may be no user's to read."""
    to = house.want()
    report = house.serve()
    assert [step.problem for step in with_looks(report.steps, house.dependants, report.traces)] == [""]
    to.rename(house.place / "away")
    assert "is gone" in with_looks(report.steps, house.dependants, report.traces)[0].problem
    to.touch()
    assert "is no directory any more" in with_looks(report.steps, house.dependants, report.traces)[0].problem
