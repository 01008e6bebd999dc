"""Other programs: with a fixed environment, nothing of this process's, and an end that nothing escapes."""

from __future__ import annotations

import fcntl
import grp
import os
import pwd
import signal
import time
from typing import TYPE_CHECKING

import pytest

from agent.system.children import ENVIRONMENT
from agent.system.processes import programs
from agent.system.processes.programs import UnixAccount, account, run
from support.running.systemd import ME, open_place
from support.suite.surroundings import NOBODY

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LONG = 30.0  # seconds, which none of these programs needs
SOON = 60.0  # seconds within which whatever ends has ended, on the busiest machine
ENOUGH = 2.0  # seconds that a program is given that takes for ever, and for which it needs a few hundredths


@pytest.fixture(name="place")
def _place() -> Iterator[Path]:
    with open_place() as place:
        yield place


def shell(script: str, timeout: float = LONG) -> str:
    """Run a script of the shell."""
    return run(["/bin/sh", "-c", script], timeout)


def program(path: Path, text: str, mode: int = 0o755) -> list[str]:
    """Write a program, and return how it is started."""
    path.write_text(text)
    path.chmod(mode)
    return [str(path)]


# -- what it is given --------------------------------------------------------------------------------------------------


def test_the_environment_is_fixed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A search path and a language, with what it is told; nothing of this process's own, whatever that has."""
    monkeypatch.setenv("LD_PRELOAD_OF_A_TEST", "x")
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/systemd/notify")
    out = tmp_path / "out"
    told = {"IOT_CERT_PHASE": "activated", "HOME": "/root"}
    assert run(["/bin/cp", "/proc/self/environ", str(out)], LONG, environment=told) == ""

    found = dict(line.split("=", 1) for line in out.read_text().split("\0") if line)
    assert found == {**ENVIRONMENT, **told}
    assert set(ENVIRONMENT) == {"PATH", "LANG"}
    assert all(item.startswith("/") for item in ENVIRONMENT["PATH"].split(":"))


def test_what_it_is_told_counts_before_what_is_fixed(tmp_path: Path) -> None:
    """Of a name that stands in both."""
    run(["/bin/cp", "/proc/self/environ", str(tmp_path / "out")], LONG, environment={"LANG": "C"})
    assert b"LANG=C\0" in (tmp_path / "out").read_bytes()


def test_it_starts_in_the_root_directory_without_input_and_with_a_tight_umask(tmp_path: Path) -> None:
    """Where this process is, what it can read and which modes it gives are its own affair."""
    out = tmp_path / "out"
    assert shell(f"{{ pwd; umask; readlink /proc/$$/fd/0; cat; }} > {out}") == ""
    assert out.read_text().split() == ["/", "0077", "/dev/null"]
    assert out.stat().st_mode & 0o777 == 0o600


def test_it_inherits_no_descriptors(capfd: pytest.CaptureFixture[str]) -> None:
    """Not even those that could be inherited, as the store's directory or a key's pipe."""
    high = fcntl.fcntl(1, fcntl.F_DUPFD, 77)
    try:
        assert run(["/bin/ls", "/proc/self/fd"], LONG) == ""
    finally:
        os.close(high)
    assert capfd.readouterr().err.split() == ["0", "1", "2", "3"]  # the last one is for looking


def test_what_it_writes_goes_to_standard_error(capfd: pytest.CaptureFixture[str]) -> None:
    """All of it: standard output belongs to the caller of this process."""
    assert shell("echo told; echo complained >&2") == ""
    out, err = capfd.readouterr()
    assert (out, err) == ("", "told\ncomplained\n")


def test_it_is_the_leader_of_a_session_of_its_own(tmp_path: Path) -> None:
    """So a terminal's Ctrl-C is not its."""
    shell(f"cat /proc/$$/stat > {tmp_path}/out")
    pid, _, _, _, group, session = (tmp_path / "out").read_text().split()[:6]
    assert pid == group == session


def test_there_is_no_shell_in_between(tmp_path: Path) -> None:
    """What stands in an argument is an argument."""
    out = tmp_path / "out; echo $(id)"
    assert run(["/usr/bin/touch", str(out)], LONG) == ""
    assert [path.name for path in tmp_path.iterdir()] == ["out; echo $(id)"]


# -- how it ends -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "said"), [(0, ""), (1, "it ended with exit code 1"), (255, "it ended with exit code 255")]
)
def test_its_exit_code_is_told(code: int, said: str) -> None:
    """Nothing is said of the one that means success."""
    assert shell(f"exit {code}") == said


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV])
def test_the_signal_that_ended_it_is_told(number: signal.Signals) -> None:
    """By its number."""
    assert shell(f"kill -{number.value} $$") == f"it was ended by signal {number.value}"


@pytest.mark.parametrize(
    ("name", "text", "mode", "said"),
    [
        ("gone", None, 0, "No such file or directory"),
        ("closed", "#!/bin/sh\n", 0o644, "Permission denied"),
        ("nonsense", "no program\n", 0o755, "Exec format error"),
        ("orphan", "#!/no/such/interpreter\n", 0o755, "No such file or directory"),
    ],
)
def test_what_cannot_be_started_is_told(tmp_path: Path, name: str, text: str | None, mode: int, said: str) -> None:
    """Missing, without the right to run it, no program, or without its interpreter."""
    if text is not None:
        program(tmp_path / name, text, mode)
    assert run([str(tmp_path / name)], LONG) == f"it could not be started: {said}"


def test_an_argument_that_no_program_can_be_given_is_told() -> None:
    """YAML can spell a null byte."""
    assert run(["/bin/echo", "a\0b"], LONG) == "it could not be started: embedded null byte"


# -- when it does not end ----------------------------------------------------------------------------------------------


def gone(pid: int) -> bool:
    """Return whether a process has ended, or waits for a parent that never asks."""
    try:
        with open(f"/proc/{pid}/stat") as file:  # noqa: PTH123 - there is no file that could be a path's
            return file.read().rpartition(")")[2].split()[0] in {"Z", "X"}
    except (FileNotFoundError, ProcessLookupError):
        return True


def all_gone(file: Path) -> bool:
    """Return whether every process that is named in a file ends soon, and see to it that none is left."""
    pids = [int(line) for line in file.read_text().split()]
    deadline = time.monotonic() + SOON
    while not all(gone(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.01)
    left = [pid for pid in pids if not gone(pid)]
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    return not left


def test_a_program_that_takes_too_long_may_tidy_up(tmp_path: Path) -> None:
    """It is told to stop first."""
    script = f"trap 'echo tidy > {tmp_path}/out; exit 0' TERM; while :; do sleep 0.02; done"
    assert shell(script, ENOUGH) == "it took longer than 2 s and was ended"
    assert (tmp_path / "out").read_text() == "tidy\n"


@pytest.mark.parametrize(
    "grandchild",
    ["sleep 600", "trap '' TERM; while :; do sleep 0.1; done"],
    ids=["plain", "deaf"],
)
def test_all_that_it_started_ends_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, grandchild: str) -> None:
    """Also what does not listen to being told to stop."""
    monkeypatch.setattr(programs, "GRACE", 0.3)
    pids = tmp_path / "pids"
    script = f"""
        trap '' TERM
        echo $$ >> {pids}
        (sh -c 'echo $$ >> {pids}; {grandchild.replace("'", '"')}') &
        wait
        while :; do sleep 0.1; done
    """
    assert shell(script, ENOUGH).startswith("it took longer")
    assert len(pids.read_text().split()) == 2
    assert all_gone(pids)


def test_what_has_a_process_group_of_its_own_ends_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `timeout` makes one, and a shell with job control; whether or not the program itself heeds the signal."""
    monkeypatch.setattr(programs, "GRACE", 0.3)
    pids = tmp_path / "pids"
    script = f"""
        timeout 600 sh -c 'echo $$ >> {pids}; trap "" TERM; while :; do sleep 0.1; done' &
        wait
    """
    assert shell(script, ENOUGH).startswith("it took longer")
    assert pids.read_text()
    assert all_gone(pids)


@pytest.mark.parametrize("start", ["setsid sleep 997 &", "setsid -f sleep 997;", "(setsid setsid sleep 997 &) ;"])
def test_what_has_a_session_of_its_own_ends_too(monkeypatch: pytest.MonkeyPatch, start: str) -> None:
    """Also when its parent has ended before, and the machine's first process would have taken it."""
    monkeypatch.setattr(programs, "GRACE", 0.2)
    before = programs._descendants(os.getpid())
    assert "took longer" in shell(f"trap '' TERM; {start} sleep 996; sleep 995", ENOUGH)
    assert programs._descendants(os.getpid()) <= before


def test_what_an_earlier_program_left_running_is_not_ended_with_a_later_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program that came to its end in time may leave a service behind."""
    monkeypatch.setattr(programs, "GRACE", 0.2)
    out = tmp_path / "pid"
    assert shell(f"setsid sleep 994 & echo $! >{out}") == ""
    pid = int(out.read_text())
    try:
        assert "took longer" in shell("sleep 993", 0.1)
        assert pid in programs._descendants(os.getpid())
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


@pytest.mark.parametrize(("seconds", "told"), [(0.02, "20 ms"), (0.3, "0.3 s"), (1.25, "1.2 s")])
def test_a_short_time_is_told_as_it_is(seconds: float, told: str) -> None:
    """Not as none."""
    assert shell("sleep 600", seconds) == f"it took longer than {told} and was ended"


def test_a_time_that_is_over_leaves_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends at once, and nothing raises."""
    monkeypatch.setattr(programs, "GRACE", 0.2)
    told = shell(f"echo $$ > {tmp_path}/pid; sleep 600", -1.0)
    assert told == "no time was left for it, so it was ended"
    assert not (tmp_path / "pid").exists() or all_gone(tmp_path / "pid")


# -- whom it runs as ---------------------------------------------------------------------------------------------------


def test_an_account_is_looked_up_by_name() -> None:
    """With its groups and its home."""
    entry = pwd.getpwnam(ME)
    found = account(ME)
    assert (found.name, found.uid, found.gid, found.home) == (ME, entry.pw_uid, entry.pw_gid, entry.pw_dir)
    assert entry.pw_gid in found.groups
    with pytest.raises(KeyError):
        account("no-such-body")


@pytest.mark.root
def test_it_runs_as_another_user_with_no_more_than_that_user_has(place: Path) -> None:
    """User, group, further groups, and no way back."""
    shared = grp.getgrgid(1).gr_gid
    whose = UnixAccount(name="x", uid=NOBODY, gid=NOBODY, groups=(NOBODY, shared), home="/")
    (place / "out").mkdir()
    os.chown(place / "out", NOBODY, NOBODY)
    assert run(["/bin/cp", "/proc/self/status", str(place / "out" / "status")], LONG, account=whose) == ""

    status = dict(line.split(":\t", 1) for line in (place / "out" / "status").read_text().splitlines())
    assert status["Uid"].split() == status["Gid"].split() == [str(NOBODY)] * 4
    assert {int(item) for item in status["Groups"].split()} == {NOBODY, shared}
    assert int(status["CapEff"], 16) == int(status["CapPrm"], 16) == 0


@pytest.mark.root
def test_what_that_user_may_not_run_is_told(place: Path) -> None:
    """By the kernel, for that user."""
    command = program(place / "mine", "#!/bin/sh\n", 0o700)
    whose = UnixAccount(name="x", uid=NOBODY, gid=NOBODY, groups=(), home="/")

    assert run(command, LONG) == ""
    assert run(command, LONG, account=whose) == "it could not be started: Permission denied"


@pytest.mark.root
def test_a_program_of_another_user_that_takes_too_long_is_ended(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root may."""
    monkeypatch.setattr(programs, "GRACE", 0.2)
    (place / "out").mkdir()
    os.chown(place / "out", NOBODY, NOBODY)
    whose = UnixAccount(name="x", uid=NOBODY, gid=NOBODY, groups=(), home="/")
    script = f"trap '' TERM; echo $$ > {place}/out/pids; while :; do sleep 0.1; done"

    assert run(["/bin/sh", "-c", script], ENOUGH, account=whose).startswith("it took longer")
    assert all_gone(place / "out" / "pids")
