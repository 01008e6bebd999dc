"""A real command: what it reads, how it ends, and what is not run."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from agent.daemon.loop import Loop
from agent.daemon.work.notice_command import NoticeCommand
from agent.system.processes import outputs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LONG = b'{"text":"' + b"x" * 200_000 + b'"}\n'


@pytest.fixture(name="loop")
def _loop() -> Iterator[Loop]:
    loop = Loop()
    yield loop
    loop.close()


def script(path: Path, text: str, mode: int = 0o755) -> Path:
    """Return a command that does this."""
    found = path / "tell"
    found.write_text(f"#!/bin/sh\n{text}\n")
    found.chmod(mode)
    return found


def run(loop: Loop, *command: str, limit: float = 30) -> str:
    """Run it and return how it failed."""
    ends: list[str] = []
    NoticeCommand(loop, command, LONG, ends.append, limit)
    assert not ends, "the end is never told at once"
    while not ends:
        loop.turn()
    (end,) = ends
    return end


def test_it_reads_what_it_is_told_with_its_arguments_and_nothing_of_the_daemons(
    loop: Loop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More than a pipe holds; no variable and no descriptor of the daemon's, and a session of its own."""
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/systemd/notify")
    command = script(
        tmp_path,
        'cat > "$1/told"; env > "$1/env"; cut -d" " -f6 /proc/$$/stat > "$1/session"; echo $$ > "$1/pid"; '
        'exec ls /proc/self/fd > "$1/fds"',
    )
    assert run(loop, str(command), str(tmp_path)) == ""
    assert (tmp_path / "told").read_bytes() == LONG
    assert "NOTIFY_SOCKET" not in (tmp_path / "env").read_text()
    assert (tmp_path / "fds").read_text().split() == ["0", "1", "2", "3"]  # the last is of `ls`
    assert (tmp_path / "session").read_text() == (tmp_path / "pid").read_text()


def test_one_that_does_not_read_has_not_failed(loop: Loop, tmp_path: Path) -> None:
    """Nor does its output end anywhere but in the journal."""
    assert run(loop, str(script(tmp_path, "echo told"))) == ""


@pytest.mark.parametrize(
    ("text", "how"), [("exit 3", "it ended with exit code 3"), ("kill -KILL $$", "it was ended by signal 9")]
)
def test_a_failure_is_said_without_the_arguments(loop: Loop, tmp_path: Path, text: str, how: str) -> None:
    """These may hold a token."""
    command = script(tmp_path, text)
    assert run(loop, str(command), "--token=secret") == f"{command} failed: {how}."


def test_one_that_takes_too_long_is_ended_with_all_that_it_started(loop: Loop, tmp_path: Path) -> None:
    """A mail server that does not answer must not hold up the next notice for ever."""
    os.mkfifo(tmp_path / "alive")
    alive = os.open(tmp_path / "alive", os.O_RDONLY | os.O_NONBLOCK)
    command = script(tmp_path, 'exec 3> "$1/alive"; sleep 60 & wait')
    how = run(loop, str(command), str(tmp_path), limit=1)
    assert how == f"{command} failed: it took longer than 1 s and was ended."
    os.set_blocking(alive, True)
    assert os.read(alive, 1) == b"", "it ends once no process has it open for writing"
    os.close(alive)


@pytest.mark.parametrize(
    ("mode", "why"),
    [(0o777, "may be written by others than root"), (0o644, "is not executable: `sudo chmod +x")],
)
def test_one_that_others_may_change_or_none_may_run_is_not_run(loop: Loop, tmp_path: Path, mode: int, why: str) -> None:
    """It is said, as any failure is."""
    assert why in run(loop, str(script(tmp_path, "exit 0", mode)))


def test_one_that_is_not_there_or_no_program(loop: Loop, tmp_path: Path) -> None:
    """Nor is a directory."""
    assert run(loop, str(tmp_path / "gone")) == f"{tmp_path}/gone cannot be looked at: No such file or directory."
    assert run(loop, str(tmp_path)) == f"{tmp_path} is no regular file, so it is not run."
    (tmp_path / "tell").write_text("#!/no/such/shell\n")
    (tmp_path / "tell").chmod(0o755)
    said = "tell begins with `#!/no/such/shell`, which is not there to run it."
    assert run(loop, f"{tmp_path}/tell") == f"{tmp_path}/{said}"


def test_what_it_writes_is_passed_on_up_to_a_bound(loop: Loop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that writes without end fills no journal, and holds nothing of the daemon up."""
    with (tmp_path / "told").open("w") as file:
        monkeypatch.setattr(outputs, "_stderr", file.fileno)
        assert run(loop, str(script(tmp_path, "echo one >&2; exec yes")), limit=0.5).endswith("and was ended.")
    written = (tmp_path / "told").read_bytes()
    assert written[:4] == b"one\n"
    assert len(written) == outputs.MOST + len(outputs.LEFT_OUT)
