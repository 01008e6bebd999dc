"""Signals: to the process that a file names, once it is known to be the one that is meant, and to no other."""

from __future__ import annotations

import os
import subprocess
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from agent.core.dependants import Signal, SignalName, Verification
from agent.dependants import signals
from agent.dependants.export import Extract
from agent.errors import RefusedError
from support.simulated.virtual import Time
from support.suite.surroundings import NOBODY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

GIVEN = Extract(generation=7, thing_name="gw-0042", certificate_id="ab" * 32, set="cd" * 32)
# Says when it can take signals, writes down which it took, and ends by TERM alone.
PROGRAM = """
for name in HUP USR1 USR2 WINCH; do trap "echo $name" $name; done
echo ready
while :; do read -r line; test -z "$line" || echo "$line"; done
"""


@pytest.fixture(name="time", autouse=True)
def _time(monkeypatch: pytest.MonkeyPatch) -> Time:
    """Nothing is waited for between two looks."""
    return Time(monkeypatch)


@contextmanager
def running(user: int | None = None, program: str | Path = "/bin/dash") -> Iterator[subprocess.Popen[str]]:
    """Have a program that takes signals, of this user or another."""
    with subprocess.Popen(
        [program, "-c", PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, user=user
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        try:
            yield process
        finally:
            process.kill()


def taken(process: subprocess.Popen[str]) -> str:
    """Return the signal that a program took, or ``none``."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("none\n")  # a shell sees to its traps first
    process.stdin.flush()
    return process.stdout.readline().strip()


# postmaster.pid: the process, and then its directory, start, port, sockets, addresses, shared memory and state.
POSTGRES = b"%d\n/var/lib/postgresql/15/main\n1700000000\n5432\n/run/postgresql\nlocalhost\n  5432001    65536\nready\n"


def wanted(tmp_path: Path, content: object, **changes: Any) -> Signal:
    """Return who is to be told, by a file with this content."""
    path = tmp_path / "app.pid"
    path.write_text(f"{content}")
    return replace(Signal(pid_file=path, process="dash", healthy=timedelta(0)), **changes)


@pytest.mark.parametrize("name", list(SignalName))
def test_the_process_is_sent_what_is_configured(tmp_path: Path, name: SignalName) -> None:
    """And nothing is wrong."""
    with running() as process:
        assert signals.serve(wanted(tmp_path, f"{process.pid}\n", signal=name), GIVEN) == ""
        assert taken(process) == name


@pytest.mark.parametrize(
    "written", [b"%d\0", b"%d\0\0\0\0", b" %d \r\n", b"%d\r", b"\xef\xbb\xbf%d\n", b"%d\\n", POSTGRES]
)
def test_a_number_is_read_as_programs_write_it(tmp_path: Path, written: bytes) -> None:
    """With the NUL of a whole buffer, as C programs do; with marks and ends of lines of other systems, and more."""
    with running() as process:
        told = wanted(tmp_path, "")
        told.pid_file.write_bytes(written % process.pid)
        assert signals.serve(told, GIVEN) == ""
        assert taken(process) == "HUP"


def _no_file(path: Path, _pid: int) -> None:
    path.unlink()


def _no_directory(path: Path, _pid: int) -> None:
    path.unlink()
    path.parent.rmdir()


def _ended(path: Path, _pid: int) -> None:
    with subprocess.Popen(["/bin/true"]) as process:
        process.wait()
    path.write_text(f"{process.pid}")


@pytest.mark.parametrize("leave", [_no_file, _no_directory, _ended])
def test_a_program_that_does_not_run_is_left_alone(tmp_path: Path, leave: Callable[[Path, int], None]) -> None:
    """It reads its files at its start."""
    (tmp_path / "run").mkdir()
    path = tmp_path / "run" / "app.pid"
    path.touch()
    leave(path, 0)
    assert signals.serve(Signal(pid_file=path, process="dash"), GIVEN) == ""


def test_a_link_on_the_way_is_followed(tmp_path: Path) -> None:
    """As /var/run is one to /run."""
    (tmp_path / "link").symlink_to(tmp_path)
    with running() as process:
        told = wanted(tmp_path, process.pid)
        assert signals.serve(replace(told, pid_file=tmp_path / "link" / "app.pid"), GIVEN) == ""
        assert taken(process) == "HUP"


@pytest.mark.parametrize(
    "content", ["", "0", "-1", "1 2", "abc", "12\n34", "999999999999", "9" * 4097, "\0" * 4, "+5", "0x10"]
)
def test_a_file_that_names_no_process_is_a_problem(tmp_path: Path, content: str) -> None:
    """0 and negative numbers mean groups of processes to the kernel."""
    told = wanted(tmp_path, content)
    problem = refused(told) if len(content) > signals.MAX_PID_FILE else signals.serve(told, GIVEN)
    assert problem.startswith(f"signal {tmp_path / 'app.pid'} is not sent: ")
    assert problem.endswith(".")


def refused(told: Signal) -> str:
    """Send a signal in vain, and return what only a person can change."""
    with pytest.raises(RefusedError) as caught:
        signals.serve(told, GIVEN)
    return str(caught.value)


def _link(path: Path) -> None:
    path.symlink_to("/proc/self/status")


def _directory(path: Path) -> None:
    path.mkdir()


def _pipe(path: Path) -> None:
    os.mkfifo(path)


@pytest.mark.parametrize("make", [_link, _directory, _pipe])
def test_what_is_no_file_is_a_problem_at_once(tmp_path: Path, make: Callable[[Path], None]) -> None:
    """A pipe without a writer would be waited for."""
    told = wanted(tmp_path, "")
    told.pid_file.unlink()
    make(told.pid_file)
    assert "is not sent: app.pid is " in refused(told)


def test_a_link_that_leads_back_to_itself_is_a_problem_at_once(tmp_path: Path) -> None:
    """On the way to the file; no time mends it."""
    (tmp_path / "loop").symlink_to("loop")
    told = replace(wanted(tmp_path, ""), pid_file=tmp_path / "loop" / "app.pid")
    assert "loop is a symbolic link, where a directory is expected" in refused(told)


def test_another_process_that_has_got_the_number_is_sent_nothing(tmp_path: Path) -> None:
    """After a crash the number may be any program's, which the signal would end."""
    with running() as process:
        problem = signals.serve(wanted(tmp_path, process.pid, process="haproxy"), GIVEN)
        assert f"names process {process.pid}, which is 'dash' and not 'haproxy'" in problem
        assert taken(process) == "none"


@pytest.mark.root
@pytest.mark.parametrize(("file", "process", "sent"), [(0, None, True), (0, NOBODY, True), (NOBODY, NOBODY, True),
                                                       (NOBODY, None, False)])  # fmt: skip
def test_a_user_names_processes_of_its_own_alone(tmp_path: Path, file: int, process: int | None, *, sent: bool) -> None:
    """Else a user who may write the file could have root signal another's process."""
    with running(process) as program:
        told = wanted(tmp_path, program.pid)
        os.chown(told.pid_file, file, file)
        problem = signals.serve(told, GIVEN) if sent else refused(told)
        assert ("belongs to user" not in problem) == sent
        assert taken(program) == ("HUP" if sent else "none")


def test_a_long_name_is_compared_as_the_kernel_cuts_it(tmp_path: Path) -> None:
    """The configuration may have it whole."""
    program = tmp_path / "a-program-with-a-long-name"
    program.symlink_to("/bin/dash")
    with running(program=program) as process:
        told = wanted(tmp_path, process.pid, process=program.name, signal=SignalName.WINCH)
        assert signals.serve(told, GIVEN) == ""
        assert taken(process) == "WINCH"


def _end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()


def test_a_program_that_is_gone_after_is_a_problem(tmp_path: Path, time: Time) -> None:
    """It took the signal for an order to end, or did not like what it read."""
    with running() as process:
        told = wanted(tmp_path, process.pid, healthy=timedelta(seconds=3))
        time.after(1.0, partial(_end, process))
        problem = signals.serve(told, GIVEN)
    assert problem == f"dash does not run any more after SIGHUP ({told.pid_file})."


def test_what_it_must_show_is_looked_at(tmp_path: Path) -> None:
    """As for a unit."""
    with running() as process:
        verify = Verification(command=("/bin/false",))
        problem = signals.serve(wanted(tmp_path, process.pid, verify=verify, timeout=timedelta(seconds=1)), GIVEN)
    assert problem.startswith(f"signal {tmp_path / 'app.pid'}: /bin/false does not confirm the new set")


def test_what_is_to_confirm_and_cannot_be_run_is_told_at_once(tmp_path: Path) -> None:
    """It is not run again and again until the time is over."""
    with running() as process:
        told = wanted(tmp_path, process.pid, verify=Verification(command=("/bin/none",)), timeout=timedelta(hours=1))
        problem = refused(told)
    assert problem.endswith(
        "/bin/none does not confirm the new set: it could not be started: No such file or directory."
    )
