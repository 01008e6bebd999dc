"""Exports into a directory that is another user's: nothing of root's is lent, and nothing is left half-done."""

from __future__ import annotations

import fcntl
import json
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.serialization import pkcs12

from agent.core.dependants import MAX_EACH, Content, Copy, Format
from agent.dependants import export as module
from agent.dependants.export import Extract, extract
from agent.errors import AgentError, MaterialError, RefusedError
from agent.sandbox.account.authority import Authority
from support.running.systemd import NOW, give, lay, open_place
from support.suite.surroundings import NOBODY
from support.unit.dependants.exports import PASSWORD, a_copy, one

if TYPE_CHECKING:
    from collections.abc import Iterator


CANARY = "canary-of-a-file-for-root-alone"


@pytest.fixture(name="foreign")
def _foreign() -> Iterator[Path]:
    """A state directory of a user without rights, with generation 1 in use."""
    with open_place() as place:
        lay(place / "state", 1)
        give(place / "state", NOBODY)
        yield place / "state"


# -- another user's directory ------------------------------------------------------------------------------------------


@pytest.mark.root
def test_root_gets_the_same_out_of_a_directory_of_another_user(foreign: Path) -> None:
    """Whichever user reads it, a set is the same; PKCS #12 differs each time, but for what it holds."""
    wanted = [a_copy(content) for content in Content] + [a_copy(Content.KEY, Format.DER)]
    found = extract(foreign, wanted, {})
    boxed = one(foreign, Content.PAIR, Format.PKCS12)
    give(foreign, 0)

    assert found == extract(foreign, wanted, {})
    assert found.problems == {}
    assert pkcs12.load_key_and_certificates(boxed, PASSWORD)[0] is not None


@pytest.mark.root
def test_root_gets_many_copies_of_many_anchors_out_of_it(foreign: Path) -> None:
    """All that can be configured, of a set of every public authority and as many again: each content comes once."""
    pem = b"".join(Authority(f"Public root {number}", NOW).pem for number in range(300))
    give(foreign, 0)
    lay(foreign, 2, trust=pem)
    give(foreign, NOBODY)
    contents = (Content.ANCHORS, Content.PAIR)
    found = extract(foreign, [a_copy(contents[place % 2]) for place in range(MAX_EACH)], {})

    assert len(pem) * MAX_EACH // 2 > module.MAX_EXTRACT
    assert found.problems == {}
    assert [len(copy) > 100_000 for copy in found.copies] == [place % 2 == 0 for place in range(MAX_EACH)]


def test_why_a_copy_is_not_made_reaches_the_caller(foreign: Path) -> None:
    """By its place, and the others come all the same."""
    found = extract(foreign, [a_copy(Content.KEY), a_copy(Content.PAIR, Format.PKCS12)], {})

    assert b"PRIVATE" in found.copies[0]
    assert list(found.problems) == [1]
    assert "/etc/app/store.password" in found.problems[1]


@pytest.mark.root
def test_a_link_to_a_file_of_root_is_not_read(foreign: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The owner of the directory may plant one anywhere in it: what it leads to is in nothing that comes out."""
    secret = foreign.parent / "secret"
    secret.write_text(CANARY)
    secret.chmod(0o600)
    generation = foreign / "generations" / "000001"
    said = []
    for path in (*generation.iterdir(), generation, foreign / "generations", foreign / "current"):
        moved = path.rename(foreign.parent / "moved")
        path.symlink_to(secret)
        with pytest.raises(AgentError) as caught:
            extract(foreign, [a_copy(content) for content in Content], {})
        said.append(f"{caught.value} {caught.value.hint}")
        path.unlink()
        moved.rename(path)

    assert CANARY not in "\n".join(said) + "".join(capfd.readouterr())
    assert extract(foreign, [], {}).generation == 1


@pytest.mark.root
def test_root_reads_nothing_that_the_owner_may_not_read(foreign: Path) -> None:
    """A generation of root's that is whole stays closed: its reader has become the owner."""
    with open_place() as elsewhere:
        lay(elsewhere / "state", 1)
        target = elsewhere / "state" / "generations"
        target.chmod(0o755)
        for item in target.iterdir():
            item.chmod(0o755)
        (foreign / "generations" / "000001").rename(foreign.parent / "moved")
        for item in (target / "000001").iterdir():
            item.chmod(0o600)
        (target / "000001").rename(foreign / "generations" / "000001")
        with pytest.raises(AgentError, match="Permission denied"):
            extract(foreign, [a_copy(Content.KEY)], {})


@pytest.mark.root
def test_the_reader_has_given_up_everything_of_root(
    foreign: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its user, its groups, its capabilities, its way back; and no other process of the owner's may look into it."""
    (tmp_path / "unused").touch()

    def look(*_: object) -> Extract:
        status = dict(line.split(":\t", 1) for line in Path("/proc/thread-self/status").read_text().splitlines())
        told = {key: status[key].split() for key in ("Uid", "Gid", "Groups", "CapEff", "CapPrm")}
        back = "no"
        try:
            os.setresuid(0, 0, 0)
            back = "yes"
        except PermissionError:
            pass
        dumpable = os.stat("/proc/thread-self/stat").st_uid  # noqa: PTH116 - root's when it may not be looked into
        raise MaterialError(json.dumps({**told, "back": back, "dumpable": dumpable}))

    monkeypatch.setattr(module, "_extract", look)
    with pytest.raises(MaterialError) as caught:
        extract(foreign, [], {})
    told = json.loads(str(caught.value))

    assert told["Uid"] == told["Gid"] == [str(NOBODY)] * 4
    assert set(told["Groups"]) <= {str(NOBODY)}
    assert {int(told["CapEff"][0], 16), int(told["CapPrm"][0], 16)} == {0}
    assert (told["back"], told["dumpable"]) == ("no", 0)


@pytest.mark.root
def test_the_reader_has_nothing_of_roots_open(foreign: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lock above all, which its user could hold by stopping it: there is the pipe, and what every process has."""

    def look(*_: object) -> Extract:
        fds = [fd for fd in Path("/proc/self/fd").iterdir() if fd.is_symlink()]  # without the one of the look
        raise MaterialError(json.dumps({fd.name: str(fd.readlink()) for fd in fds}))

    monkeypatch.setattr(module, "_extract", look)
    (tmp_path / "lock").touch()
    with (tmp_path / "lock").open() as low, (tmp_path / "lock").open() as other:
        high = fcntl.fcntl(low, fcntl.F_DUPFD, 200)
        try:
            with pytest.raises(MaterialError) as caught:
                extract(foreign, [], {})
        finally:
            os.close(high)
        assert not other.closed
    left = [target for number, target in json.loads(str(caught.value)).items() if int(number) > 2]
    assert len(left) == 1
    assert left[0].startswith("pipe:")


@pytest.mark.root
@pytest.mark.parametrize(
    "error", [MaterialError("It is bad.", hint="Mend it."), RefusedError("Not now.", hint="Later.")]
)
def test_what_the_reader_says_reaches_the_caller(
    foreign: Path, monkeypatch: pytest.MonkeyPatch, error: AgentError
) -> None:
    """Its sentence and its advice."""
    monkeypatch.setattr(module, "_extract", lambda *_: _raise(error))
    with pytest.raises(AgentError) as caught:
        extract(foreign, [], {})
    assert (str(caught.value), caught.value.hint) == (str(error), error.hint)


@pytest.mark.root
def test_a_defect_of_the_reader_is_told_without_its_text(foreign: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which may hold a key."""
    monkeypatch.setattr(module, "_extract", lambda *_: _raise(ZeroDivisionError("-----BEGIN PRIVATE KEY-----")))
    with pytest.raises(MaterialError, match=r"^The set could not be read \(ZeroDivisionError\)\.$") as caught:
        extract(foreign, [], {})
    assert caught.value.hint == ""


def _raise(error: Exception) -> Extract:
    raise error


@pytest.mark.root
@pytest.mark.parametrize("ends", [KeyboardInterrupt, SystemExit, MemoryError])
def test_the_reader_never_goes_on_as_its_parent(
    foreign: Path, monkeypatch: pytest.MonkeyPatch, ends: type[BaseException]
) -> None:
    """However it ends: the caller runs once, and is told."""
    monkeypatch.setattr(module, "_extract", lambda *_: _raise(ends()))  # type: ignore[arg-type]
    assert _ran_by(foreign, []) == [os.getpid()]


@pytest.mark.root
def test_an_answer_without_end_is_cut_off(foreign: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No more is taken than could be right, the caller runs once, and no process is left behind."""
    monkeypatch.setattr(module, "MAX_EXTRACT", 200_000)
    found = replace(extract(foreign, [], {}), copies=(b"x" * 1_000_000,))
    monkeypatch.setattr(module, "_extract", lambda *_: found)

    assert _ran_by(foreign, [a_copy(Content.KEY)]) == [os.getpid()]


def children() -> str:
    """Return the processes that this one has started and not seen off."""
    return Path(f"/proc/self/task/{os.getpid()}/children").read_text()


def _ran_by(state: Path, wanted: list[Copy]) -> list[int]:
    """Ask in vain, and return which processes came back from that."""
    read_end, write_end = os.pipe()
    parent, before = os.getpid(), children()
    try:
        with pytest.raises(MaterialError):
            extract(state, wanted, {})
    finally:
        os.write(write_end, b"%d " % os.getpid())
        if os.getpid() != parent:
            os._exit(1)
    os.close(write_end)
    with os.fdopen(read_end, "rb") as pipe:
        ran = [int(pid) for pid in pipe.read().split()]
    assert children() == before
    return ran


@pytest.mark.root
def test_a_reader_that_is_stopped_does_not_hold_root_up(foreign: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its owner may stop it, and it runs as its owner: it is ended, and that is said."""
    monkeypatch.setattr(module, "PATIENCE", 0.3)
    monkeypatch.setattr(module, "_extract", lambda *_: time.sleep(600))
    before = children()
    with pytest.raises(AgentError, match="could not be read in time"):
        extract(foreign, [], {})
    assert children() == before
