"""Rounds that are cut off, and two at once."""

from __future__ import annotations

import fcntl
import os
import signal
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from agent.core.dependants import Occasion, encode_report
from agent.dependants import deployer as module
from agent.dependants import export as reading
from agent.dependants.report_file import REPORT, last_report
from agent.errors import CloudError, StoreBusyError
from agent.store.files import durable
from support.running.fleet import until
from support.running.systemd import give, go_back, lay
from support.suite.surroundings import NOBODY

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.shorthand.dependants import House


pytestmark = pytest.mark.root


def sleeps() -> str:
    """Return what lets a hook take its time."""
    return "sleep 0.3"


def killed_by(house: House, occasion: Occasion) -> bool:
    """Serve in another process, and return whether it was killed."""
    pid = os.fork()
    if pid == 0:
        try:
            house.serve(occasion)
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL


def test_a_crash_leaves_no_dependant_on_a_set_that_is_in_no_report(house: House) -> None:
    """After a rollback those who were given the new set get the old one again, although they had it before."""
    house.hook("10-first", f"echo $IOT_CERT_GENERATION >> {house.log}")
    house.hook("20-kill", "test $IOT_CERT_GENERATION = 1 || kill -9 $PPID; sleep 0.05")
    house.unit()
    house.serve(Occasion.ACTIVATED)
    lay(house.state, 2)
    assert killed_by(house, Occasion.ACTIVATED)
    go_back(house.state, 1)
    assert house.serve(Occasion.ROLLED_BACK).problems == ()

    assert house.ran == ["10-first", "1", "20-kill", "10-first", "2", "20-kill", "10-first", "1", "20-kill"]
    assert len(house.systemctl.orders) == 2


def test_a_crash_while_units_are_served_again_is_made_up_for(house: House) -> None:
    """A copy was damaged and is put right; killed before its readers were told, they are told after."""
    to = house.copy()
    house.hook("10-kill", f"test -e {house.place}/calm || kill -9 $PPID; sleep 0.05")
    house.unit()
    (house.place / "calm").touch()
    house.serve(Occasion.ACTIVATED)
    (house.place / "calm").unlink()
    to.write_bytes(b"junk")
    assert killed_by(house, Occasion.AGAIN)
    assert len(house.systemctl.orders) == 1

    (house.place / "calm").touch()
    assert house.serve().problems == ()
    assert len(house.systemctl.orders) == 2


def test_a_round_that_was_cut_off_is_begun_anew(house: House) -> None:
    """Its report names none, so all are served; there is no other set, and nothing to wait for."""
    house.copy()
    house.hook("10-first")
    house.unit()
    served = house.serve(Occasion.ACTIVATED)
    (house.directory / REPORT).write_bytes(encode_report(replace(served, steps=(), written={})))
    again = house.serve()

    assert (again.steps, again.switched) == (served.steps, served.switched)
    assert (house.ran, len(house.systemctl.orders)) == (["10-first"] * 2, 2)


def test_a_crash_after_a_copy_is_put_right_is_made_up_for(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is wrong with it any more at the next look, and yet who read the damaged one has to read it again."""
    to = house.copy()
    house.hook("10-first")
    house.unit()
    house.serve(Occasion.ACTIVATED)
    content = to.read_bytes()
    to.write_bytes(b"junk")
    move = durable.move_in

    def die(directory: int, name: str) -> None:
        move(directory, name)
        if name == to.name:
            os.kill(os.getpid(), signal.SIGKILL)

    with monkeypatch.context() as patched:
        patched.setattr(durable, "move_in", die)
        assert killed_by(house, Occasion.AGAIN)
    assert (to.read_bytes(), house.ran) == (content, ["10-first"])

    for _ in range(2):
        assert house.serve().problems == ()
    assert (house.ran, len(house.systemctl.orders)) == (["10-first"] * 2, 2)


@contextmanager
def lock(house: House) -> Iterator[None]:
    """Hold the lock, as another process does; its own descriptor is as good as one."""
    fd = os.open(house.directory / "lock", os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(fd)


@pytest.mark.parametrize("afresh", [True, False])
def test_no_caller_waits_for_ever_for_the_lock(house: House, monkeypatch: pytest.MonkeyPatch, *, afresh: bool) -> None:
    """A person may have stopped a command in another terminal: that is said, and none is served meanwhile."""
    monkeypatch.setattr(module, "TURN", 0.1)
    house.hook("10-first")
    house.serve()
    lay(house.state, 2)
    before = last_report(house.directory)
    with lock(house):
        with pytest.raises(StoreBusyError, match=r"^Another process is serving the dependants\.$") as busy:
            house.serve(afresh=afresh)
        assert "iot-cert deploy" in busy.value.hint
        with pytest.raises(CloudError, match="could not be served: Another process") as caught:
            house.deployer.take_up(Occasion.ACTIVATED)
        assert not caught.value.failure.decisive
        assert (house.ran, last_report(house.directory)) == (["10-first"], before)

    assert house.serve().generation == 2


def test_a_reader_that_is_stopped_holds_no_lock(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """It belongs to the agent's user, who may stop it: killed meanwhile, the one it reads for leaves the lock free."""
    give(house.state, NOBODY)

    def stop(*_: object) -> None:
        fd = os.open(house.log, os.O_WRONLY | os.O_APPEND)
        os.write(fd, b"%d\n" % os.getpid())
        os.kill(os.getpid(), signal.SIGSTOP)

    monkeypatch.setattr(reading, "_extract", stop)
    reader = left_behind(house)
    try:
        assert is_stopped(reader)
        with lock(house):
            pass
    finally:
        os.kill(reader, signal.SIGKILL)


def left_behind(house: House) -> int:
    """Serve in another process, kill it when its reader has stopped, and return that one."""
    pid = os.fork()
    if pid == 0:
        try:
            house.serve()
        finally:
            os._exit(0)
    try:
        until(lambda: house.ran and is_stopped(int(house.ran[0])), "a reader that is stopped")
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    return int(house.ran[0])


def is_stopped(pid: int) -> bool:
    """Whether a process was stopped."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def test_two_at_once_take_turns(house: House) -> None:
    """The second finds everything done."""
    house.hook("10-slow", f"{sleeps()}; echo end >> {house.log}")
    house.unit()
    pids = []
    for _ in range(3):
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                code = len(house.serve().problems)
            finally:
                os._exit(code)
        pids.append(pid)

    assert [os.waitpid(pid, 0)[1] for pid in pids] == [0, 0, 0]
    assert house.ran == ["10-slow", "end"]
    assert len(house.systemctl.orders) == 1


def test_two_at_once_that_both_have_something_to_do_do_not_meet(house: House) -> None:
    """One begins when the other has ended."""
    house.hook("10-slow", f"{sleeps()}; echo end >> {house.log}")
    pids = []
    for _ in range(2):
        pid = os.fork()
        if pid == 0:
            try:
                house.serve(afresh=True)
            finally:
                os._exit(0)
        pids.append(pid)
    for pid in pids:
        os.waitpid(pid, 0)
    assert house.ran == ["10-slow", "end", "10-slow", "end"]
